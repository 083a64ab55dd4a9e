"""Who may send requests over HTTP, and as whom."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx import Headers

from trio_oplog.gateway import Anyone, Authenticator, Identity, TokenFile
from trio_oplog.gateway._http_front import IDENTITY, HTTPFront

ADA = Identity(workspace_id="ws-1", user_id="ada")


class Failing:
    async def authenticate(self, headers: Headers, /) -> Identity | None:
        raise RuntimeError("payload")


def front(authenticator: Authenticator, *origins: str) -> tuple[HTTPFront, list[Any]]:
    asked: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope.get(IDENTITY, scope["type"]))
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

    return HTTPFront(app, authenticator, origins=origins), asked


async def ask(app: HTTPFront, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost", headers=headers) as http:
        return await http.post("/mcp")


async def test_each_request_needs_its_token_and_the_app_learns_whose_it_is(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f'[[token]]\nsha256 = "{hashlib.sha256(b"t" * 40).hexdigest()}"\nworkspace_id = "ws-1"\nuser_id = "ada"\n')
    file.chmod(0o600)
    app, asked = front(TokenFile.read(file))
    assert (await ask(app, authorization="Bearer " + "t" * 40)).status_code == 200
    for headers in ({}, {"authorization": "Bearer wrong"}):
        refusal = await ask(app, **headers)
        assert (refusal.status_code, refusal.headers["www-authenticate"], refusal.text) == (401, "Bearer", "Unauthorized\n")
    assert asked == [ADA]
    assert (app.counts.accepted, app.counts.unauthenticated, app.counts.refused) == (1, 2, 0)


async def test_a_web_page_is_refused_unless_it_is_named() -> None:
    app, asked = front(Anyone(ADA), "https://page.example")
    assert (await ask(app)).status_code == 200
    assert (await ask(app, origin="https://page.example")).status_code == 200
    for origin in ("https://page.example:8443", "http://page.example", "null", ""):
        assert (await ask(app, origin=origin)).status_code == 403
    assert asked == [ADA, ADA]
    assert app.counts.refused == 4


async def test_an_authenticator_that_fails_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    app, asked = front(Failing())
    reply = await ask(app)
    assert (reply.status_code, reply.text, asked) == (503, "Service Unavailable\n", [])
    assert "RuntimeError" in caplog.text
    assert "payload" not in caplog.text


async def test_what_is_no_request_is_the_apps() -> None:
    app, asked = front(Failing())
    await app({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert asked == ["lifespan"]
