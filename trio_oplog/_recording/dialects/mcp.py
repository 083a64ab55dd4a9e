"""Model Context Protocol: tool calls, their cancellation, and who client and server are.

Source: MCP 2025-11-25 and 2026-07-28: "Tools", "Cancellation", "Lifecycle", "Discovery", "Multi round-trip requests",
"Elicitation", "Sampling".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import islice
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType, field
from msgspec.json import Decoder

from trio_oplog._json import ABSENT, Reader
from trio_oplog._json import members as read_members
from trio_oplog._operation import Outcome
from trio_oplog._recording.dialects.arguments import read_arguments
from trio_oplog._recording.dialects.events import (
    UNKNOWN_TOOL,
    About,
    Answer,
    Call,
    Cancelled,
    ClientKnown,
    Continuation,
    Decision,
    End,
    Nothing,
    Options,
    Prompt,
    Request,
    Resolved,
    ServerKnown,
    Suspended,
    TaskNews,
    ToolKey,
)
from trio_oplog._recording.dialects.facts import read_facts
from trio_oplog._recording.dialects.results import (
    introduction,
    is_present,
    kept,
    read_answer,
    read_result,
    read_text,
    says_nothing,
)
from trio_oplog._recording.dialects.rules import Rule
from trio_oplog._recording.dialects.shapes import (
    CallMessage,
    CallParams,
    Implementation,
    Response,
    Result,
    ResultMeta,
    Task,
)
from trio_oplog._recording.envelope import REFUSED, Envelope, RequestId, read_key
from trio_oplog._recording.limits import name, optional_name

ELICITATION: Final = "elicitation/create"
_INPUT_REQUIRED: Final = "input_required"
ASKS_MAX: Final = 64
"""How many requests for input of one answer are looked at."""


def begin_call(message: CallMessage, identity: RequestId | None, args_max_bytes: int) -> Call | None:
    """A ``tools/call`` request."""
    if identity is None:
        return None
    key, request_id = identity
    params = message.params or CallParams()
    arguments, arguments_meta, environment_id = read_arguments(params.arguments, args_max_bytes)
    meta = params.meta
    call = Call(
        key=key,
        tool=optional_name(params.name) or UNKNOWN_TOOL,
        env_id=environment_id,
        request_id=request_id,
        thread_id=optional_name(params.thread_id or params.thread_id_snake or (meta.thread_id if meta else None)),
        user_id=optional_name(meta.user_id) if meta else None,
        arguments=arguments,
        arguments_meta=arguments_meta,
        answer=TOOL_ANSWER,
    )
    if meta is not None:
        call.facts = read_facts(meta)
    if params.request_state is not ABSENT or params.input_responses is not ABSENT:
        answers = dict(members(params.input_responses))
        call.continues = Continuation(read_state(params.request_state), frozenset(answers), read_decisions(answers))
    return call


class _CancelParams(Struct, gc=False):
    request_id: Raw = field(name="requestId", default=ABSENT)
    reason: str | None = None


class CancelMessage(Envelope, gc=False):
    """``notifications/cancelled``, from either side."""

    params: _CancelParams | None = None


def cancel_call(message: CancelMessage, _: RequestId | None, __: int) -> Cancelled | None:
    """The client takes back a request of its own."""
    key = read_key(message.params.request_id) if message.params else None
    return None if message.params is None or key is None else Cancelled(key, message.params.reason)


def cancel_prompt(message: CancelMessage, _: RequestId | None, __: int) -> Resolved | None:
    """The server takes back a request of its own: none of the client's calls, whatever their ids."""
    key = read_key(message.params.request_id) if message.params else None
    return None if key is None else Resolved(key)


class _HandshakeParams(Struct, gc=False):
    client: Implementation | None = field(name="clientInfo", default=None)


class HandshakeMessage(Envelope, gc=False):
    """``initialize`` (MCP, Codex, ACP) or ``server/discover``."""

    params: _HandshakeParams | None = None


