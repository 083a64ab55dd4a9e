"""Codex app-server: what the client runs (``mcpServer/tool/call``, ``command/exec``, ``fs/writeFile``, …).

Source: the JSON Schema that Codex app-server 0.171 states of its protocol, and recorded traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType, defstruct, field

from trio_oplog._json import ABSENT
from trio_oplog._operation import Outcome
from trio_oplog._recording.dialects.arguments import NO_ARGUMENTS, Arguments, read_arguments
from trio_oplog._recording.dialects.events import UNKNOWN_TOOL, Answer, AnswerRule, Call, End, Nothing, ProcessExited
from trio_oplog._recording.dialects.facts import read_facts
from trio_oplog._recording.dialects.mcp import read_direct_answer
from trio_oplog._recording.dialects.results import int64, is_present, read_problem, read_text, rpc_error
from trio_oplog._recording.dialects.rules import Rule
from trio_oplog._recording.dialects.shapes import CallMessage, CallParams, RequestMeta, Response, Trace
from trio_oplog._recording.envelope import Envelope, RequestId
from trio_oplog._recording.limits import keep_arguments, name, optional_name


def begin_call(message: CallMessage, identity: RequestId | None, args_max_bytes: int) -> Call | None:
    """A ``mcpServer/tool/call`` request."""
    if identity is None:
        return None
    key, request_id = identity
    params = message.params or CallParams()
    arguments, arguments_meta, environment_id = read_arguments(params.arguments, args_max_bytes)
    server = optional_name(params.server)
    call = Call(
        key=key,
        tool=optional_name(params.tool) or UNKNOWN_TOOL,
        env_id=environment_id or server,
        request_id=request_id,
        thread_id=optional_name(params.thread_id or params.thread_id_snake),
        user_id=optional_name(params.meta.user_id) if params.meta else None,
        arguments=arguments,
        arguments_meta=arguments_meta,
        server=server,
        answer=TOOL_ANSWER,
    )
    if params.meta is not None or message.trace is not None:
        call.facts = read_facts(params.meta, message.trace)
    return call


def stand_in(names: Sequence[str], values: Sequence[Raw], args_max_bytes: int) -> Arguments:
    """An object of a message's own fields, each in its exact text, in place of arguments."""
    parts = [b'"%b":%b' % (wire.encode(), bytes(raw)) for wire, raw in zip(names, values, strict=True) if raw is not ABSENT]
    return (*keep_arguments(b"{%b}" % b",".join(parts), args_max_bytes), None) if parts else NO_ARGUMENTS


class _Common(Struct, gc=False):
    thread_id: str | None = field(name="threadId", default=None)
    meta: RequestMeta | None = field(name="_meta", default=None)


def _request(tool: str, members: Sequence[str], answer: AnswerRule, *, server: str = "", process: str = "") -> Rule[Any, Any]:
    """The rule of a request that is a call by itself: its method is the tool, some of its params are the arguments.

    Args:
        tool: The method.
        members: The params to keep.
        answer: How the response is read.
        server: Which of them names the MCP server.
        process: Which of them is the handle of a process.
    """
    # Each by a name of its own, so that a param may be called like a field of _Common.
    fields = [(f"argument_{place}", Raw, field(name=wire, default=ABSENT)) for place, wire in enumerate(members)]
    params = defstruct("_Params", fields, bases=(_Common,), gc=False, module=__name__)
    shape = defstruct(
        "_Message",
        [("params", params | None, None), ("trace", Trace | None, None)],
        bases=(Envelope,),
        gc=False,
        module=__name__,
    )

    def begin(message: Any, identity: RequestId | None, args_max_bytes: int) -> Call | None:
        if identity is None:
            return None
        found: Any = message.params if message.params is not None else params()
        values = [getattr(found, f"argument_{place}") for place in range(len(members))]
        arguments, arguments_meta, _ = stand_in(members, values, args_max_bytes)
        where = _name_of(values[members.index(server)]) if server else None
        call = Call(
            key=identity[0],
            tool=tool,
            env_id=where,
            request_id=identity[1],
            thread_id=optional_name(found.thread_id),
            user_id=optional_name(found.meta.user_id) if found.meta else None,
            arguments=arguments,
            arguments_meta=arguments_meta,
            server=where,
            process=_name_of(values[members.index(process)]) if process else None,
            answer=answer,
        )
        if found.meta is not None or message.trace is not None:
            call.facts = read_facts(found.meta, message.trace)
        return call

    return Rule(shape, begin)


