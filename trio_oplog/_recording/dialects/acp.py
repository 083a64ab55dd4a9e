"""Agent Client Protocol: what an agent in an editor does.

Source: ACP 1, "Tool Calls", "Prompt Turn", "Session Setup"; recorded traffic of four agents.
"""

from __future__ import annotations

from typing import Final

from msgspec import MsgspecError, Raw, Struct, field
from msgspec.json import Decoder

from trio_oplog._json import ABSENT, Reader, elements
from trio_oplog._operation import Outcome
from trio_oplog._recording.dialects.arguments import read_arguments
from trio_oplog._recording.dialects.events import (
    About,
    AnswerRule,
    Call,
    Decision,
    End,
    Nothing,
    Options,
    Prompt,
    PromptEnded,
    Request,
    ToolKey,
    ToolUpdate,
)
from trio_oplog._recording.dialects.mcp import Reply
from trio_oplog._recording.dialects.results import is_present, read_blocks, read_links, read_text, says_nothing
from trio_oplog._recording.dialects.rules import Rule
from trio_oplog._recording.dialects.shapes import Block
from trio_oplog._recording.envelope import Envelope, RequestId
from trio_oplog._recording.limits import name, optional_name

NO_KIND: Final = "other"
"""The kind of a tool call that names none; so says the protocol."""


class _ToolMeta(Struct, gc=False):
    tool: str | None = field(name="toolName", default=None)


class _Meta(Struct, gc=False):
    tool: str | None = field(name="toolName", default=None)
    claude: _ToolMeta | None = field(name="claudeCode", default=None)


class _Content(Struct, gc=False):
    type: str | None = None
    content: Block | None = None


class ToolCall(Struct, gc=False):
    """A tool call, or news of one."""

    update: str | None = field(name="sessionUpdate", default=None)
    id: str | None = field(name="toolCallId", default=None)
    name: str | None = None
    title: str | None = None
    kind: str | None = None
    status: str | None = None
    raw_input: Raw = field(name="rawInput", default=ABSENT)
    raw_output: Raw = field(name="rawOutput", default=ABSENT)
    content: Raw = ABSENT
    """Of a tool call a list, of a message one block."""
    meta: _Meta | None = field(name="_meta", default=None)


class _UpdateParams(Struct, gc=False):
    session_id: str | None = field(name="sessionId", default=None)
    update: ToolCall | None = None


class UpdateMessage(Envelope, gc=False):
    """A ``session/update`` notification."""

    params: _UpdateParams | None = None


_contents = Decoder(list[_Content]).decode
_content = Reader(_Content)


def update_session(message: UpdateMessage, identity: RequestId | None, args_max_bytes: int) -> ToolUpdate | None:
    """News of a tool call; anything else that a session tells is none of the log's."""
    params = message.params
    if identity is not None or params is None or params.update is None:
        return None
    update = params.update
    if update.update not in ("tool_call", "tool_call_update"):
        return None
    call = _read_call(params.session_id, update, args_max_bytes)
    if call is None:
        return None
    text, content_types = _read_content(update.content)
    end = None
    if update.status in ("completed", "failed"):
        end = _end(update, text)
    return ToolUpdate(
        call,
        begins=update.update == "tool_call",
        end=end,
        has_content=is_present(update.content),
        text=text,
        content_types=content_types,
        output=read_text(update.raw_output) if end is None else None,
    )


def _end(update: ToolCall, text: str | None) -> End:
    failed = update.status == "failed"
    notes = {"outcome": Outcome.FAILED} if failed else None
    return End(failed, read_text(update.raw_output) if text is None else text, notes)


def _read_content(raw: Raw) -> tuple[str | None, tuple[str, ...] | None]:
    """The text of a tool call's content.  A difference of files, or a terminal, is a block without text."""
    if not is_present(raw):
        return None, None
    try:
        contents = _contents(raw)
    except (MsgspecError, UnicodeError, RecursionError):
        contents = [_content.read(part) or _Content() for part in elements(raw) or ()]
    blocks = [part.content for part in contents if part.type == "content" and part.content is not None]
    text, content_types = read_blocks(blocks)
    return (read_links(blocks) if text is None else text), content_types