def shake_hands(message: HandshakeMessage, identity: RequestId | None, _: int) -> Request | None:
    """The client says who it is, and the response will say who the server is."""
    if identity is None:
        return None
    client = introduction(message.params.client) if message.params else None
    return Request(identity[0], HANDSHAKE_ANSWER, opening=ClientKnown(client) if client else None)


class _HandshakeResult(Struct, gc=False):
    server: Implementation | None = field(name="serverInfo", default=None)
    agent: Implementation | None = field(name="agentInfo", default=None)
    user_agent: str | None = field(name="userAgent", default=None)
    protocol: Raw = field(name="protocolVersion", default=ABSENT)
    meta: ResultMeta | None = field(name="_meta", default=None)


class HandshakeResponse(Envelope, gc=False):
    """The response to a handshake."""

    result: _HandshakeResult | UnsetType | None = UNSET
    error: Raw = ABSENT


def read_handshake(message: HandshakeResponse, _: str | None) -> ServerKnown | Nothing | None:
    """Who the server is, and the protocol that it chose."""
    result = message.result
    if not isinstance(result, _HandshakeResult):
        return None if says_nothing(result, message.error) else Nothing()
    who = result.server
    if (who is None or not who.name) and result.meta is not None:
        who = result.meta.server
    server = introduction(who) or introduction(result.agent) or _codex(result.user_agent)
    protocol = read_text(result.protocol)
    return ServerKnown(optional_name(who.name) if who else None, server, optional_name(protocol))


def _codex(user_agent: str | None) -> str | None:
    """Codex's own version stands behind the name of its client: ``vscode/0.171.0 (…)``."""
    version = user_agent.partition("/")[2].partition(" ")[0] if user_agent else ""
    return name(f"codex/{version}") if version else None


_COMPLETE: Final = frozenset({None, "complete"})


def read_tool_answer(message: Response, _: str | None) -> Answer:
    """The response to a call: its end, or word that it goes on."""
    result = message.result
    if result.__class__ is Result and (message.error is ABSENT or not is_present(message.error)):
        if result.task is None and result.result_type in _COMPLETE:  # nearly always
            return read_result(result)
        if result.result_type == _INPUT_REQUIRED:
            return _ask_for_input(result, message)
        task = result.task or (Task(result.task_id, result.status, result.message) if result.result_type == "task" else None)
        if task is not None and task.task_id:
            who = result.meta.server if result.meta else None
            news = TaskNews(name(task.task_id), task.status, task.message, is_answer=True)
            return Suspended(news.task_id, status=news, server=kept(who))
    return read_answer(message)


def read_direct_answer(message: Response, _: str | None) -> Answer:
    """The response to a call that ends with it, whatever it asks for."""
    end = read_answer(message)
    result = message.result
    if end is not None and not end.is_error and isinstance(result, Result) and result.result_type == _INPUT_REQUIRED:
        end.notes = (end.notes or {}) | {"outcome": Outcome.INPUT_REQUIRED}
    return end


def _ask_for_input(result: Result, message: Response) -> Answer:
    asks = dict(members(result.input_requests))
    end = read_direct_answer(message, None)
    if (
        not isinstance(end, End) or end.is_error or not (asks or is_present(result.request_state))
    ):  # there is nothing by which to know a retry
        return end
    return Suspended(
        state=read_state(result.request_state),
        asks=frozenset(asks),
        asks_person=asks_person(asks),
        end=end,
        server=end.server,
    )


def read_state(raw: Raw) -> str | None:
    """A ``requestState``, in a spelling of its own since peers escape as they like; a long one as its digest."""
    if not is_present(raw):
        return None
    spelling = canonical(bytes(raw))
    return sha256(spelling).hexdigest() if len(spelling) > 64 else spelling.decode("utf-8", "surrogateescape")


class _Ask(Struct, gc=False):
    method: str | None = None


