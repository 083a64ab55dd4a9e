"""The arguments of a call, copied out of the frame."""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct

from trio_oplog._json import Reader
from trio_oplog._limits import keep_arguments, optional_name
from trio_oplog._operation import ArgumentsMeta


class Arguments(Struct, gc=False):
    """What is kept of arguments, and the environment they name."""

    text: bytes | None = None
    meta: ArgumentsMeta | None = None
    environment_id: str | None = None


class _Environment(Struct, gc=False):
    environment_id: str | None = None


_environment = Reader(_Environment)

NO_ARGUMENTS: Final = Arguments()


def read_arguments(raw: Raw, limit: int) -> Arguments:
    """The arguments of a call; none for what is missing or null.

    Args:
        raw: Their text in the frame.
        limit: The most bytes of it to keep.
    """
    text = bytes(raw)
    if not text or text == b"null":
        return NO_ARGUMENTS
    environment = _environment.read(text) if text[0] == _BRACE else None
    kept, meta = keep_arguments(text, limit)
    return Arguments(kept, meta, optional_name(environment.environment_id) if environment else None)


_BRACE: Final = ord("{")
