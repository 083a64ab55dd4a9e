"""What the programs that serve have in common: where they listen, and what a signal does."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import click
import trio

_FIRST_DESCRIPTOR: Final = 3


class Stoppable(Protocol):
    """A server: a ``Gateway`` or an ``HTTPServer``."""

    def stop(self) -> None:
        """Take no more clients, and let ``serve`` return."""


def read_address(listen: str, *, option: str = "--listen", example: str) -> tuple[str, int]:
    """The host and the port of ``HOST:PORT``.

    Args:
        listen: The option's value.
        option: Which one.
        example: One that would do.

    Raises:
        click.BadParameter: It is none.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 0xFFFF or not host:
        raise click.BadParameter(f"must be HOST:PORT, such as {example}.", param_hint=option)
    return host.removeprefix("[").removesuffix("]"), int(port)


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen there.

    Raises:
        click.ClickException: That cannot be done.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        name = f"[{host}]" if ":" in host else host
        raise click.ClickException(f"cannot listen on {name}:{port}: {error.strerror}") from None


def take_listeners() -> list[trio.SocketListener]:
    """The sockets that systemd has opened for this process, as ``sd_listen_fds(3)`` tells of them; empty where it opened none.

    Whoever opened them keeps them, so that clients wait while one process follows another, and none is refused.  The variables
    that tell of them are gone afterwards: they are not for a child.

    Raises:
        click.ClickException: One of them does not listen for streams.
    """
    count, pid = (os.environ.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_PID"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    listeners = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)):
        try:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor)))
            listener.socket.set_inheritable(False)
            listeners.append(listener)
        except (OSError, ValueError):
            raise click.ClickException(f"the descriptor {descriptor} of LISTEN_FDS is no socket that listens") from None
    return listeners


def name_of(listener: trio.SocketListener) -> str:
    """Host and port, as in a URL; the path of a Unix socket."""
    name = listener.socket.getsockname()
    if isinstance(name, str):
        return name
    host, port, *_ = name
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve_until_told(
    server: Stoppable,
    serve: Callable[..., Awaitable[object]],
    signals: AsyncIterator[int],
    started: Callable[[], object],
    reload: Callable[[], object] | None = None,
) -> None:
    """Serve until a signal says otherwise: the first stops the server, and the second does not wait for it.

    Args:
        server: What is stopped.
        serve: Its ``serve``, as ``nursery.start`` calls it.
        signals: What arrives.
        started: Called once it listens.
        reload: What SIGHUP does; without it, it is a signal like the others.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_told, server, signals, nursery.cancel_scope, reload)
        async with trio.open_nursery() as serving:
            await serving.start(serve)
            started()
        nursery.cancel_scope.cancel()


async def _stop_when_told(
    server: Stoppable, signals: AsyncIterator[int], scope: trio.CancelScope, reload: Callable[[], object] | None
) -> None:
    is_stopping = False
    async for signum in signals:
        if reload is not None and signum == signal.SIGHUP:
            reload()
        elif is_stopping:
            scope.cancel()
        else:
            is_stopping = True
            server.stop()
