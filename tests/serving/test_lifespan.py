"""An app may open what it needs before the first request, and close it after the last."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.serving.peer import PLENTY, converse, descriptors, request, serving
from tests.serving.test_streaming import START, part
from trio_oplog._serving import HTTPServer
from trio_oplog._serving.lifespan import Receive, Send


async def answer(send: Send) -> None:
    await send(START)
    await send(part(more=False))


async def test_the_app_starts_before_the_first_request_and_ends_after_the_last() -> None:
    happened: list[str] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for name in ("startup", "shutdown"):
                assert await receive() == {"type": f"lifespan.{name}"}
                happened.append(name)
                await send({"type": f"lifespan.{name}.complete"})
        else:
            happened.append("request")
            await answer(send)

    async with serving(app, has_lifespan=True) as served:
        await converse(served.port, [request()], 1)
    assert happened == ["startup", "request", "shutdown"]


async def returns_at_once(receive: Receive, send: Send) -> None:
    pass


async def raises_at_once(receive: Receive, send: Send) -> None:
    raise KeyError


async def takes_it_for_a_request(receive: Receive, send: Send) -> None:
    await answer(send)


async def is_over_early(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


@pytest.mark.parametrize("lifespan", [returns_at_once, raises_at_once, takes_it_for_a_request, is_over_early])
async def test_an_app_that_has_no_lifespan_is_served(lifespan: Any) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        else:
            await answer(send)

    async with serving(app, has_lifespan=True) as served:
        assert await converse(served.port, [request()], 1) == [200]


class _MineError(Exception):
    pass


async def raises_at_the_start(receive: Receive, send: Send) -> None:
    await receive()
    raise _MineError


async def says_that_it_failed(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "payload"})


async def raises_when_it_is_up(receive: Receive, send: Send) -> None:
    await is_over_early(receive, send)
    await trio.sleep(0.01)
    raise _MineError


async def fails_at_the_end(receive: Receive, send: Send) -> None:
    await is_over_early(receive, send)
    await receive()
    await send({"type": "lifespan.shutdown.failed"})


@pytest.mark.parametrize(
    ("lifespan", "error", "starts"),
    [
        (raises_at_the_start, _MineError, False),
        (says_that_it_failed, RuntimeError, False),
        (raises_when_it_is_up, _MineError, True),
        (fails_at_the_end, RuntimeError, True),
    ],
)
async def test_an_app_that_fails_ends_the_server_with_its_own_exception(
    lifespan: Any, error: type[Exception], starts: bool
) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await lifespan(receive, send)

    before = descriptors()
    server = HTTPServer(app)
    started = False

    class Status:
        def started(self, value: object = None) -> None:
            nonlocal started
            started = True
            if lifespan is fails_at_the_end:
                server.stop()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(PLENTY), pytest.raises(error) as caught:
        await server.serve(listeners, task_status=Status())
    assert "payload" not in str(caught.value)
    assert started is starts
    assert descriptors() == before
