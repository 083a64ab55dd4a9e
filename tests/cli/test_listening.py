"""Where the programs that serve listen, and what signals do to them."""

from __future__ import annotations

import signal
import socket
from types import SimpleNamespace
from typing import Any

import click
import pytest
import trio

from trio_oplog._cli.listening import name_of, open_listeners, read_address, serve_until_told


@pytest.mark.parametrize(
    ("said", "meant"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("collector.example:65535", ("collector.example", 65535))],
)
def test_an_address_is_a_host_and_a_port(said: str, meant: tuple[str, int]) -> None:
    assert read_address(said, example="127.0.0.1:80") == meant


@pytest.mark.parametrize("said", ["", "80", ":80", "host", "host:", "host:http", "host:65536", "host:-1"])
def test_what_is_no_address_is_refused_with_one_that_would_do(said: str) -> None:
    with pytest.raises(click.BadParameter, match=r"must be HOST:PORT, such as 127\.0\.0\.1:80\.") as caught:
        read_address(said, option="--there", example="127.0.0.1:80")
    assert caught.value.param_hint == "--there"


async def test_a_listener_is_named_as_in_a_url() -> None:
    [listener] = await open_listeners("127.0.0.1", 0)
    async with listener:
        assert name_of(listener) == f"127.0.0.1:{listener.socket.getsockname()[1]}"
    of_version_6: Any = SimpleNamespace(socket=SimpleNamespace(getsockname=lambda: ("::1", 8088, 0, 0)))
    assert name_of(of_version_6) == "[::1]:8088"


@pytest.mark.parametrize(("host", "name"), [("127.0.0.1", "127.0.0.1"), ("::ffff:127.0.0.1", "[::ffff:127.0.0.1]")])
async def test_a_port_that_is_taken_is_named(host: str, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(click.ClickException) as caught:
            await open_listeners(host, port)
    assert caught.value.message.startswith(f"cannot listen on {name}:{port}: ")


class Serving:
    """A server that ends some time after it is told to stop, if at all."""

    def __init__(self, *, ends: bool = True) -> None:
        self.stops = 0
        self.was_cancelled = False
        self._ends = ends
        self._stopped = trio.Event()

    def stop(self) -> None:
        self.stops += 1
        if self._ends:
            self._stopped.set()

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            await self._stopped.wait()
        except trio.Cancelled:
            self.was_cancelled = True
            raise


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_the_first_signal_stops_the_server(number: signal.Signals) -> None:
    told, signals = trio.open_memory_channel[int](1)
    server = Serving()
    await serve_until_told(server, server.serve, signals, lambda: told.send_nowait(number))
    assert (server.stops, server.was_cancelled) == (1, False)


async def test_the_second_signal_waits_for_nobody() -> None:
    told, signals = trio.open_memory_channel[int](2)
    server = Serving(ends=False)

    def started() -> None:
        told.send_nowait(signal.SIGTERM)
        told.send_nowait(signal.SIGTERM)

    await serve_until_told(server, server.serve, signals, started)
    assert (server.stops, server.was_cancelled) == (1, True)


async def test_sighup_reloads_where_there_is_something_to_reload() -> None:
    told, signals = trio.open_memory_channel[int](3)
    server = Serving()
    reloads: list[int] = []

    def started() -> None:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            told.send_nowait(number)

    await serve_until_told(server, server.serve, signals, started, lambda: reloads.append(server.stops))
    assert (reloads, server.stops) == ([0, 0], 1)


async def test_a_server_that_ends_by_itself_ends_the_wait() -> None:
    told, signals = trio.open_memory_channel[int](1)
    server = Serving()
    with told:
        await serve_until_told(server, server.serve, signals, server.stop)
    assert (server.stops, server.was_cancelled) == (1, False)
