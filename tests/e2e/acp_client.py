"""A program: the ACP SDK's own client, which follows a plan: ``python acp_client.py AGENT... < plan.json > report.json``.

It is a program of its own because the SDK needs asyncio, and the tests run on Trio.

The plan is an object with ``cwd`` and ``prompts``, a list of objects:

- ``text``: what the client says to the agent.
- ``answer``: the kind of the option that the client chooses whenever the agent asks for a permission.
- ``wait``: how long the client thinks about that, in seconds.
- ``cancel``: whether to cancel the prompt when the agent has begun to run a tool.

The report is an object with ``agent`` (name and version), ``protocol``, ``session``, ``stop_reasons`` (one for each prompt),
``asked`` (the tool call of each request for a permission) and ``updates`` (the tool calls as the agent announced them).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, cast

from acp import PROTOCOL_VERSION, spawn_agent_process, text_block
from acp.interfaces import Agent, Client
from acp.schema import (
    AllowedOutcome,
    ClientCapabilities,
    Implementation,
    PermissionOption,
    RequestPermissionResponse,
    ToolCallProgress,
    ToolCallStart,
    ToolCallUpdate,
)

Json = dict[str, Any]

PATIENCE = 3.0
"""How many seconds the agent may take to end after the end of its input, and again after SIGTERM; then it is killed."""


class Person:
    """What the agent talks to; the methods of ``acp.interfaces.Client`` that this agent calls."""

    def __init__(self) -> None:
        self.prompt: Json = {}
        self.asked: list[Json] = []
        self.updates: list[Json] = []
        self.running = asyncio.Event()

    def on_connect(self, conn: Agent) -> None:
        pass

    async def request_permission(
        self, session_id: str, tool_call: ToolCallUpdate, options: Sequence[PermissionOption], **_: Any
    ) -> RequestPermissionResponse:
        self.asked.append(tool_call.model_dump(by_alias=True, exclude_none=True))
        await asyncio.sleep(self.prompt["wait"])
        [chosen] = [option.option_id for option in options if option.kind == self.prompt["answer"]]
        return RequestPermissionResponse(outcome=AllowedOutcome(option_id=chosen, outcome="selected"))

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        if isinstance(update, ToolCallStart | ToolCallProgress):
            self.updates.append(update.model_dump(by_alias=True, exclude_none=True))
            self.running.set()


async def follow(plan: Json, agent: Sequence[str]) -> Json:
    person = Person()
    command, *arguments = agent
    async with spawn_agent_process(
        cast("Client", person),
        command,
        *arguments,
        env=os.environ,
        cwd=plan["cwd"],
        transport_kwargs={"stderr": None, "shutdown_timeout": PATIENCE},
    ) as (connection, _):
        hello = await connection.initialize(
            protocol_version=PROTOCOL_VERSION,
            client_capabilities=ClientCapabilities(),
            client_info=Implementation(name="e2e", version="1.0"),
        )
        session = (await connection.new_session(cwd=plan["cwd"], mcp_servers=[])).session_id
        stop_reasons = []
        for prompt in plan["prompts"]:
            person.prompt = prompt
            person.running.clear()
            answer = asyncio.create_task(connection.prompt(session_id=session, prompt=[text_block(prompt["text"])]))
            if prompt.get("cancel"):
                await person.running.wait()
                await connection.cancel(session_id=session)
            stop_reasons.append((await answer).stop_reason)
    assert hello.agent_info is not None
    return {
        "agent": f"{hello.agent_info.name}/{hello.agent_info.version}",
        "protocol": str(hello.protocol_version),
        "session": session,
        "stop_reasons": stop_reasons,
        "asked": person.asked,
        "updates": person.updates,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(follow(json.load(sys.stdin), sys.argv[1:]))))
