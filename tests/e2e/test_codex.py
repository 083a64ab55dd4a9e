"""The newest Codex app-server behind wrap: what a model calls and a client approves, and what a client runs itself."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.e2e.app_server import AppServerClient, connected
from tests.e2e.model import Model, ToolCall, serving, shell
from tests.e2e.programs import (
    Json,
    approval,
    assert_transparent,
    assert_waited,
    codex_environment,
    context,
    running,
    stored,
    tapped_inside_and_outside,
    wrapped,
)

WAIT = 0.3
"""How long, in seconds, the client thinks about an approval."""
COMMAND = "item/commandExecution/requestApproval"
MCP_TOOL = "mcpServer/elicitation/request"


class Session:
    """Runs Codex behind ``wrap`` in a folder of its own.

    Attributes:
        answers: For each method of the server's requests, what the client answers.
        asked: The requests of the server.
        context: What the records must say of where the calls came from.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self.asked: list[Json] = []
        self.answers: dict[str, Json] = {}
        self._codex = str(programs / "codex")
        self._store = folder / "log.sqlite3"
        package = programs.parent / "@openai" / "codex" / "package.json"
        self.context = {"client": "e2e/1.0", "server": f"codex/{json.loads(package.read_text())['version']}"}

    @asynccontextmanager
    async def open(self, *calls: ToolCall, tapped: bool = False) -> AsyncIterator[AppServerClient]:
        """A client of Codex; the model will make these calls when it is told to "go"."""
        command = (
            tapped_inside_and_outside(self.folder, self._store, self._codex, "app-server")
            if tapped
            else wrapped(self._store, self._codex, "app-server")
        )
        with trio.fail_after(50):
            async with serving(Model({"go": calls})) as url:
                environment = codex_environment(self.folder, url)
                async with (
                    running(command, environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
                    connected(process, self._think) as client,
                ):
                    yield client
        assert process.returncode == 0

    async def _think(self, request: Json) -> Json:
        self.asked.append(request)
        await trio.sleep(WAIT)
        return self.answers[request["method"]]

    async def record(self) -> list[Json]:
        return await stored(self._store)

    async def take_turn(self, *calls: ToolCall, answers: dict[str, Json], tapped: bool = False) -> tuple[Sequence[Json], str]:
        """Let the model make these calls, each of them asked of the client; returns the records and the id of the thread."""
        self.answers = answers
        async with self.open(*calls, tapped=tapped) as client:
            thread = await start_thread(client, self.folder)
            await client.wait_for("mcpServer/startupStatus/updated", name="workshop", status="ready")
            await client.request("turn/start", threadId=thread, input=[{"type": "text", "text": "go"}])
            await client.wait_for("turn/completed", threadId=thread)
        assert len(self.asked) == len(calls)
        return await self.record(), thread


@pytest.fixture
def session(programs: Path, tmp_path: Path) -> Session:
    return Session(programs, tmp_path)


async def start_thread(client: AppServerClient, folder: Path) -> str:
    """A thread in which a command needs an approval unless it only reads."""
    result = await client.request(
        "thread/start", ephemeral=True, cwd=str(folder), approvalPolicy="untrusted", sandbox="danger-full-access"
    )
    thread: str = result["thread"]["id"]
    return thread


def describe(operation: Json) -> tuple[Any, ...]:
    """Tool, source, place, whether it failed, and how."""
    outcome = operation.get("result_meta", {}).get("outcome")
    return operation["tool"], operation["source"], operation["env_id"], operation["is_error"], outcome


async def test_an_accepted_command_is_recorded_with_who_accepted_it_and_how_long_that_took(session: Session) -> None:
    [operation], thread = await session.take_turn(shell("touch accepted; echo out"), answers={COMMAND: {"decision": "accept"}})
    request = session.asked[0]["params"]
    assert (session.folder / "accepted").exists()
    assert describe(operation) == ("commandExecution", "llm", "local", False, None)
    assert operation["arguments"] == {"command": request["command"], "cwd": request["cwd"]}
    assert (operation["thread_id"], operation["request_id"]) == (thread, request["itemId"])
    assert operation["result_summary"] == "out\n"
    assert operation["result_meta"]["exit_code"] == 0
    assert approval(operation) == {"decision": "accept", "by": "client"}
    assert_waited(operation, WAIT)
    assert context(operation) == session.context


async def test_a_declined_command_is_recorded_as_declined(session: Session) -> None:
    [operation], thread = await session.take_turn(shell("touch declined"), answers={COMMAND: {"decision": "decline"}})
    request = session.asked[0]["params"]
    assert not (session.folder / "declined").exists()
    assert describe(operation) == ("commandExecution", "llm", "local", True, "declined")
    assert operation["arguments"] == {"command": request["command"], "cwd": request["cwd"]}
    assert (operation["thread_id"], operation["request_id"]) == (thread, request["itemId"])
    assert "result_summary" not in operation
    assert "exit_code" not in operation["result_meta"]
    assert approval(operation) == {"decision": "decline", "by": "client"}
    assert_waited(operation, WAIT)
    assert context(operation) == session.context


async def test_an_accepted_mcp_tool_is_recorded_with_its_approval(session: Session) -> None:
    add = ToolCall("add", {"a": 1, "b": 2}, namespace="mcp__workshop")
    [operation], thread = await session.take_turn(add, answers={MCP_TOOL: {"action": "accept", "content": {}}})
    assert describe(operation) == ("add", "llm", "workshop", False, None)
    assert operation["arguments"] == {"a": 1, "b": 2}
    assert operation["thread_id"] == thread
    assert operation["result_summary"] == "3.0"
    assert approval(operation) == {"decision": "accept", "by": "client"}
    assert_waited(operation, WAIT)
    assert context(operation) == session.context


async def test_a_declined_mcp_tool_is_recorded_as_declined(session: Session) -> None:
    add = ToolCall("add", {"a": 1, "b": 2}, namespace="mcp__workshop")
    [operation], thread = await session.take_turn(add, answers={MCP_TOOL: {"action": "decline"}})
    assert describe(operation) == ("add", "llm", "workshop", True, "declined")
    assert operation["arguments"] == {"a": 1, "b": 2}
    assert operation["thread_id"] == thread
    assert "reject" in operation["result_summary"]
    assert approval(operation) == {"decision": "decline", "by": "client"}
    assert_waited(operation, WAIT)


async def test_several_calls_of_one_turn_keep_their_own_approvals(session: Session) -> None:
    calls = [shell("touch one"), ToolCall("add", {"a": 1, "b": 2}, namespace="mcp__workshop"), shell("touch two")]
    answers: dict[str, Json] = {COMMAND: {"decision": "acceptForSession"}, MCP_TOOL: {"action": "accept", "content": {}}}
    operations, _ = await session.take_turn(*calls, answers=answers)
    assert [(operation["tool"], approval(operation)) for operation in operations] == [
        ("commandExecution", {"decision": "acceptForSession", "by": "client"}),
        ("add", {"decision": "accept", "by": "client"}),
        ("commandExecution", {"decision": "acceptForSession", "by": "client"}),
    ]
    for operation in operations:
        assert_waited(operation, WAIT)


async def test_a_command_that_the_client_runs_is_recorded_with_its_exit_code(session: Session) -> None:
    succeeding = ["/bin/sh", "-c", "echo out; echo err >&2"]
    failing = ["/bin/sh", "-c", "echo no >&2; exit 3"]
    async with session.open() as client:
        assert (await client.request("command/exec", command=succeeding, cwd=str(session.folder)))["exitCode"] == 0
        assert (await client.request("command/exec", command=failing))["exitCode"] == 3
    success, failure = await session.record()
    assert describe(success) == ("command/exec", "sdk", "local", False, None)
    assert success["arguments"] == {"command": succeeding, "cwd": str(session.folder)}
    assert success["result_summary"] == "out\nerr\n"
    assert success["result_meta"] == {"exit_code": 0}
    assert describe(failure) == ("command/exec", "sdk", "local", True, "tool_error")
    assert failure["arguments"] == {"command": failing}
    assert failure["result_summary"] == "no\n"
    assert failure["result_meta"] == {"outcome": "tool_error", "exit_code": 3}
    for operation in (success, failure):
        assert context(operation) == session.context
        assert not {"approval", "thread_id"} & operation.keys()


async def test_a_process_is_recorded_from_its_start_until_it_has_exited(session: Session) -> None:
    command = ["/bin/sh", "-c", "echo out; sleep 0.4; exit 4"]
    process = {"command": command, "cwd": str(session.folder), "processHandle": "job"}
    async with session.open() as client:
        began = trio.current_time()
        await client.request("process/spawn", **process)
        assert (await client.wait_for("process/exited", processHandle="job"))["exitCode"] == 4
        took = trio.current_time() - began
    [operation] = await session.record()
    assert describe(operation) == ("process/spawn", "sdk", "local", True, "tool_error")
    assert operation["arguments"] == process
    assert operation["result_summary"] == "out\n"
    assert operation["result_meta"] == {"outcome": "tool_error", "exit_code": 4}
    assert 400 <= operation["duration_ms"] <= took * 1000
    assert context(operation) == session.context


async def test_a_file_that_the_client_writes_is_recorded(session: Session) -> None:
    path = session.folder / "written.txt"
    arguments = {"path": str(path), "dataBase64": base64.b64encode("héllo\n".encode()).decode()}
    async with session.open() as client:
        await client.request("fs/writeFile", **arguments)
    assert path.read_text("utf-8") == "héllo\n"
    [operation] = await session.record()
    assert describe(operation) == ("fs/writeFile", "sdk", "local", False, None)
    assert operation["arguments"] == arguments
    assert "result_meta" not in operation
    assert context(operation) == session.context


async def test_the_bytes_of_a_turn_with_an_approval_pass_unchanged(session: Session) -> None:
    await session.take_turn(shell("touch accepted"), answers={COMMAND: {"decision": "accept"}}, tapped=True)
    assert (session.folder / "accepted").exists()
    assert_transparent(session.folder)
