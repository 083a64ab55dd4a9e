"""What standing between costs: ``python benchmarks/gateway.py``.

Requests go from a client to a server and their answers come back: (a) directly, (b) through the gateway's bridge with an
Interceptor (WebSocket) or through ``trio-oplog wrap`` with a store (stdio).  Client, server and what stands between are processes
of their own.

The mix: one request in four is a tool call, and so one message in four is a call or its answer.  In the recorded sessions
(tests/captures) it is 303 messages of 1 171, a call, its answer, or an item that begins or ends.  The rows in brackets are
the worst case: every message is one, and every byte of it has to be looked at.

What stands between has a processor to itself; the client and the server share another one.  With each process wherever the
scheduler puts it, who has to share with whom decides: between two turns of one case the rates lay apart by up to three to one.

The two take turns of a fraction of a second, in changing order, so that what else the machine does falls on both of them,
with new processes every few turns, so that no process keeps its luck with memory and cores.  Shown are medians; the ratio
is the median of the ratios of neighbouring turns, and behind it how far it may be off (the 95 % interval of that median).
Nothing here fails.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from itertools import product
from statistics import median
from typing import NamedTuple, TypeAlias

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
)

SIZES = (200, 4096, 262_144)
WINDOW = 16
RECORDED = 4
LOOPBACK = "127.0.0.1"
PROCESSORS = "BENCHMARK_PROCESSORS"  # for the processes that inherit one processor only: which there were
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


def take_processor(*, bridge: bool = False) -> None:
    """Stay on the processor of the client and the server, or on that of the bridge, where there are two and a way to say so."""
    if hasattr(os, "sched_setaffinity"):
        own = os.environ.setdefault(PROCESSORS, " ".join(map(str, sorted(os.sched_getaffinity(0))))).split()
        os.sched_setaffinity(0, {int(own[-1] if bridge else own[0])})


# The bridge


async def websocket_bridge(upstream: str) -> None:
    async def handle(connection: ServerConnection) -> None:
        async with WebSocketUpstream(upstream).connect(None) as server:
            await bridge(WebSocketFrames(connection), server, Interceptor(Nowhere(), CONFIG))

    await serve_websockets(handle)


def stdio_bridge(store: str) -> None:
    command = [sys.executable, "-m", "trio_oplog", "wrap", "--to", f"sqlite:///{store}", "--"]
    os.execv(sys.executable, [*command, sys.executable, __file__, "--role", "stdio-server"])  # noqa: S606


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
        async with program("websocket-bridge", server) as (url, pid), connected(url) as frames:
            yield End(frames, psutil.Process(pid))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[FrameStream]:
    options = {"max_size": None, "compression": None, "ping_interval": None, "proxy": None}
    async with connect(url, create_connection=GatewayClientConnection, **options) as connection:
        yield WebSocketFrames(connection)


@asynccontextmanager
async def stdio_client(case: str) -> AsyncIterator[End]:
    with tempfile.TemporaryDirectory() as folder:
        role = ["stdio-server"] if case == "a" else ["stdio-bridge", f"{folder}/store"]
        command = [sys.executable, __file__, "--role", *role]
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        async with process.stdin, process.stdout:
            yield End(LineFrames(process.stdout, process.stdin), None if case == "a" else psutil.Process(process.pid))
        await process.wait()


Client: TypeAlias = Callable[[str], AbstractAsyncContextManager[End]]
TRANSPORTS: dict[str, Client] = {"websocket": websocket_client, "stdio": stdio_client}


class Turn(NamedTuple):
    rate: float
    """Messages a second, with a window of calls in flight; a call and its answer are two."""
    messages: int
    cpu: float
    """What the bridge's process computed meanwhile, in seconds."""
    times: list[float]
    """How long a call took until its answer was there, one call at a time, in seconds."""


def requests(size: int, one_in: int) -> list[str]:
    """A window of requests of a size; one in so many is a tool call."""
    shapes = [CALL if number % one_in == 0 else OTHER for number in range(WINDOW)]
    return [shape % (number, "x" * (size - len(shape % (number, "")))) for number, shape in enumerate(shapes)]


async def measure(end: End, calls: list[str], seconds: float) -> Turn:
    times = await alternate(end.frames, calls, seconds / 3)
    before = end.cpu()
    messages, took = await flood(end.frames, calls, seconds * 2 / 3)
    return Turn(messages / took, messages, end.cpu() - before, times)


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