def _name_of(raw: Raw) -> str | None:
    text = read_text(raw) if is_present(raw) and bytes(raw)[:1] == b'"' else None
    return optional_name(text)


class Exit(Struct, gc=False):
    """How a process ended."""

    exit_code: int | None = field(name="exitCode", default=None)
    stdout: str | None = None
    stderr: str | None = None


class _ExitResponse(Envelope, gc=False):
    result: Exit | UnsetType | None = UNSET
    error: Raw = ABSENT


class _ExitParams(Exit, gc=False):
    process: str | None = field(name="processHandle", default=None)


class ExitMessage(Envelope, gc=False):
    """A ``process/exited`` notification."""

    params: _ExitParams | None = None


def _exit_end(found: Exit) -> End:
    failed = found.exit_code not in (None, 0)
    exit_code = int64(found.exit_code)
    notes: dict[str, Any] = {} if exit_code is None else {"exit_code": exit_code}
    if failed:
        notes["outcome"] = Outcome.TOOL_ERROR
    return End(failed, (found.stdout or "") + (found.stderr or ""), notes)


def read_exit(message: _ExitResponse, _: str | None) -> Answer:
    """The response to ``command/exec``: the command has ended."""
    if (problem := read_problem(message.error)) is not None:
        return rpc_error(*problem)
    if message.result is UNSET:
        return None
    return _exit_end(message.result) if isinstance(message.result, Exit) else End()


def read_spawn(message: _ExitResponse, _: str | None) -> Answer:
    """The response to ``process/spawn``: the process runs, unless it is an error."""
    if (problem := read_problem(message.error)) is not None:
        return rpc_error(*problem)
    return None if message.result is UNSET else Nothing()


def process_exited(message: ExitMessage, _: RequestId | None, __: int) -> ProcessExited | None:
    """A ``process/exited`` notification."""
    params = message.params
    return ProcessExited(name(params.process), _exit_end(params)) if params is not None and params.process else None


class _Contents(Struct, gc=False):
    text: str | None = None


class _ReadResult(Struct, gc=False):
    contents: list[_Contents] | None = None


class _ReadResponse(Envelope, gc=False):
    result: _ReadResult | UnsetType | None = UNSET
    error: Raw = ABSENT


def read_contents(message: _ReadResponse, _: str | None) -> Answer:
    """The response to ``mcpServer/resource/read``."""
    if (problem := read_problem(message.error)) is not None:
        return rpc_error(*problem)
    if message.result is UNSET:
        return None
    contents = message.result.contents if isinstance(message.result, _ReadResult) else None
    return End(text="".join([part.text for part in contents or () if part.text]))


TOOL_ANSWER: Final = Rule(Response, read_direct_answer)
_EXIT: Final = Rule(_ExitResponse, read_exit)
_SPAWN: Final = Rule(_ExitResponse, read_spawn)
_CONTENTS: Final = Rule(_ReadResponse, read_contents)

CLIENT_CALLS: Final[dict[str, Rule[Any, Any]]] = {
    "mcpServer/tool/call": Rule(CallMessage, begin_call),
    **{
        method: _request(method, members, answer, **special)
        for method, members, answer, special in (
            ("command/exec", ("command", "cwd", "env", "timeoutMs", "processId"), _EXIT, {}),
            ("process/spawn", ("command", "cwd", "env", "timeoutMs", "processHandle"), _SPAWN, {"process": "processHandle"}),
            ("fs/writeFile", ("path", "dataBase64"), TOOL_ANSWER, {}),
            ("fs/remove", ("path", "recursive", "force"), TOOL_ANSWER, {}),
            ("fs/copy", ("sourcePath", "destinationPath", "recursive"), TOOL_ANSWER, {}),
            ("fs/createDirectory", ("path", "recursive"), TOOL_ANSWER, {}),
            ("mcpServer/resource/read", ("server", "uri"), _CONTENTS, {"server": "server"}),
        )
    },
}
"""The requests of a client that are calls."""