class _Given(Struct, gc=False):
    action: str | None = None


_ask = Reader(_Ask)
_given = Reader(_Given)
_raw_members = Decoder(dict[str, Raw]).decode


def members(raw: Raw) -> Iterator[tuple[str, Raw | str]]:
    """The members of an object with names fit to be kept, up to ``ASKS_MAX``; nothing of anything else."""
    found: Mapping[str, Raw | str]
    try:
        found = _raw_members(raw)
    except REFUSED:
        found = read_members(raw) or {}
    yield from ((name(key), value) for key, value in islice(found.items(), ASKS_MAX))


def asks_person(asks: Mapping[str, Raw | str]) -> tuple[str, ...]:
    """The keys of these requests for input that are for a person to answer."""
    return tuple([key for key, raw in asks.items() if (ask := _ask.read(raw)) is not None and ask.method == ELICITATION])


def read_decisions(answers: Mapping[str, Raw | str]) -> dict[str, Decision]:
    """What a person decided, of responses to requests for input; no decision where a response says none."""
    return {
        key: Decision(optional_name(given.action) if (given := _given.read(raw)) is not None else None)
        for key, raw in answers.items()
    }


class _RelatedTask(Struct, gc=False):
    task_id: str | None = field(name="taskId", default=None)


class _PromptMeta(Struct, gc=False):
    task: _RelatedTask | None = field(name="io.modelcontextprotocol/related-task", default=None)


class _PromptParams(Struct, gc=False):
    session_id: str | None = field(name="sessionId", default=None)
    tool_call_id: str | None = field(name="toolCallId", default=None)
    meta: _PromptMeta | None = field(name="_meta", default=None)


class PromptMessage(Envelope, gc=False):
    """``elicitation/create`` or ``sampling/createMessage``."""

    params: _PromptParams | None = None


def elicit(message: PromptMessage, identity: RequestId | None, _: int) -> Prompt | None:
    """The server asks a person something in the middle of a call."""
    return None if identity is None else Prompt(identity[0], _about(message), read_action)


def sample(message: PromptMessage, identity: RequestId | None, _: int) -> Prompt | None:
    """The server asks the client's model something in the middle of a call: nobody waits for a person."""
    return None if identity is None else Prompt(identity[0], _about(message), is_wait=False)


def _about(message: PromptMessage) -> About:
    params = message.params
    if params is None:
        return About(is_mcp=True)
    if params.session_id is not None:  # ACP has this method, too, and says what it is about
        return About(tool_call=ToolKey(optional_name(params.session_id), name(params.tool_call_id or "")))
    task = params.meta.task if params.meta else None
    return About(is_mcp=True, task_id=optional_name(task.task_id) if task else None)


class _ReplyMeta(Struct, gc=False):
    persist: str | None = None


class ReplyResult(Struct, gc=False):
    """What a client may reply to a request for approval or input, in every dialect."""

    action: str | None = None
    decision: Raw = ABSENT
    permissions: Raw = ABSENT
    scope: str | None = None
    outcome: Raw = ABSENT
    meta: _ReplyMeta | None = field(name="_meta", default=None)


class Reply(Envelope, gc=False):
    """A response of the client to a request of the server."""

    result: ReplyResult | None = None
    error: Raw = ABSENT


def read_action(reply: Reply, _: Options | None) -> Decision:
    """The answer to an elicitation.  It refuses no call: what follows from it is the tool's business."""
    return Decision(optional_name(reply.result.action) if reply.result else None)


def canonical(text: bytes) -> bytes:
    """A spelling that equal JSON values have in common; the text itself where it is beyond Python's numbers."""
    try:
        return json.dumps(json.loads(text), sort_keys=True).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return text


TOOL_ANSWER: Final = Rule(Response, read_tool_answer)
HANDSHAKE_ANSWER: Final = Rule(HandshakeResponse, read_handshake)
