"""What the bridge costs: ``python benchmarks/gateway.py``.

Requests go from a client to a server and their answers come back: (a) directly, (b) through a bridge without an
Interceptor, (c) through a bridge with one.  One request in four is a tool call, as in the recorded sessions; the rows in
brackets are the worst case: every request is one, and every byte of it has to be looked at.  Client, bridge and server are
processes of their own.  Each round measures the three one after the other, so that what else the machine does falls on all
of them; shown are the medians of the rounds, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import product
from statistics import median
from typing import NamedTuple

import psutil
import trio
from websockets.exceptions import ConnectionClosed
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
RECORDED = 4
LOOPBACK = "127.0.0.1"
CONFIG = Config(source="benchmark", workspace_id="ws-1")

# The id has a fixed place and width, so that the server need not read JSON: it is not what is measured.
HEAD = '{"jsonrpc":"2.0","id":"%08d",'
CALL = HEAD + '"method":"tools/call","params":{"name":"echo","arguments":{"text":"%s"}}}'
OTHER = HEAD + '"method":"resources/read","params":{"text":"%s"}}'
ANSWER = '{"jsonrpc":"2.0","id":"%s","result":{"content":[{"type":"text","text":"%s"}]}}'
ID = slice(23, 31)


class Nowhere:
    """A Submitter that counts."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, _: Operation, /) -> None:
        self.count += 1


def answer(call: str) -> str:
    start = call.index('"text":"') + 8
    return ANSWER % (call[ID], call[start:-4])


# The server


async def websocket_server() -> None:
    async def handle(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
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


class End(NamedTuple):
    """The client's end of a connection, and the process of the bridge when there is one."""

    frames: FrameStream
    bridge: psutil.Process | None

    def cpu(self) -> float:
        times = self.bridge.cpu_times() if self.bridge is not None else None
        return times.user + times.system if times is not None else 0.0


@asynccontextmanager
async def program(*role: str) -> AsyncIterator[tuple[str, int]]:
    """A process that says where it listens."""
    process = await trio.lowlevel.open_process([sys.executable, __file__, "--role", *role], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with process.stdout:
            yield (await process.stdout.receive_some()).decode().strip(), process.pid
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


@asynccontextmanager
async def websocket_client(case: str) -> AsyncIterator[End]:
    async with program("websocket-server") as (server, _):
        if case == "a":
            async with connected(server) as frames:
                yield End(frames, None)
            return
        async with program("websocket-bridge", case, server) as (url, pid), connected(url) as frames:
            yield End(frames, psutil.Process(pid))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[FrameStream]:
    options = {"max_size": None, "compression": None, "ping_interval": None, "proxy": None}
    async with connect(url, create_connection=GatewayClientConnection, **options) as connection:
        yield WebSocketFrames(connection)


@asynccontextmanager
async def stdio_client(case: str) -> AsyncIterator[End]:
    role = ["stdio-server"] if case == "a" else ["stdio-bridge", case]
    command = [sys.executable, __file__, "--role", *role]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        yield End(LineFrames(process.stdout, process.stdin), None if case == "a" else psutil.Process(process.pid))
    await process.wait()


TRANSPORTS = {"websocket": websocket_client, "stdio": stdio_client}


class Found(NamedTuple):
    rate: float
    """Messages a second, with a window of calls in flight; a call and its answer are two."""
    cpu: float
    """What the bridge's process computed for each of them, in microseconds."""
    p50: float
    """One call at a time, in microseconds."""
    p99: float


def requests(size: int, one_in: int) -> list[str]:
    """A window of requests of a size; one in so many is a tool call."""
    shapes = [CALL if number % one_in == 0 else OTHER for number in range(WINDOW)]
    return [shape % (number, "x" * (size - len(shape % (number, "")))) for number, shape in enumerate(shapes)]


async def measure(end: End, size: int, one_in: int, seconds: float) -> Found:
    calls = requests(size, one_in)
    await alternate(end.frames, calls, seconds / 8)  # warms up
    times = sorted(await alternate(end.frames, calls, seconds / 2))
    before = end.cpu()
    messages, took = await flood(end.frames, calls, seconds / 2)
    return Found(
        messages / took,
        (end.cpu() - before) / messages * 1e6,
        times[len(times) // 2] * 1e6,
        times[len(times) * 99 // 100] * 1e6,
    )


async def alternate(frames: FrameStream, calls: list[str], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        await frames.send(calls[len(times) % WINDOW])
        await frames.receive()
        times.append(time.perf_counter() - begin)
    return times


async def flood(frames: FrameStream, calls: list[str], seconds: float) -> tuple[int, float]:
    """Keeps WINDOW calls in flight; how many messages passed, and how long it took."""
    room = trio.Semaphore(WINDOW)
    sent = 0
    begin = time.perf_counter()

    async def receive() -> None:
        while True:
            await frames.receive()
            room.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        while time.perf_counter() < begin + seconds:
            await room.acquire()
            await frames.send(calls[sent % WINDOW])
            sent += 1
        for _ in range(WINDOW):  # until every answer is there
            await room.acquire()
        nursery.cancel_scope.cancel()
    return 2 * sent, time.perf_counter() - begin


async def compare(rounds: int, seconds: float, only: str | None) -> bool:
    print(f"{'':20}{'messages a second':>24}{'':8}{'c/b':>8}{'us of CPU':>12}{'p50 in us':>20}{'p99 in us':>24}")
    widths = (9, 9, 9, 13, 7, 10, 8, 8, 10, 8, 8)
    print(f"{'':20}" + "".join(f"{f'({case})':>{width}}" for width, case in zip(widths, "abcbcabcabc", strict=True)))
    well = True
    for transport, client in TRANSPORTS.items():
        for size, one_in in product(SIZES, (RECORDED, 1)) if only in (None, transport) else ():
            found: dict[str, list[Found]] = {"a": [], "b": [], "c": []}
            async with client("a") as a, client("b") as b, client("c") as c:
                for _ in range(rounds):
                    for case, end in (("a", a), ("b", b), ("c", c)):
                        found[case].append(await measure(end, size, one_in, seconds))
            ratio = median(with_it.rate / without.rate for with_it, without in zip(found["c"], found["b"], strict=True))
            if one_in == RECORDED:
                well &= ratio >= 0.95

            def shown(which: str, cases: str = "abc", found: dict[str, list[Found]] = found) -> Iterator[float]:
                return (median(getattr(result, which) for result in found[case]) for case in cases)

            numbers = [*shown("rate"), *shown("cpu", "bc"), *shown("p50"), *shown("p99")]
            columns = [f"{number:>{width}.0f}" for number, width in zip(numbers, widths, strict=True)]
            columns[3] = f"{ratio:>8.2f}{numbers[3]:>5.0f}"
            name = f"{transport} {size} B"
            print(f"{name if one_in == RECORDED else f'[{name}]':>19} ", *columns, sep="", flush=True)
    return well


def run(rounds: int = 5, seconds: float = 0.6, only: str | None = None) -> bool:
    """Print the table; whether the Interceptor costs at most 5 % of the messages."""
    print("\n(gateway) (a) direct, (b) through the bridge, (c) with the Interceptor; c/b must be >= 0.95 outside of brackets")
    return trio.run(compare, rounds, seconds, only)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6, help="how long one measurement takes")
    parser.add_argument("--transport", choices=TRANSPORTS)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role is None:
        well = run(arguments.rounds, arguments.seconds, arguments.transport)
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
