"""Random and mutated requests: whatever comes, the connection ends, the server goes on, and nothing of its own has failed.

The budget of the laws says how many: ``nox -s laws`` gives them about half a minute.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.gateway.fronted import fronting
from tests.serving.conversations import CHUNKED, CLIENT_HELLO, POST, PREFACE, SETTINGS, WEBSOCKET
from tests.serving.peer import EOF, RESET, Served, converse, echo, request, serving
from tests.testing.budget import TIMES
from trio_oplog.collector import create_app, open_store

CONVERSATIONS_AT_ONCE = 10
ROUNDS = 15 * TIMES

SAMPLES = (
    request(),
    request() * 3,
    request(b"Content-Length: 6\r\n", line=POST, body=b"abcdef"),
    request(b"Content-Length: 6\r\nExpect: 100-continue\r\n", line=POST, body=b"abcdef"),
    request(CHUNKED, line=POST, body=b"3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\n\r\n"),
    request(CHUNKED, line=POST, body=b"1\r\nx\r\n" * 50 + b"0\r\n\r\n") + request(),
    request(
        b"X-Internal-Secret: swordfish\r\nContent-Type: application/x-ndjson\r\nContent-Length: 3\r\n", line=POST, body=b"{}\n"
    ),
    request(WEBSOCKET + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
    request(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
    request(line=b"GET http://example.org/a?b HTTP/1.1"),
    request(line=b"CONNECT example.org:443 HTTP/1.1"),
    request(line=b"OPTIONS * HTTP/1.0"),
    PREFACE + SETTINGS,
    CLIENT_HELLO,
)
TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"\x00",
        b"\x0b",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xc3\xa9",
    ),
    *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"GET", b"POST", b"HEAD", b"CONNECT", b"/", b"*", b"?", b"%", b"#", b"//", b"@"),
    *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", CHUNKED),
    *(b"Transfer-Encoding: gzip\r\n", b"Host: x\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n"),
    *(b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"ffffffff\r\n", b"-1\r\n", b"a" * 70_000, b"a: b\r\n" * 300),
)


def mutated(chance: random.Random) -> bytes:
    """A sample with a few bytes, tokens or stretches of it changed, repeated, exchanged or gone."""
    said = chance.choice(SAMPLES) if chance.random() < 0.95 else chance.randbytes(chance.randrange(1, 3000))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 10))):
        start = chance.randrange(len(said) + 1)
        end = min(len(said), start + chance.choice((0, 0, 1, 1, 2, 10, 100)))
        other = chance.choice(SAMPLES)
        new = (
            chance.choice(TOKENS),
            chance.randbytes(chance.randrange(1, 5)),
            b"",
            said[start:end] * 2,
            said[start:end][::-1],
            said[start:end].swapcase(),
            other[chance.randrange(len(other)) :],
        )
        said = said[:start] + chance.choice(new) + said[end:]
    return said


def cut(said: bytes, chance: random.Random) -> list[bytes]:
    points = sorted(chance.randrange(len(said) + 1) for _ in range(chance.choice((0, 0, 1, 2, 5))))
    return [part for start, end in zip([0, *points], [*points, len(said)], strict=True) if (part := said[start:end])]


async def say_something(served: Served, seed: int) -> None:
    chance = random.Random(seed)
    statuses = await converse(served.port, [*cut(mutated(chance), chance), RESET if chance.random() < 0.1 else EOF], None)
    assert all(status in (100, 200, 400, 401, 404, 405, 408, 413, 415, 431, 501, 505) for status in statuses), (seed, statuses)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("which", ["echo", "collector", "gateway"])
async def test_whatever_is_said_the_connection_ends_and_the_server_goes_on(which: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        if which == "gateway":
            served = (await stack.enter_async_context(fronting(echo, most=600.0))).front
        else:
            app = echo if which == "echo" else create_app(open_store(f"sqlite:///{tmp_path / 'log'}"), "swordfish")
            served = await stack.enter_async_context(serving(app, has_lifespan=which == "collector", most=600.0))
        for round_ in range(ROUNDS):
            async with trio.open_nursery() as nursery:
                for number in range(CONVERSATIONS_AT_ONCE):
                    nursery.start_soon(say_something, served, round_ * CONVERSATIONS_AT_ONCE + number)
            [status] = await converse(served.port, [request()], 1)
            assert status == (401 if which == "collector" else 200)
    assert served.server.statistics().app_failures == 0
