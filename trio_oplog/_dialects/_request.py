"""What the requests of tool calls have in common, in both dialects."""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct, field

from trio_oplog._dialects._result import is_given
from trio_oplog._json import ABSENT, Reader
from trio_oplog._limits import keep_arguments, name
from trio_oplog._operation import ArgumentsMeta

UNKNOWN_TOOL: Final = "unknown"


class Meta(Struct, gc=False):
    """``params._meta``."""

    user_id: str | None = field(name="agentserver_user_id", default=None)
    thread_id: str | None = field(name="threadId", default=None)


class CallParams(Struct, gc=False):
    """The params of ``mcpServer/tool/call`` and ``tools/call``."""

    thread_id: str | None = field(name="threadId", default=None)
    thread_id_snake: str | None = field(name="thread_id", default=None)
    server: str | None = None
    tool: str | None = None
    name: str | None = None
    arguments: Raw = ABSENT
    meta: Meta | None = field(name="_meta", default=None)


class _Environment(Struct, gc=False):
    environment_id: str | None = None


_params = Reader(CallParams)
_environment = Reader(_Environment)

_NO_PARAMS: Final = CallParams()


class Arguments(Struct, gc=False):
    """The arguments of a call: what is kept of them, and the environment they name."""

    text: bytes | None = None
    meta: ArgumentsMeta | None = None
    environment_id: str | None = None


_NO_ARGUMENTS: Final = Arguments()


def read_params(raw: Raw) -> CallParams:
    """The params of a call; empty ones for what is no object."""
    return _NO_PARAMS if raw is ABSENT else _params.read(raw) or _NO_PARAMS


def read_arguments(raw: Raw, limit: int) -> Arguments:
    """The arguments of a call, copied out of the frame."""
    if not is_given(raw):
        return _NO_ARGUMENTS
    text = bytes(raw)
    environment = _environment.read(text) if text.startswith(b"{") else None
    kept, meta = keep_arguments(text, limit)
    return Arguments(kept, meta, optional_name(environment.environment_id) if environment else None)


def optional_name(text: str | None) -> str | None:
    """An identifier, cut; ``None`` for an empty one."""
    return name(text) if text else None
