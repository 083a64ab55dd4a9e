"""Scenarios of MCP calls that become tasks, in both versions of the protocol.

In 2025-11-25 the client asks for a task and fetches its result with ``tasks/result``; in 2026-07-28 the server decides, and
the answer to ``tasks/get`` holds the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_oplog._operation import Outcome
from trio_oplog.testing._builder import CLIENT, SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario, answered_call
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Arguments, CallFacts, Ending, OpenCall
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature

OLD: Final = "2025-11-25"
NEW: Final = "2026-07-28"

_CONTENT: Final = '"content":[{"type":"text","text":"done"}]'
_DONE: Final = f"{{{_CONTENT}}}"
_ASKS: Final = '{"who":{"method":"elicitation/create","params":{"message":"Who?"}}}'


def begin_task(session: SessionBuilder, version: str, *, early_status: bool = False) -> str:
    """A call, and the answer that hands out a task.

    Args:
        session: Where it is written.
        version: Of the protocol.
        early_status: Whether a notification tells of the task before the answer names it.

    Returns:
        The task's id.
    """
    spelled = call_tool(session, "job", '{"ms":5}', more=[("task", '{"ttl":60000}')] if version == OLD else [])
    task_id = f"task-{session.fresh()}"
    if early_status:
        notify_status(session, task_id, version, "working")
    hand_out(session, spelled, task_id, version)
    return task_id


def call_tool(
    session: SessionBuilder,
    tool: str,
    arguments: str,
    *,
    more: list[tuple[str, str | None]] | None = None,
    spelled: SpelledId | None = None,
    law: Law = Law.TASKS,
) -> SpelledId:
    """An ordinary call of a tool, with more params than usual."""
    params = an_object([("name", quoted(tool)), ("arguments", arguments), *(more or [])], session.gap)
    spelled = spelled or session.fresh_id()
    session.say(CLIENT, an_object([("method", '"tools/call"'), ("id", spelled.text), ("params", params)], session.gap), law)
    session.oracle.begin(open_call(session, spelled, tool, arguments))
    return spelled


def open_call(session: SessionBuilder, spelled: SpelledId, tool: str, arguments: str) -> OpenCall:
    """What the oracle is told of such a call."""
    facts = CallFacts(source=session.config.source, tool=tool, request_id=spelled.as_text, arguments=Arguments(text=arguments))
    return OpenCall(key=spelled.key, facts=facts, began=session.oracle.frame, dialect=Feature.MCP, spelled_id=spelled)


def hand_out(session: SessionBuilder, spelled: SpelledId, task_id: str, version: str) -> None:
    """The answer to a call is a task."""
    status: list[tuple[str, str | None]] = [("taskId", quoted(task_id)), ("status", '"working"'), ("createdAt", '"2026"')]
    result = an_object([("task", an_object(status))] if version == OLD else [("resultType", '"task"'), *status], session.gap)
    session.respond(spelled, "result", result, Law.TASKS)
    session.oracle.answer(spelled.key, Ending(task_id=task_id))


def _status_text(session: SessionBuilder, task_id: str, status: str, message: str | None, more: str) -> str:
    members: list[tuple[str, str | None]] = [("taskId", quoted(task_id)), ("status", quoted(status))]
    members.append(("statusMessage", None if message is None else quoted(message, escaped=session.escaped)))
    text = an_object(members, session.gap)
    return f"{text[:-1]},{more}}}" if more else text


def notify_status(
    session: SessionBuilder,
    task_id: str,
    version: str,
    status: str,
    message: str | None = None,
    *,
    more: str = "",
    elicits: bool = False,
) -> None:
    """The server tells of a task's status on its own; ``more`` are members of what it tells."""
    method = "notifications/tasks/status" if version == OLD else "notifications/tasks"
    more = f'"inputRequests":{_ASKS}' if elicits else more
    session.notify(method, _status_text(session, task_id, status, message, more), Law.TASKS)
    session.oracle.see_status(task_id, status, message, elicits=elicits, told=True)


def _request(session: SessionBuilder, method: str, task_id: str, *more: tuple[str, str]) -> SpelledId:
    return session.request(method, an_object([("taskId", quoted(task_id)), *more], session.gap), Law.TASKS)


def poll(
    session: SessionBuilder, task_id: str, status: str, message: str | None = None, *, more: str = "", elicits: bool = False
) -> None:
    """The client asks for a task's status; ``more`` are members of the answer."""
    asked = _request(session, "tasks/get", task_id)
    more = f'"inputRequests":{_ASKS}' if elicits else more
    session.respond(asked, "result", _status_text(session, task_id, status, message, more), Law.TASKS)
    session.oracle.see_status(task_id, status, message, elicits=elicits)


