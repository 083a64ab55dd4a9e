"""A record that is read at once is the row that it is by way of an Operation, and everything else goes that way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.collector.serving import MakeOperation
from trio_oplog import Approval, Context, DecidedBy, Operation, Outcome, ResultMeta, WireError, _wire
from trio_oplog._operation import ArgumentsMeta
from trio_oplog.collector._lines import Line, _read_canonical, line_of, read_line
from trio_oplog.testing import operations


def outcome(data: bytes, read: Any) -> Line | str:
    try:
        line: Line = read(data)
    except WireError as error:
        return str(error)
    return line


def by_way_of_an_operation(data: bytes) -> Line:
    return line_of(_wire.decode(data))


@given(operations())
def test_what_we_write_is_read_like_an_operation(operation: Operation) -> None:
    data = _wire.encode(operation)
    assert outcome(data, read_line) == outcome(data, by_way_of_an_operation)


def full(make_operation: MakeOperation) -> Operation:
    return make_operation(
        user_id="ada",
        thread_id="t\0",
        request_id="7",
        arguments=b'{"a":[1.0,null]}',
        arguments_meta=ArgumentsMeta(size_bytes=1, sha256="0" * 64),
        result_summary="done",
        result_meta=ResultMeta(
            outcome=Outcome.FAILED, waited_ms=0, content_types=("text", "image"), error_code=-32_603, truncated=False
        ),
        context=Context(client="desk/1.2", transport="stdio"),
        approval=Approval(by=DecidedBy.CLIENT, waited_ms=5, reason="why"),
        duration_ms=(1 << 63) - 1,
    )


def test_a_record_with_all_of_its_parts_is_read_at_once(make_operation: MakeOperation) -> None:
    for operation in (
        make_operation(),
        make_operation(is_error=True, context=Context(), approval=Approval(by=DecidedBy.NONE, waited_ms=0, decision="x")),
        full(make_operation),
        make_operation(id="x" * 2_000, workspace_id="w" * 2_000, context=Context(client=""), user_id=""),
    ):
        data = _wire.encode(operation)
        assert _read_canonical(data) == line_of(operation)


# What stands in a document, and what is put in its place.
CHANGES: list[tuple[str, str]] = [
    ('"tool":"echo"', '"tool": "echo"'),
    ('"tool":"echo"', '"tool":"\\u0065cho"'),
    ('"tool":"echo"', '"tool":""'),
    ('"tool":"echo"', '"tool":5'),
    ('"tool":"echo"', '"tool":"echo","tool":"other"'),
    ('"tool":"echo"', '"novelty":[],"tool":"echo"'),
    ('"tool":"echo",', ""),
    ('"user_id":"ada"', '"user_id":null'),
    ('"user_id":"ada"', '"user_id":"\\ud800"'),
    ("12:00:00Z", "12:00:00+00:00"),
    ("12:00:00Z", "12:00:00+02:00"),
    ("12:00:00Z", "12:00:00"),
    ("12:00:00Z", "12:00:00.5Z"),
    ("12:00:00Z", "12:00:00.500000Z"),
    ("12:00:00Z", "12:00:00.000000Z"),
    ("12:00:00Z", "24:00:00Z"),
    ("12:00:00Z", "12:60:00Z"),
    ("2026-01-31T", "2026-02-31T"),
    ("2026-01-31T", "2026-01-31t"),
    ("T12:00:00Z", ""),
    ('"duration_ms":9223372036854775807', '"duration_ms":-1'),
    ('"duration_ms":9223372036854775807', '"duration_ms":9223372036854775808'),
    ('"duration_ms":9223372036854775807', '"duration_ms":1.0'),
    ('"duration_ms":9223372036854775807', '"duration_ms":true'),
    ('"waited_ms":0', '"waited_ms":-1'),
    ('"error_code":-32603', '"error_code":-9223372036854775809'),
    ('"outcome":"failed"', '"outcome":"soon"'),
    ('"content_types":["text","image"]', '"content_types":[]'),
    ('"content_types":["text","image"]', '"content_types":["text",5]'),
    ('"truncated":false', '"truncated":0'),
    ('{"client":"desk/1.2","transport":"stdio"}', "{}"),
    ('{"client":"desk/1.2","transport":"stdio"}', "null"),
    ('{"client":"desk/1.2","transport":"stdio"}', '{"transport":"stdio","client":"desk/1.2"}'),
    ('"by":"client",', ""),
    ('"by":"client"', '"by":"nobody"'),
    ('{"a":[1.0,null]}', '{ "a" :\n[1.0,null]}'),
    ('{"a":[1.0,null]}', "null"),
    ('{"a":[1.0,null]}', '"\\ud800"'),
    ('{"a":[1.0,null]}', "NaN"),
    ('{"a":[1.0,null]}', "[" * 5_000 + "]" * 5_000),
    ('{"a":[1.0,null]}', "01"),
    ("}", "}}"),
]


@pytest.mark.parametrize(("there", "instead"), CHANGES)
def test_what_is_spelled_in_another_way_or_wrong_is_what_it_is_by_way_of_an_operation(
    make_operation: MakeOperation, there: str, instead: str
) -> None:
    text = _wire.encode(full(make_operation)).decode()
    assert there in text
    for data in (text.replace(there, instead).encode(), text.replace(there, instead, 1).encode() + b" "):
        assert outcome(data, read_line) == outcome(data, by_way_of_an_operation)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b"\xff", b'{"id":"\xff"}', b'{"arguments":"\xff"}'])
def test_what_is_no_record_is_refused_alike(data: bytes) -> None:
    assert outcome(data, read_line) == outcome(data, by_way_of_an_operation)


def test_bytes_that_are_no_text_are_refused_wherever_they_are(make_operation: MakeOperation) -> None:
    data = _wire.encode(full(make_operation)).replace(b'{"a":[1.0,null]}', b'"\xff"')
    assert outcome(data, read_line) == outcome(data, by_way_of_an_operation) == "the document is not a JSON object in UTF-8"


@given(operation=operations(), where=st.integers(0, 2_000), byte=st.integers(0, 255), inserts=st.booleans())
@example(operation=None, where=0, byte=32, inserts=True)
@settings(max_examples=300)
def test_a_byte_that_is_changed_makes_no_difference_between_the_two(
    operation: Operation | None, where: int, byte: int, inserts: bool
) -> None:
    data = b'{"id":"x"}' if operation is None else _wire.encode(operation)
    where %= len(data)
    data = data[:where] + bytes([byte]) + data[where + (not inserts) :]
    assert outcome(data, read_line) == outcome(data, by_way_of_an_operation)


def test_a_line_has_the_names_that_its_sender_knows(make_operation: MakeOperation) -> None:
    long = "x" * 2_000
    line = read_line(_wire.encode(make_operation(id=long, workspace_id=long)))
    assert (line.id, line.workspace_id) == (long, long)
    assert line.row.id != long
    assert json.loads(line.row.body)["id"] == long
