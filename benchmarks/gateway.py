"""What the bridge costs: ``python benchmarks/gateway.py``.

Tool calls go from a client to a server and their answers come back: (a) directly, (b) through a bridge without an
Interceptor, (c) through a bridge with one.  Client, bridge and server are processes of their own.  Each round measures the
three one after the other, so that what else the machine does falls on all of them; shown are the medians of the rounds, and
the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from statistics import median

import trio
from websockets.trio.client import connect
from websockets.trio.server import ServerConnection, serve

from trio_oplog import Config, Interceptor, Operation
from trio_oplog.gateway import (
    FrameStream,
    GatewayClientConnection,
    GatewayServerConnection,
    LineFrames,
    WebSocketFrames,
    WebSocketUpstream,
    bridge,
    wrap,
)

SIZES = (200, 4096, 262_144)
WINDOW = 16
LOOPBACK = "127.0.0.1"
CONFIG = Config(source="benchmark", workspace_id="ws-1")

# The id has a fixed place and width, so that the server need not read JSON: it is not what is measured.
HEAD = '{"jsonrpc":"2.0","id":"%08d",'
CALL = HEAD + '"method":"tools/call","params":{"name":"echo","arguments":{"text":"%s"}}}'
ANSWER = '{"jsonrpc":"2.0","id":"%s","result":{"content":[{"type":"text","text":"%s"}]}}'
ID = slice(23, 31)


class Nowhere:
    """A Submitter that counts."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, operation: Operation, /) -> None:
        self.count += 1


def answer(call: str) -> str:
    start = call.index('"text":"') + 8
    return ANSWER % (call[ID], call[start:-4])


# The server


async def websocket_server() -> None:
    async def handle(connection: ServerConnection) -> None:
        async for call in connection:
            await connection.send(answer(str(call)))

    await serve_websockets(handle)


async def serve_websockets(handle: object) -> None:
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    print(f"ws://{LOOPBACK}:{listeners[0].socket.getsockname()[1]}", flush=True)
    await serve(
        handle,
        listeners=listeners,
        compression=None,
        max_size=None,
        ping_interval=None,
        create_connection=GatewayServerConnection,
    )  # type: ignore[arg-type]


def stdio_server() -> None:
    for line in sys.stdin:
        sys.stdout.write(answer(line[:-1]) + "\n")
        sys.stdout.flush()


# The bridge


def interceptor(case: str) -> Interceptor | None:
    return Interceptor(Nowhere(), CONFIG) if case == "c" else None


async def websocket_bridge(case: str, upstream: str) -> None:
    async def handle(connection: ServerConnection) -> None:
        async with WebSocketUpstream(upstream).connect(None) as server:
            await bridge(WebSocketFrames(connection), server, interceptor(case))

    await serve_websockets(handle)


async def stdio_bridge(case: str) -> None:
    await wrap([sys.executable, __file__, "--role", "stdio-server"], interceptor(case))


# The client


