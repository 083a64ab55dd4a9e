"""What ``trio-oplog gateway`` costs in front of an HTTP server: directly and through it, in turns of one run.

Client, server and gateway are processes of their own, wherever the scheduler puts them: where there are fewer processors than
processes they share them, and what is added then is mostly the wait for one.  The server does nothing but answer, so that a call
that does some work adds the same time to both.  The gateway delivers to a store of its own meanwhile, which is part of its CPU.
Last comes where the time of a call goes in the gateway, by packages, from a profiler in one process.  Nothing here fails.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from statistics import median, quantiles
from typing import NamedTuple

import psutil
import trio

from benchmarks.measure import Row, show
from trio_oplog import Config, Operation
from trio_oplog.gateway import Anyone, HTTPGateway, Identity

LOOPBACK = "127.0.0.1"
TURNS = 12
CALLS = 50
CLIENTS = (1, 10, 100)
SECONDS = 1.0
STREAM = 256 * 2**20
PIECE = 64 * 1024
GOAL_MS = 3.0

CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"%b"}}}'
RESULT = b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"type":"text","text":"done"}]}}'
ID = re.compile(rb'"id":(\d+)')
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
PACKAGE = re.compile(r"/(?:site-packages/)?(trio_oplog/_?\w+|trio|h11|httpcore|httpx|anyio)/")


class Nowhere:
    """A Submitter that keeps nothing."""

    def submit(self, _: Operation, /) -> None:
        """Keep nothing."""


# The server


async def serve() -> None:
    """Answer calls: with JSON, with an event where the path says so, or with a long stream."""
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(answer, listeners)


async def answer(stream: trio.SocketStream) -> None:
    """Serve one connection."""
    data = b""
    try:
        while True:
            while not is_whole(data):
                part = await stream.receive_some()
                if not part:
                    return
                data += part
            line = data.split(b"\r\n", 1)[0]
            found = ID.search(data)
            result = RESULT % (found[1] if found else b"0")
            data = b""
            if b"/events" in line:
                event = b"data: %b\n\n" % result
                head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                await stream.send_all(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event))
            elif b"/stream" in line:
                await stream.send_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % STREAM
                )
                for _ in range(STREAM // PIECE):
                    await stream.send_all(bytes(PIECE))
            else:
                await stream.send_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(result), result)
                )
    except trio.BrokenResourceError:
        pass


def is_whole(data: bytes) -> bool:
    """Whether a request has come."""
    head, found, body = data.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    return bool(found) and len(body) >= (int(length[1]) if length else 0)


# The client


class Client:
    """One connection that is kept.

    Args:
        stream: The connection.
        path: Where to POST.
    """

    def __init__(self, stream: trio.SocketStream, path: bytes) -> None:
        self._stream = stream
        self._head = b"POST %b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nMcp-Session-Id: s\r\nContent-Length: " % path
        self._number = 0

    async def call(self) -> None:
        """Call once, and read the whole answer."""
        self._number += 1
        body = CALL % (self._number, b"x" * 200)
        await self._stream.send_all(self._head + b"%d\r\n\r\n%b" % (len(body), body))
        data = b""
        while not (data.endswith(b"0\r\n\r\n") or (b"chunked" not in data.lower() and data and is_whole(data))):
            data += await self._stream.receive_some()

    async def drink(self) -> None:
        """Read a long stream."""
        await self._stream.send_all(self._head + b"2\r\n\r\n{}")
        left = STREAM
        while left > 0:
            left -= len(await self._stream.receive_some(2**20))


@asynccontextmanager
async def connected(port: int, path: bytes) -> AsyncIterator[Client]:
    """One client."""
    async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
        yield Client(stream, path)


class Ways(NamedTuple):
    """Where the server is, and where the gateway is."""

    direct: int
    through: int
    gateway: psutil.Process

    def cpu(self) -> float:
        """What the gateway has used of a processor, in seconds."""
        times = self.gateway.cpu_times()
        return times.user + times.system


@asynccontextmanager
async def started() -> AsyncIterator[Ways]:
    """The server and the gateway, while the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        server = await trio.lowlevel.open_process([sys.executable, "-m", "benchmarks.http"], stdout=subprocess.PIPE)
        assert server.stdout is not None
        port = int(await server.stdout.receive_some())
        options = ["--listen", f"{LOOPBACK}:0", "--upstream", f"http://{LOOPBACK}:{port}/mcp", "--max-connections", "1000"]
        command = [sys.executable, "-m", "trio_oplog", "gateway", *options, "--to", f"sqlite:///{folder}/log", "--spool", folder]
        gateway = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE)
        assert gateway.stderr is not None
        said = (await gateway.stderr.receive_some()).decode()
        try:
            yield Ways(port, int(said.split(":")[-1].split("/")[0]), psutil.Process(gateway.pid))
        finally:
            with trio.CancelScope(shield=True):
                for process in (gateway, server):
                    process.terminate()
                    await process.wait()
                await gateway.stderr.aclose()
                await server.stdout.aclose()


