"""A server of the MCP Python SDK, with tools for everything that a call may do."""

from __future__ import annotations

import logging

import trio
from mcp import Client, types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from pydantic import BaseModel

SLOW = 600.0
"""Seconds that a call takes that is to be cancelled."""


class Name(BaseModel):
    name: str


class Events(EventStore):
    """Keeps the events of all streams, so that streams can be resumed."""

    def __init__(self) -> None:
        self.kept: list[tuple[StreamId, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: StreamId, message: types.JSONRPCMessage | None) -> EventId:
        await trio.lowlevel.checkpoint()
        self.kept.append((stream_id, message))
        return str(len(self.kept))

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        stream_id, _ = self.kept[int(last_event_id) - 1]
        for number, (stream, message) in enumerate(self.kept[int(last_event_id) :], int(last_event_id) + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


class Peer(MCPServer):
    """The server.

    Attributes:
        heard: Is set by a client that has heard of the progress of ``wait_for_client``.
        running: Is set when ``slow`` runs.
        cancelled: Is set when it has been cancelled.
    """

    def __init__(self) -> None:
        super().__init__("peer", version="1.0")
        logging.getLogger("mcp").setLevel(logging.CRITICAL)
        logging.getLogger("httpx2").setLevel(logging.CRITICAL)
        self.heard = trio.Event()
        self.running = trio.Event()
        self.cancelled = trio.Event()
        for function in (self.echo, self.fail, self.count, self.wait_for_client, self.ask, self.rounds, self.slow, self.cut):
            self.add_tool(function)

    async def echo(self, text: str) -> str:
        """Answer with the text."""
        return text

    async def fail(self) -> str:
        """Fail."""
        raise ValueError("it went wrong")

    async def count(self, ctx: Context, to: int) -> str:
        """Tell of progress."""
        for number in range(to):
            await ctx.report_progress(number + 1, to)
        return "counted"

    async def wait_for_client(self, ctx: Context) -> str:
        """Tell of progress, and go on when the client has heard of it."""
        await ctx.report_progress(1, 2)
        await self.heard.wait()
        return "heard"

    async def ask(self, ctx: Context) -> str:
        """Ask the user in the middle of the call."""
        answer = await ctx.elicit("Who?", Name)
        return f"{answer.action} {answer.data.name}" if answer.action == "accept" else answer.action

    async def rounds(self, ctx: Context) -> str | types.InputRequiredResult:
        """Ask the user in a round of its own."""
        if ctx.input_responses is None:
            params = types.ElicitRequestFormParams(message="Who?", requested_schema=Name.model_json_schema())
            return types.InputRequiredResult(input_requests={"name": types.ElicitRequest(params=params)}, request_state="s")
        return "asked"

    async def slow(self) -> str:
        """Take long."""
        self.running.set()
        try:
            await trio.sleep(SLOW)
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return "slept"

    async def cut(self, ctx: Context) -> str:
        """Let the stream break off in the middle, and answer when it is resumed."""
        await ctx.report_progress(1, 2)
        await self.heard.wait()
        await ctx.close_sse_stream()
        await trio.sleep(0.05)
        return "resumed"


async def elicit(_: object, params: object) -> types.ElicitResult:
    """A user who says a name."""
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def cancel_slow(client: Client, peer: Peer) -> None:
    """Call ``slow``, and leave the call when it runs."""
    scope = trio.CancelScope()

    async def call_slow() -> None:
        with scope:
            await client.call_tool("slow")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call_slow)
        await peer.running.wait()
        scope.cancel()
