"""A real ACP agent behind wrap, driven by the client of the ACP SDK for Python."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from tests.e2e.model import Model, serving, shell
from tests.e2e.programs import (
    Json,
    approval,
    assert_waited,
    codex_environment,
    context,
    stored,
    wrapped,
)

CLIENT = Path(__file__).with_name("acp_client.py")
WAIT = 0.3
"""How long, in seconds, the client thinks about a permission."""
SETTINGS = """
approval_policy = "untrusted"
sandbox_mode = "danger-full-access"
"""
"""A permission for every command that does not only read."""


class Session:
    """One session with codex-acp behind ``wrap``.

    Attributes:
        report: What the client has seen; ``acp_client.py`` says what is in it.
        context: What the records must say of where the calls came from.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self.report: Json = {}
        # The script in .bin leaves the agent behind when it gets SIGTERM, with or without us.
        [agent] = (programs.parent / "@zed-industries").glob("codex-acp-*/bin/codex-acp")
        self._agent = str(agent)
        self._store = folder / "log.sqlite3"

    @property
    def context(self) -> Json:
        seen = self.report
        return {"client": "e2e/1.0", "server": seen["agent"], "protocol": seen["protocol"], "session": seen["session"]}

    async def take_prompts(self, *prompts: Json) -> list[Json]:
        """Send prompts, each of them a command that the model will run; returns the records."""
        model = Model({prompt["text"]: [shell(prompt["text"])] for prompt in prompts})
        plan = {"cwd": str(self.folder), "prompts": prompts}
        with trio.fail_after(50):
            async with serving(model) as url:
                done = await trio.run_process(
                    [sys.executable, str(CLIENT), *wrapped(self._store, self._agent)],
                    stdin=json.dumps(plan).encode(),
                    capture_stdout=True,
                    env=codex_environment(self.folder, url, SETTINGS),
                )
        self.report = json.loads(done.stdout)
        return await stored(self._store)


@pytest.fixture
def session(programs: Path, tmp_path: Path) -> Session:
    return Session(programs, tmp_path)


def check_what_all_have(operation: Json, session: Session, call: Json) -> None:
    """Of every call on record; ``call`` is the last that the client saw of its arguments."""
    assert (operation["tool"], operation["source"], operation["env_id"]) == ("execute", "llm", "local")
    assert operation["arguments"] == call["rawInput"]
    assert operation["request_id"] == call["toolCallId"]
    assert operation["thread_id"] == session.report["session"]
    assert operation["result_meta"]["title"] == call["title"]
    assert context(operation) == session.context


async def test_a_tool_call_that_needs_no_permission_is_recorded_with_what_it_said(session: Session) -> None:
    [operation] = await session.take_prompts({"text": "echo hello"})
    assert session.report["stop_reasons"] == ["end_turn"]
    begun, ended = session.report["updates"]
    check_what_all_have(operation, session, begun)
    assert not operation["is_error"]
    assert operation["result_meta"] == {"title": "echo hello"}
    assert json.loads(operation["result_summary"]) == ended["rawOutput"]
    assert "approval" not in operation


async def test_an_allowed_tool_call_is_recorded_with_who_allowed_it_and_how_long_that_took(session: Session) -> None:
    [operation] = await session.take_prompts({"text": "touch allowed", "answer": "allow_once", "wait": WAIT})
    assert session.report["stop_reasons"] == ["end_turn"]
    assert (session.folder / "allowed").exists()
    check_what_all_have(operation, session, session.report["updates"][0])
    assert not operation["is_error"]
    assert "outcome" not in operation["result_meta"]
    assert approval(operation) == {"decision": "allow_once", "by": "client"}
    assert_waited(operation, WAIT)


async def test_a_rejected_tool_call_is_recorded_as_declined(session: Session) -> None:
    [operation] = await session.take_prompts({"text": "touch rejected", "answer": "reject_once", "wait": WAIT})
    assert not (session.folder / "rejected").exists()
    assert session.report["updates"] == []
    check_what_all_have(operation, session, session.report["asked"][0])
    assert operation["is_error"]
    assert operation["result_meta"]["outcome"] == "declined"
    assert "result_summary" not in operation
    assert approval(operation) == {"decision": "reject_once", "by": "client"}
    assert_waited(operation, WAIT)


async def test_a_tool_call_of_a_cancelled_prompt_is_recorded_as_interrupted(session: Session) -> None:
    [operation] = await session.take_prompts({"text": "sleep 4", "answer": "allow_once", "wait": WAIT, "cancel": True})
    assert session.report["stop_reasons"] == ["cancelled"]
    check_what_all_have(operation, session, session.report["updates"][0])
    assert operation["is_error"]
    assert operation["result_meta"]["outcome"] == "interrupted"
    assert approval(operation) == {"decision": "allow_once", "by": "client"}
    assert_waited(operation, WAIT)
    assert operation["duration_ms"] < 4000


async def test_the_prompts_of_one_session_are_recorded_one_after_the_other(session: Session) -> None:
    operations = await session.take_prompts(
        {"text": "echo hello"},
        {"text": "touch rejected", "answer": "reject_once", "wait": WAIT},
        {"text": "touch allowed", "answer": "allow_once", "wait": WAIT},
    )
    assert [(operation["result_meta"]["title"], approval(operation).get("decision")) for operation in operations] == [
        ("echo hello", None),
        ("touch rejected", "reject_once"),
        ("touch allowed", "allow_once"),
    ]
    assert [operation["result_meta"].get("outcome") for operation in operations] == [None, "declined", None]
    assert {operation["thread_id"] for operation in operations} == {session.report["session"]}
