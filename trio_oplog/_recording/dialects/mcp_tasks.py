"""Model Context Protocol: tool calls that go on as tasks.

Source: MCP 2025-11-25, "Tasks"; the extension ``io.modelcontextprotocol/tasks`` of MCP 2026-07-28.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType, field

from trio_oplog._json import ABSENT
from trio_oplog._recording.dialects.events import Answer, AnswerRule, End, InputGiven, Nothing, Request, TaskNews
from trio_oplog._recording.dialects.mcp import asks_person, members, read_decisions
from trio_oplog._recording.dialects.results import (
    has_content,
    is_present,
    kept,
    read_answer,
    read_problem,
    read_result,
    rpc_error,
    says_nothing,
)
from trio_oplog._recording.dialects.rules import Rule
from trio_oplog._recording.dialects.shapes import Response, Result, ResultMeta
from trio_oplog._recording.envelope import Envelope, RequestId
from trio_oplog._recording.limits import name, optional_name


class _TaskParams(Struct, gc=False):
    task_id: str | None = field(name="taskId", default=None)
    input_responses: Raw = field(name="inputResponses", default=ABSENT)


class TaskMessage(Envelope, gc=False):
    """A request about a task."""

    params: _TaskParams | None = None


class _TaskState(Struct, gc=False):
    task_id: str | None = field(name="taskId", default=None)
    status: str | None = None
    message: str | None = field(name="statusMessage", default=None)
    result: Result | None = None
    error: Raw = ABSENT
    input_requests: Raw = field(name="inputRequests", default=ABSENT)
    meta: ResultMeta | None = field(name="_meta", default=None)


class TaskResponse(Envelope, gc=False):
    """The response to ``tasks/get`` or ``tasks/cancel``."""

    result: _TaskState | UnsetType | None = UNSET
    error: Raw = ABSENT


class StatusMessage(Envelope, gc=False):
    """A notification of a task's status."""

    params: _TaskState | None = None


def _about_task(message: TaskMessage, identity: RequestId | None, answer: AnswerRule) -> Request | None:
    task_id = optional_name(message.params.task_id) if message.params else None
    return None if identity is None or task_id is None else Request(identity[0], answer, task_id)


def get_task(message: TaskMessage, identity: RequestId | None, _: int) -> Request | None:
    """The client asks how a task is doing."""
    return _about_task(message, identity, STATUS_ANSWER)


def fetch_result(message: TaskMessage, identity: RequestId | None, _: int) -> Request | None:
    """The client waits for the result of a task."""
    return _about_task(message, identity, RESULT_ANSWER)


def cancel_task(message: TaskMessage, identity: RequestId | None, _: int) -> Request | None:
    """The client takes a task back."""
    return _about_task(message, identity, CANCEL_ANSWER)


def update_task(message: TaskMessage, _: RequestId | None, __: int) -> InputGiven | None:
    """The client hands in what a task asked for."""
    params = message.params
    if params is None or not params.task_id:
        return None
    return InputGiven(name(params.task_id), read_decisions(dict(members(params.input_responses))))


def task_status(message: StatusMessage, _: RequestId | None, __: int) -> TaskNews | None:
    """The server says how a task is doing."""
    params = message.params
    return _news(params, params.task_id, is_answer=False) if params is not None and params.task_id else None


def _news(state: _TaskState, task_id: str, *, is_answer: bool) -> TaskNews:
    end: End | None = None
    if state.result is not None:
        end = read_result(state.result)
    elif state.status == "failed" and (problem := read_problem(state.error)) is not None:
        end = rpc_error(*problem)
    who = state.meta.server if state.meta else None
    return TaskNews(
        name(task_id),
        state.status,
        state.message,
        end,
        is_answer=is_answer,
        asks_person=asks_person(dict(members(state.input_requests))),
        server=kept(who),
    )


def read_status(message: TaskResponse, task_id: str | None) -> Answer:
    """The response to ``tasks/get``.  An error says nothing of the task."""
    if isinstance(message.result, _TaskState) and task_id is not None:
        return _news(message.result, task_id, is_answer=True)
    return None if says_nothing(message.result, message.error) else Nothing()


def read_cancelled(message: TaskResponse, task_id: str | None) -> Answer:
    """The response to ``tasks/cancel``: the task is cancelled, unless it says otherwise."""
    if not isinstance(message.result, _TaskState) or is_present(message.error) or task_id is None:
        return None if says_nothing(message.result, message.error) else Nothing()
    news = _news(message.result, task_id, is_answer=True)
    news.status = news.status or "cancelled"
    news.asks_person = ()
    return news


def read_task_result(message: Response, task_id: str | None) -> Answer:
    """The response to ``tasks/result``: what the call itself would have been answered."""
    end = read_answer(message)
    if end is None or task_id is None:
        return None
    result = message.result
    bare = not end.is_error and (result is None or (isinstance(result, Result) and not has_content(result)))
    return TaskNews(task_id, end=None if bare else end, is_result=True, is_answer=True, server=end.server)


STATUS_ANSWER: Final = Rule(TaskResponse, read_status)
CANCEL_ANSWER: Final = Rule(TaskResponse, read_cancelled)
RESULT_ANSWER: Final = Rule(Response, read_task_result)
