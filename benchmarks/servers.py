"""The receiving ends that delivery is measured against, each in a process of its own.

``python -P benchmarks/servers.py ack DELAY`` only acknowledges, ``… otlp`` does in OTLP's way; ``… collect PATH SECRET`` is the
real collector on a file, and ``… store URL SECRET`` on any database.  Each listens on a free port of the loopback interface,
prints it, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from trio_oplog.collector import HTTPServer, create_app, open_store

ID = re.compile(rb'"id":("[^"]+")')
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@contextmanager
def running(*arguments: str) -> Iterator[str]:
    """The URL of such a process, which ends with the block."""
    with subprocess.Popen(  # noqa: S603
        # Without the folder of this file on the path: its http.py is not that of the standard library.
        [sys.executable, "-P", __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/internal/operations"
        process.stdin.close()


class Acknowledging(asyncio.Protocol):
    """As little of HTTP as there can be: the cheaper the server, the more the client's own cost shows."""

    delay = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or not length or len(body) < int(length[1]):
            return
        self.data = b""
        self.answer(body)

    def answer(self, body: bytes) -> None:
        # An operation's own id is the first in its line.
        ids = [match[1] for line in body.splitlines() if (match := ID.search(line))]
        answer = b'{"stored":[%s],"refused":[]}' % b",".join(ids)
        response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, response)
        else:
            self.transport.write(response)


class Swallowing(Acknowledging):
    """Says that every span was taken, which an empty answer does."""

    def answer(self, _: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
        self.transport.write(head)


async def acknowledge(listener: socket.socket, kind: type[Acknowledging], delay: float) -> None:
    kind.delay = delay
    server = await asyncio.get_running_loop().create_server(kind, sock=listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


async def collect(listener: socket.socket, url: str, secret: str) -> None:
    async with open_store(url) as store:
        ended = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def wait_for_the_end() -> None:
            sys.stdin.read()
            token.run_sync_soon(ended.set)

        threading.Thread(target=wait_for_the_end, daemon=True).start()
        async with trio.open_nursery() as nursery:
            server = HTTPServer(create_app(store, secret))
            await nursery.start(server.serve, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])
            await ended.wait()
            server.stop()


def main() -> None:
    kind, *arguments = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    if kind == "ack":
        asyncio.run(acknowledge(listener, Acknowledging, float(arguments[0])))
    elif kind == "otlp":
        asyncio.run(acknowledge(listener, Swallowing, 0.0))
    else:
        print(listener.getsockname()[1], flush=True)
        where, secret = arguments
        trio.run(collect, listener, where if kind == "store" else f"sqlite:///{where}", secret)


if __name__ == "__main__":
    main()