def _read_call(session_id: str | None, update: ToolCall, args_max_bytes: int) -> Call | None:
    """What an update says of its call; what it does not say is empty."""
    tool_call_id = optional_name(update.id)
    if tool_call_id is None:
        return None
    session = optional_name(session_id)
    arguments, arguments_meta, environment_id = read_arguments(update.raw_input, args_max_bytes)
    meta = update.meta
    tool = ((meta.claude.tool if meta.claude else None) or meta.tool) if meta else None
    return Call(
        key=ToolKey(session, tool_call_id),
        tool=optional_name(tool or update.name) or "",
        env_id=environment_id,
        request_id=tool_call_id,
        thread_id=session,
        arguments=arguments,
        arguments_meta=arguments_meta,
        is_model=True,
        session=session,
        notes={"title": title} if (title := optional_name(update.title)) else None,
        kind=optional_name(update.kind),
    )


class _Option(Struct, gc=False):
    id: str | None = field(name="optionId", default=None)
    kind: str | None = None


class _PermissionParams(Struct, gc=False):
    session_id: str | None = field(name="sessionId", default=None)
    tool_call: ToolCall | None = field(name="toolCall", default=None)
    options: list[_Option] | None = None


class PermissionMessage(Envelope, gc=False):
    """A ``session/request_permission`` request."""

    params: _PermissionParams | None = None


def ask_permission(message: PermissionMessage, identity: RequestId | None, args_max_bytes: int) -> Prompt | None:
    """The agent asks whether a tool call may run, which is often the first that is heard of it."""
    params = message.params
    if identity is None or params is None or params.tool_call is None:
        return None
    call = _read_call(params.session_id, params.tool_call, args_max_bytes)
    if call is None:
        return None
    options = {name(option.id): name(option.kind) for option in (params.options or ())[:64] if option.id and option.kind}
    return Prompt(identity[0], About(call=call), read_choice, options=options)


class _Outcome(Struct, gc=False):
    outcome: str | None = None
    option: str | None = field(name="optionId", default=None)


_outcome = Reader(_Outcome)


def read_choice(reply: Reply, options: Options | None) -> Decision:
    """Which option was chosen: what it means is said by its kind, in the request."""
    chosen = _outcome.read(reply.result.outcome) if reply.result and is_present(reply.result.outcome) else None
    if chosen is None or not chosen.outcome:
        return Decision()
    if chosen.outcome != "selected" or not chosen.option:
        return Decision(name(chosen.outcome))
    option = name(chosen.option)
    kind = (options or {}).get(option, option)
    return Decision(kind, refused=kind.startswith("reject"))


class _SessionParams(Struct, gc=False):
    session_id: str | None = field(name="sessionId", default=None)


class SessionMessage(Envelope, gc=False):
    """A request about a session: ``session/prompt``, ``session/load``."""

    params: _SessionParams | None = None


def prompt(message: SessionMessage, identity: RequestId | None, _: int) -> Request | None:
    """The client hands the agent a prompt; the response ends what the agent began for it."""
    return _about_session(message, identity, PROMPT_ANSWER)


def load(message: SessionMessage, identity: RequestId | None, _: int) -> Request | None:
    """The client loads an old session: until the response, updates repeat its history."""
    return _about_session(message, identity, LOAD_ANSWER)


def _about_session(message: SessionMessage, identity: RequestId | None, answer: AnswerRule) -> Request | None:
    session = optional_name(message.params.session_id) if message.params else None
    return None if identity is None or session is None else Request(identity[0], answer, session)


class SessionResponse(Envelope, gc=False):
    """The response to a request about a session."""

    result: Raw = ABSENT
    error: Raw = ABSENT


def read_prompted(message: SessionResponse, session_id: str | None) -> PromptEnded | None:
    """The response to a prompt, whatever it says."""
    return None if says_nothing(message.result, message.error) else PromptEnded(session_id)


def read_loaded(message: SessionResponse, _: str | None) -> Nothing | None:
    """The response to ``session/load``, whatever it says: the history was replayed."""
    return None if says_nothing(message.result, message.error) else Nothing()


PROMPT_ANSWER: Final = Rule(SessionResponse, read_prompted)
LOAD_ANSWER: Final = Rule(SessionResponse, read_loaded)
