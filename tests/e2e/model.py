"""A stand-in for a language model: an HTTP server on loopback that speaks OpenAI's Responses API and follows a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import frozen
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.http import serve_on_loopback

Json = dict[str, Any]


@frozen
class ToolCall:
    """One tool call of the model; ``namespace`` is ``mcp__`` and the name of an MCP server."""

    name: str
    arguments: Mapping[str, Any]
    namespace: str | None = None


def shell(command: str) -> ToolCall:
    """A call of Codex's own tool that runs a command."""
    return ToolCall("exec_command", {"cmd": command})


@frozen
class Model:
    """The model's side of the conversations.

    The model keeps no state: every request holds the whole conversation, and what follows the last prompt of the script in it
    says how many of that prompt's tool calls have been made.

    Attributes:
        script: For each prompt the tool calls to make, one after the other.  After the last one, and for a prompt that the
            script lacks, the model says "Done." and its turn ends.
    """

    script: Mapping[str, Sequence[ToolCall]]

    async def respond(self, request: Request) -> StreamingResponse:
        conversation: list[Json] = (await request.json())["input"]
        return StreamingResponse(_events(self._next_item(conversation)), media_type="text/event-stream")

    def _next_item(self, conversation: Sequence[Json]) -> Json:
        calls: Sequence[ToolCall] = ()
        made = 0
        for item in conversation:
            if item.get("type") == "message" and item.get("role") == "user":
                prompt = "".join(part.get("text", "") for part in item["content"])
                if prompt in self.script:
                    calls, made = self.script[prompt], 0
            elif item.get("type") == "function_call":
                made += 1
        number = len(conversation)
        if made >= len(calls):
            said = {"type": "output_text", "text": "Done.", "annotations": []}
            return {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [said]}
        call = calls[made]
        item = {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": f"call_{number}",
            "name": call.name,
            "arguments": json.dumps(call.arguments),
        }
        return item if call.namespace is None else item | {"namespace": call.namespace}


def _events(item: Json) -> Iterator[str]:
    """The server-sent events of a response with one output item."""

    def event(kind: str, **members: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind} | members)}\n\n"

    response = {"id": f"resp_{item['id']}"}
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    }
    yield event("response.created", response=response)
    yield event("response.output_item.added", output_index=0, item=item)
    yield event("response.output_item.done", output_index=0, item=item)
    yield event("response.completed", response=response | {"usage": usage})


@asynccontextmanager
async def serving(model: Model) -> AsyncIterator[str]:
    """Serve a model on a free port of loopback; yields the ``base_url`` for the client's configuration."""
    app = Starlette(routes=[Route("/v1/responses", model.respond, methods=["POST"])])
    async with trio.open_nursery() as nursery:
        yield await serve_on_loopback(app, nursery) + "/v1"
        nursery.cancel_scope.cancel()