@asynccontextmanager
async def program(*role: str) -> AsyncIterator[str]:
    """A process that says where it listens."""
    process = await trio.lowlevel.open_process([sys.executable, __file__, "--role", *role], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with process.stdout:
            yield (await process.stdout.receive_some()).decode().strip()
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


@asynccontextmanager
async def websocket_client(case: str) -> AsyncIterator[FrameStream]:
    async with program("websocket-server") as server:
        if case == "a":
            async with connected(server) as frames:
                yield frames
            return
        async with program("websocket-bridge", case, server) as url, connected(url) as frames:
            yield frames


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[FrameStream]:
    async with connect(
        url, max_size=None, compression=None, ping_interval=None, proxy=None, create_connection=GatewayClientConnection
    ) as connection:
        yield WebSocketFrames(connection)


@asynccontextmanager
async def stdio_client(case: str) -> AsyncIterator[FrameStream]:
    role = ["stdio-server"] if case == "a" else ["stdio-bridge", case]
    command = [sys.executable, __file__, "--role", *role]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        yield LineFrames(process.stdout, process.stdin)
    await process.wait()


TRANSPORTS = {"websocket": websocket_client, "stdio": stdio_client}


async def measure(frames: FrameStream, size: int, seconds: float) -> tuple[float, float, float]:
    """Messages a second with a window of calls in flight, and p50 and p99 of one call at a time, in microseconds."""
    calls = [CALL % (number, "x" * (size - len(CALL % (number, "")))) for number in range(WINDOW)]
    await alternate(frames, calls, seconds / 8)  # warms up
    times = sorted(await alternate(frames, calls, seconds / 2))
    rate = await flood(frames, calls, seconds / 2)
    return rate, times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6


async def alternate(frames: FrameStream, calls: list[str], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        await frames.send(calls[len(times) % WINDOW])
        await frames.receive()
        times.append(time.perf_counter() - begin)
    return times


async def flood(frames: FrameStream, calls: list[str], seconds: float) -> float:
    """Keeps WINDOW calls in flight; the messages are calls and answers."""
    room = trio.Semaphore(WINDOW)
    done = sent = 0
    begin = time.perf_counter()
    end = begin + seconds

    async def send() -> None:
        nonlocal sent
        while time.perf_counter() < end:
            await room.acquire()
            await frames.send(calls[sent % WINDOW])
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while time.perf_counter() < end or done < sent:
            await frames.receive()
            done += 1
            room.release()
    return 2 * done / (time.perf_counter() - begin)


async def run(rounds: int, seconds: float, only: str | None) -> bool:
    print(f"{'':24}{'messages a second':>32}{'c/b':>7}{'p50 in us':>24}{'p99 in us':>27}")
    print(
        f"{'':24}{'(a)':>10}{'(b)':>11}{'(c)':>11}{'':>7}"
        + f"{'(a)':>8}{'(b)':>8}{'(c)':>8}"
        + f"{'(a)':>11}{'(b)':>8}{'(c)':>8}"
    )
    well = True
    for transport, client in TRANSPORTS.items():
        for size in SIZES if only in (None, transport) else ():
            found: dict[str, list[tuple[float, float, float]]] = {"a": [], "b": [], "c": []}
            async with client("a") as a, client("b") as b, client("c") as c:
                for _ in range(rounds):
                    for case, frames in (("a", a), ("b", b), ("c", c)):
                        found[case].append(await measure(frames, size, seconds))
            rates = [median(result[0] for result in found[case]) for case in "abc"]
            ratio = median(with_it[0] / without[0] for with_it, without in zip(found["c"], found["b"], strict=True))
            well &= ratio >= 0.95
            times = [[median(result[which] for result in found[case]) for case in "abc"] for which in (1, 2)]
            print(
                f"{transport:>10} {size:>9} B  {rates[0]:>10.0f}{rates[1]:>11.0f}{rates[2]:>11.0f}{ratio:>7.2f}"
                f"{times[0][0]:>8.0f}{times[0][1]:>8.0f}{times[0][2]:>8.0f}{times[1][0]:>11.0f}{times[1][1]:>8.0f}{times[1][2]:>8.0f}",
                flush=True,
            )
    return well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.8, help="how long one measurement takes")
    parser.add_argument("--transport", choices=TRANSPORTS)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role is None:
        well = trio.run(run, arguments.rounds, arguments.seconds, arguments.transport)
        print(
            "with the Interceptor at least 95 % of the bridge's messages pass" if well else "the Interceptor costs more than 5 %"
        )
        sys.exit(not well)
    role, *words = arguments.role
    roles = {
        "websocket-server": websocket_server,
        "websocket-bridge": websocket_bridge,
        "stdio-bridge": stdio_bridge,
    }
    if role == "stdio-server":
        stdio_server()
        return
    start = partial(trio.run, roles[role], *words)
    if "PROFILE" not in os.environ or "bridge" not in role:
        start()
        return
    profile = cProfile.Profile()
    try:
        profile.runcall(start)
    finally:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