def fetch(session: SessionBuilder, task_id: str, member: str, value: str, ending: Ending) -> None:
    """The client fetches a task's result."""
    asked = _request(session, "tasks/result", task_id)
    session.respond(asked, member, value, Law.TASKS)
    session.oracle.end_task(task_id, ending)


def cancel(session: SessionBuilder, task_id: str, member: str = "result", value: str = "{}") -> None:
    """The client cancels a task; only an error says that it could not."""
    asked = _request(session, "tasks/cancel", task_id)
    session.respond(asked, member, value, Law.TASKS)
    if member == "result":
        session.oracle.end_task(task_id, Ending(outcome=Outcome.CANCELLED))


def bring_input(session: SessionBuilder, task_id: str, action: str = "accept") -> None:
    """The client brings what the task asked a person for."""
    responses = f'{{"who":{{"action":{quoted(action)},"content":{{}}}}}}'
    asked = _request(session, "tasks/update", task_id, ("inputResponses", responses))
    session.oracle.update_task(task_id, action)
    session.respond(asked, "result", '{"resultType":"complete"}', Law.TASKS)


# How a task ends.  Each is told what the version is, and ends it or not.


def ends_well(session: SessionBuilder, task_id: str, version: str) -> None:
    """It completes, and its result is fetched."""
    notify_status(session, task_id, version, "working", "half way")
    if version == OLD:
        poll(session, task_id, "completed")
        fetch(session, task_id, "result", _DONE, Ending(text="done"))
    else:
        poll(session, task_id, "completed", more=f'"result":{_DONE}')
        session.oracle.end_task(task_id, Ending(text="done"))


def ends_in_a_tool_error(session: SessionBuilder, task_id: str, version: str) -> None:
    """It completes, and its result says that the tool failed."""
    result, ending = f'{{{_CONTENT},"isError":true}}', Ending(text="done", outcome=Outcome.TOOL_ERROR)
    if version == OLD:
        fetch(session, task_id, "result", result, ending)
    else:
        poll(session, task_id, "completed", more=f'"result":{result}')
        session.oracle.end_task(task_id, ending)


def ends_in_an_error(session: SessionBuilder, task_id: str, version: str) -> None:
    """It fails with a JSON-RPC error."""
    error, ending = '{"code":-32603,"message":"boom"}', Ending(text="boom", outcome=Outcome.RPC_ERROR, error_code=-32603)
    if version == OLD:
        fetch(session, task_id, "error", error, ending)
    else:
        poll(session, task_id, "failed", "it failed", more=f'"error":{error}')
        session.oracle.end_task(task_id, ending)


def is_told_of_its_result(session: SessionBuilder, task_id: str, version: str) -> None:
    """It completes, and a notification brings the result; in the old version only the status."""
    if version == OLD:
        notify_status(session, task_id, version, "completed")
        fetch(session, task_id, "result", _DONE, Ending(text="done"))
    else:
        notify_status(session, task_id, version, "completed", more=f'"result":{_DONE}')
        session.oracle.end_task(task_id, Ending(text="done"))


def fails_without_content(session: SessionBuilder, task_id: str, version: str) -> None:
    """It fails, and its result says no more than that; the status may come by itself."""
    notify_status(session, task_id, version, "failed", "disk full")
    fetch(session, task_id, "result", '{"_meta":{}}', Ending(outcome=Outcome.FAILED, text="disk full"))


def fails_with_content(session: SessionBuilder, task_id: str, _version: str) -> None:
    """It fails, and the content says how."""
    poll(session, task_id, "failed", "see the result")
    fetch(session, task_id, "result", f'{{{_CONTENT},"isError":true}}', Ending(text="done", outcome=Outcome.TOOL_ERROR))


def completes_without_content(session: SessionBuilder, task_id: str, _version: str) -> None:
    """It completes, and there is nothing to say."""
    poll(session, task_id, "completed", "all done")
    fetch(session, task_id, "result", "{}", Ending())


def is_cancelled(session: SessionBuilder, task_id: str, version: str) -> None:
    """The client cancels it, and a late status changes nothing."""
    cancel(session, task_id, value=f'{{"taskId":{quoted(task_id)},"status":"cancelled"}}' if version == OLD else "{}")
    notify_status(session, task_id, version, "working")
    poll(session, task_id, "cancelled")


def is_cancelled_by_itself(session: SessionBuilder, task_id: str, version: str) -> None:
    """The server cancels it, and says so in a notification; its result is an error that nobody waits for."""
    notify_status(session, task_id, version, "cancelled", "shutting down")
    fetch(session, task_id, "error", '{"code":-32602,"message":"cancelled"}', Ending(outcome=Outcome.RPC_ERROR))


