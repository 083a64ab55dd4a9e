"""The arguments of a call, copied out of the frame."""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Raw, Struct

from trio_oplog._json import LONG, Reader, outline
from trio_oplog._operation import ArgumentsMeta
from trio_oplog._recording.limits import keep_arguments, optional_name

Arguments: TypeAlias = tuple[bytes | None, ArgumentsMeta | None, str | None]
"""The text of arguments, or what is kept of it instead; and the environment they name."""

NO_ARGUMENTS: Final[Arguments] = (None, None, None)


class _Environment(Struct, gc=False):
    environment_id: str | None = None


_environment = Reader(_Environment)
_BRACE: Final = ord("{")


def read_arguments(raw: Raw, limit: int) -> Arguments:
    """The arguments of a call; none for what is missing or null.

    Args:
        raw: Their text in the frame.
        limit: The most bytes of it to keep.
    """
    text = bytes(raw)
    if not text or text == b"null":
        return NO_ARGUMENTS
    environment_id = None
    if text[0] == _BRACE:
        environment_id = _read_environment_id(text)
    kept, meta = keep_arguments(text, limit)
    return kept, meta, environment_id


def _read_environment_id(text: bytes) -> str | None:
    brief = outline(text) if len(text) >= LONG else None
    environment = _environment.read(Raw(text if brief is None else brief))
    if brief is not None and environment is not None and environment.environment_id == "":  # perhaps it is only emptied
        environment = _environment.read(Raw(text))
    return None if environment is None else optional_name(environment.environment_id)