class Found(NamedTuple):
    """What the turns of a case come to; times in microseconds."""

    rate: float
    cpu: float
    p50: float
    p99: float


def summed_up(turns: list[Turn]) -> Found:
    times = sorted(itertools.chain.from_iterable(turn.times for turn in turns))
    return Found(
        median(turn.rate for turn in turns),
        sum(turn.cpu for turn in turns) / sum(turn.messages for turn in turns) * 1e6,
        times[len(times) // 2] * 1e6,
        times[len(times) * 99 // 100] * 1e6,
    )


def ratio(over: list[Turn], under: list[Turn]) -> tuple[float, float]:
    """The median of the turns' ratios, and half the width of its 95 % interval (by ranks: no assumption about the noise)."""
    ratios = sorted(one.rate / other.rate for one, other in zip(over, under, strict=True))
    count = len(ratios)
    apart = round(0.98 * count**0.5)
    low, high = ratios[max(0, count // 2 - apart)], ratios[min(count - 1, count // 2 + apart)]
    return median(ratios), (high - low) / 2


async def take_turns(client: Client, calls: list[str], rounds: int, turns: int, seconds: float) -> dict[str, list[Turn]]:
    found: dict[str, list[Turn]] = {"a": [], "b": []}
    for _ in range(rounds):
        async with client("a") as a, client("b") as b:
            ends = {"a": a, "b": b}
            for end in ends.values():
                await alternate(end.frames, calls, seconds)  # warms up
            for turn in range(turns):
                for case in ("ab", "ba")[turn % 2]:
                    found[case].append(await measure(ends[case], calls, seconds))
    return found


async def compare(rounds: int, turns: int, seconds: float, only: str | None, size: int | None) -> None:
    heads = (
        ("messages a second", 20),
        ("b/a", 10),
        ("us of CPU", 17),
        ("round trips a second", 22),
        ("p50 in us", 14),
        ("p99 in us", 16),
    )
    print(f"{'':22}" + "".join(f"{head:>{width}}" for head, width in heads))
    widths = (10, 10, 17, 10, 11, 11, 7, 7, 8, 8)
    print(
        f"{'':22}"
        + "".join(f"{f'({case})':>{width}}" for width, case in zip(widths, ["a", "b", "", *"babababa"][:10], strict=True)),
        flush=True,
    )
    for transport, client in TRANSPORTS.items():
        if only not in (None, transport):
            continue
        for length, one_in in product(SIZES if size is None else [size], (RECORDED, 1)):
            found = await take_turns(client, requests(length, one_in), rounds, turns, seconds)
            kept, off = ratio(found["b"], found["a"])
            a, b = (summed_up(found[case]) for case in "ab")
            numbers = [a.rate, b.rate, 0, b.cpu, 1e6 / a.p50, 1e6 / b.p50, a.p50, b.p50, a.p99, b.p99]
            columns = [f"{number:>{width}.0f}" for number, width in zip(numbers, widths, strict=True)]
            columns[2] = f"{kept:>10.2f} ±{off:.2f} "
            name = f"{transport} {length} B"
            print(f"{name if one_in == RECORDED else f'[{name}]':>21} ", *columns, sep="", flush=True)


def run(rounds: int = 4, turns: int = 16, seconds: float = 0.09, only: str | None = None, size: int | None = None) -> None:
    """Print the table."""
    print("\n(gateway) (a) direct, (b) through: the bridge with an Interceptor (WebSocket), trio-oplog wrap (stdio)")
    take_processor()
    trio.run(compare, rounds, turns, seconds, only, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="how often the processes are started anew")
    parser.add_argument("--turns", type=int, default=16, help="of each case in a round")
    parser.add_argument("--seconds", type=float, default=0.09, help="how long a turn takes")
    parser.add_argument("--transport", choices=TRANSPORTS)
    parser.add_argument("--size", type=int, choices=SIZES)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role is None:
        run(arguments.rounds, arguments.turns, arguments.seconds, arguments.transport, arguments.size)
        return
    role, *words = arguments.role
    take_processor(bridge="bridge" in role)
    roles = {
        "websocket-server": websocket_server,
        "websocket-bridge": websocket_bridge,
    }
    if role.startswith("stdio"):
        {"stdio-server": stdio_server, "stdio-bridge": stdio_bridge}[role](*words)
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