def is_found_cancelled(session: SessionBuilder, task_id: str, _version: str) -> None:
    """A status says that somebody cancelled it."""
    poll(session, task_id, "cancelled", "by the operator")


def cannot_be_cancelled(session: SessionBuilder, task_id: str, version: str) -> None:
    """A refused cancellation changes nothing, nor does a question that the server cannot answer."""
    cancel(session, task_id, "error", '{"code":-32602,"message":"too late"}')
    session.respond(_request(session, "tasks/get", task_id), "error", '{"code":-32603,"message":"busy"}', Law.TASKS)
    ends_well(session, task_id, version)


def is_fetched_twice(session: SessionBuilder, task_id: str, version: str) -> None:
    """What is fetched again is the same call."""
    ends_well(session, task_id, version)
    fetch(session, task_id, "result", _DONE, Ending(text="done"))
    cancel(session, task_id)


def is_never_fetched(session: SessionBuilder, task_id: str, version: str) -> None:
    """It completes, which is told or seen twice, and nobody asks for the result."""
    for _ in range(2):
        if version == OLD:
            notify_status(session, task_id, version, "completed")
        else:
            poll(session, task_id, "completed")


def fails_unfetched(session: SessionBuilder, task_id: str, version: str) -> None:
    """It fails, and nobody asks why."""
    notify_status(session, task_id, version, "working", "starting")
    notify_status(session, task_id, version, "failed", "disk full")


def never_ends(session: SessionBuilder, task_id: str, _version: str) -> None:
    """It is still working when the connection ends."""
    poll(session, task_id, "working")


def asks_a_person(session: SessionBuilder, task_id: str, version: str) -> None:
    """It needs input, which comes with ``tasks/update``, or (2025) as the answer to a request about the task."""
    if version == OLD:
        params = f'{{"message":"Who?","_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":{quoted(task_id)}}}}}}}'
        call = session.world.task(task_id)
        if call is not None:
            asked = session.ask("elicitation/create", params, Law.APPROVAL_LINK)
            question = session.oracle.ask(call)
            session.reply(asked, "result", '{"action":"accept","content":{}}', Law.APPROVALS)
            session.oracle.decide(call, question, "accept")
    else:
        poll(session, task_id, "input_required", elicits=True)
        poll(session, task_id, "input_required", elicits=True)
        bring_input(session, task_id)
    ends_well(session, task_id, version)


def is_cancelled_while_it_asks(session: SessionBuilder, task_id: str, _version: str) -> None:
    """It needs input, and is cancelled before it gets any."""
    notify_status(session, task_id, NEW, "input_required", elicits=True)
    cancel(session, task_id)


QUIET_ENDS: Final = (
    ends_well,
    is_told_of_its_result,
    ends_in_a_tool_error,
    ends_in_an_error,
    fails_without_content,
    fails_with_content,
    completes_without_content,
    is_cancelled,
    is_cancelled_by_itself,
    is_found_cancelled,
    cannot_be_cancelled,
    is_fetched_twice,
)
TASK_ENDS: Final = (*QUIET_ENDS, asks_a_person, is_cancelled_while_it_asks)
UNFETCHED: Final = (is_never_fetched, fails_unfetched, never_ends)


def task(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call that becomes a task, and ends in one way or another."""
    version = choices.pick((OLD, NEW))
    task_id = begin_task(session, version, early_status=choices.chance(3))
    yield
    choices.pick(TASK_ENDS)(session, task_id, version)


def unfetched_task(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A call that becomes a task whose result nobody fetches."""
    version = choices.pick((OLD, NEW))
    task_id = begin_task(session, version)
    yield
    choices.pick(UNFETCHED)(session, task_id, version)


def unknown_task(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Traffic about a task that no call became."""
    task_id, version = f"unknown-{session.fresh()}", choices.pick((OLD, NEW))
    notify_status(session, task_id, version, "completed")
    yield
    choices.pick((ends_well, is_cancelled, ends_in_an_error))(session, task_id, version)


def two_tasks(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two tasks at once whose results are awaited in one order and come in the other."""
    ids = [begin_task(session, OLD) for _ in range(2)]
    yield
    asked = [_request(session, "tasks/result", task_id) for task_id in ids]
    yield
    yield from answered_call(session, choices)
    for task_id, spelled in reversed(list(zip(ids, asked, strict=True))):
        session.respond(spelled, "result", _DONE, Law.TASKS)
        session.oracle.end_task(task_id, Ending(text="done"))
        yield


TASK_SCENARIOS: Final[tuple[Scenario, ...]] = (task, unfetched_task, two_tasks, unknown_task)