# What is measured


async def round_trips(ways: Ways, path: bytes) -> list[list[float]]:
    """Seconds of each call, directly and through the gateway, in turns."""
    times: list[list[float]] = [[], []]
    async with connected(ways.direct, path) as direct, connected(ways.through, path) as through:
        for turn in range(TURNS):
            for at, client in ((0, direct), (1, through)):
                for number in range(CALLS):
                    began = time.perf_counter()
                    await client.call()
                    if turn or number > CALLS // 2:  # the first ones warm up
                        times[at].append(time.perf_counter() - began)
    return times


async def rate(port: int, clients: int) -> float:
    """Calls a second of so many clients at once."""
    done = 0

    async def ask() -> None:
        nonlocal done
        async with connected(port, b"/mcp") as client:
            while time.perf_counter() < end:
                await client.call()
                done += 1

    began = time.perf_counter()
    end = began + SECONDS
    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(ask)
    return done / (time.perf_counter() - began)


async def speed(port: int) -> float:
    """Megabytes a second of one stream."""
    async with connected(port, b"/stream") as client:
        began = time.perf_counter()
        await client.drink()
        return STREAM / 1e6 / (time.perf_counter() - began)


async def in_turns(ways: Ways, measure: Callable[[int], Awaitable[float]]) -> list[float]:
    """The median of some turns, directly and through the gateway."""
    found: list[list[float]] = [[], []]
    for _ in range(3):
        found[0].append(await measure(ways.direct))
        found[1].append(await measure(ways.through))
    return [median(each) for each in found]


async def measure() -> tuple[list[Row], list[Row]]:
    """Both tables."""
    trips, rates = [], []
    async with started() as ways:
        for name, path in (("JSON", b"/mcp"), ("event", b"/events")):
            direct, through = await round_trips(ways, path)
            for rank in (50, 99):
                a, b = (quantiles(times, n=100)[rank - 1] * 1e3 for times in (direct, through))
                added = f"(goal {GOAL_MS:g} ms{'' if b - a <= GOAL_MS else ': missed'})" if rank == 50 else ""
                row = Row(f"{name}, p{rank}: adds {b - a:.2f} ms {added}", f"{b:.2f} ms", f"{a:.2f} ms", b / a)
                trips.append(row)
        for clients in CLIENTS:
            before, began = ways.cpu(), time.perf_counter()
            a, b = await in_turns(ways, partial(rate, clients=clients))
            used = (ways.cpu() - before) / (time.perf_counter() - began)
            name = f"calls a second, {clients} clients (gateway: {2e3 * used / max(b, 1):.2f} ms of CPU a call)"
            rates.append(Row(name, f"{b:,.0f}", f"{a:,.0f}", b / a))
        a, b = await in_turns(ways, speed)
        rates.append(Row("megabytes a second of one stream", f"{b:,.0f}", f"{a:,.0f}", b / a))
    return trips, rates


async def profiled() -> Counter[str]:
    """Seconds in each package, of calls through a gateway in this process."""
    spent: Counter[str] = Counter()
    async with trio.open_nursery() as nursery:
        [upstream] = await trio.open_tcp_listeners(0, host=LOOPBACK)
        nursery.start_soon(trio.serve_listeners, answer, [upstream])
        url = f"http://{LOOPBACK}:{upstream.socket.getsockname()[1]}/mcp"
        config = Config(source="benchmark", workspace_id="ws-1")
        gateway = HTTPGateway(url, Anyone(Identity(workspace_id="ws-1")), Nowhere(), config)
        [front] = await trio.open_tcp_listeners(0, host=LOOPBACK)
        await nursery.start(gateway.serve, [front])
        async with connected(front.socket.getsockname()[1], b"/mcp") as client:
            profiler = cProfile.Profile()
            profiler.enable()
            for _ in range(TURNS * CALLS):
                await client.call()
            profiler.disable()
        nursery.cancel_scope.cancel()
    for (file, _, _), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        package = PACKAGE.search(file)
        spent[package[1] if package else "Python, and the client and the server"] += own
    return spent


def run() -> None:
    """Print the tables."""
    trips, rates = trio.run(measure)
    show("round trips of a call through the gateway, and directly", trips)
    show("throughput through the gateway, and directly", rates)
    spent = trio.run(profiled)
    total = sum(spent.values())
    rows = [Row(name, f"{seconds / total:.0%}", "", None) for name, seconds in spent.most_common() if seconds > total / 100]
    show(f"where the time goes in one process ({total / (TURNS * CALLS) * 1e3:.2f} ms a call under the profiler)", rows)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    trio.run(serve)
