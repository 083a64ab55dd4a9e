"""Operations that nobody could make by hand: with values of wrong types, as a faulty implementation hands them on."""

from __future__ import annotations

from typing import Any

import attrs

from trio_oplog import Operation


def unchecked(like: Operation | None = None, **fields: Any) -> Operation:
    """An operation of these fields, whatever they are; the others are those of ``like``, or absent."""
    made: Operation = Operation.__new__(Operation)
    for field in attrs.fields(Operation):
        value = field.default if like is None else getattr(like, field.name)
        object.__setattr__(made, field.name, fields.pop(field.name, value))
    assert not fields
    return made
