"""ASGI's lifespan protocol: an app may open what it needs before the first request, and close it after the last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

from trio_oplog._serving.target import Scope

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Lifespan:
    """The lifespan of one app, in a task of its own.

    An app that raises before it has received anything does not know the protocol, and is served without it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._has_received = False
        self._shut_down = trio.Event()
        self._started = trio.Event()
        self.ended = trio.Event()
        """Is set when the app will not run any more, or has no lifespan."""
        self.failure: Exception | None = None
        """What the app raised, or that it said that it had failed."""

    async def run(self) -> None:
        """Run until the app has ended; raise nothing that the app raises."""
        try:
            await self._app({"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - kept for who serves the app
            if self._has_received:
                self.failure = error
        finally:
            self._started.set()
            self.ended.set()

    async def start(self) -> None:
        """Wait until the app has started or failed."""
        await self._started.wait()

    def shut_down(self) -> None:
        """Let the app end."""
        self._shut_down.set()

    async def _receive(self) -> Message:
        if not self._has_received:
            self._has_received = True
            await trio.lowlevel.checkpoint()
            return {"type": "lifespan.startup"}
        await self._shut_down.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        kind = message["type"]
        if kind in ("lifespan.startup.failed", "lifespan.shutdown.failed"):
            # Starlette raises what happened after this; this one stays where an app does not.
            self.failure = RuntimeError(f"the app said {kind}")
        elif kind in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            self._started.set()
        else:
            raise RuntimeError(f"the app sent {kind} where its lifespan was asked for")
