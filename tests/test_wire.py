"""Operation <-> JSON bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.frames import texts
from tests.unchecked import unchecked
from tests.watching import BEGAN, operation
from trio_oplog import Operation, Outcome, WireError
from trio_oplog._json import encoded
from trio_oplog._operation import Approval, ArgumentsMeta, Context, DecidedBy, ResultMeta
from trio_oplog._recording.limits import keep_arguments
from trio_oplog._wire import decode, encode

TEXT = st.text(max_size=8)
NAME = st.text(min_size=1, max_size=8)
SIZE = st.integers(0, 2**63 - 1)
NUMBER = st.integers(-(2**63), 2**63 - 1)
MOMENT = st.datetimes(timezones=st.just(UTC))
ARGUMENTS = texts().map(encoded).filter(lambda text: text != b"null" and keep_arguments(text, 1_000_000)[0] is not None)

OPERATIONS = st.builds(
    Operation,
    id=NAME,
    workspace_id=NAME,
    source=NAME,
    env_id=NAME,
    tool=NAME,
    is_error=st.booleans(),
    started_at=MOMENT,
    completed_at=MOMENT,
    duration_ms=SIZE,
    user_id=st.none() | TEXT,
    thread_id=st.none() | TEXT,
    request_id=st.none() | TEXT,
    arguments=st.none() | ARGUMENTS,
    arguments_meta=st.none() | st.builds(ArgumentsMeta, truncated=st.booleans(), size_bytes=SIZE, sha256=TEXT),
    result_summary=st.none() | TEXT,
    result_meta=st.none()
    | st.builds(
        ResultMeta,
        truncated=st.none() | st.booleans(),
        total_bytes=st.none() | SIZE,
        sha256=st.none() | TEXT,
        outcome=st.none() | st.sampled_from(Outcome),
        error_code=st.none() | NUMBER,
        exit_code=st.none() | NUMBER,
        content_types=st.none() | st.lists(TEXT, max_size=3).map(tuple),
        reported_duration_ms=st.none() | NUMBER,
        duplicate_id=st.none() | st.booleans(),
        waited_ms=st.none() | SIZE,
        rounds=st.none() | SIZE,
        task_id=st.none() | TEXT,
        title=st.none() | TEXT,
        id_respelled=st.none() | st.booleans(),
        replaced=st.none() | st.booleans(),
    ),
    context=st.none() | st.builds(Context, **{name: st.none() | TEXT for name in attrs.fields_dict(Context)}),
    approval=st.none()
    | st.builds(
        Approval,
        decision=st.none() | TEXT,
        by=st.sampled_from(DecidedBy),
        waited_ms=SIZE,
        reason=st.none() | TEXT,
        risk=st.none() | TEXT,
        count=st.none() | SIZE,
    ),
)

FULL = operation(
    is_error=True,
    completed_at=BEGAN + timedelta(microseconds=1_500),
    duration_ms=1,
    user_id="u",
    thread_id="t",
    request_id="7",
    arguments=b'{ "a" : 1.0 }',
    arguments_meta=ArgumentsMeta(size_bytes=5, sha256="aa"),
    result_summary="caf\xe9",
    result_meta=ResultMeta(
        truncated=True,
        total_bytes=9,
        sha256="bb",
        outcome=Outcome.TOOL_ERROR,
        error_code=-32000,
        exit_code=3,
        content_types=("text", "image"),
        reported_duration_ms=12,
        duplicate_id=True,
        waited_ms=2_100,
        rounds=2,
        task_id="task-1",
        title="Read a file",
        id_respelled=True,
        replaced=True,
    ),
    context=Context(
        client="desk/1.2",
        server="files/3.4",
        protocol="2025-11-25",
        session="s-1",
        transport="stdio",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        parent_span_id="b7ad6b7169203331",
    ),
    approval=Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=2_000, reason="writes", risk="low", count=2),
)
FULL_DOCUMENT = {
    "id": "id-1",
    "workspace_id": "ws-1",
    "source": "sdk",
    "env_id": "local",
    "tool": "unknown",
    "is_error": True,
    "started_at": "2023-11-14T22:13:20Z",
    "completed_at": "2023-11-14T22:13:20.001500Z",
    "duration_ms": 1,
    "user_id": "u",
    "thread_id": "t",
    "request_id": "7",
    "arguments": {"a": 1.0},
    "arguments_meta": {"truncated": True, "size_bytes": 5, "sha256": "aa"},
    "result_summary": "caf\xe9",
    "result_meta": {
        "truncated": True,
        "total_bytes": 9,
        "sha256": "bb",
        "outcome": "tool_error",
        "error_code": -32000,
        "exit_code": 3,
        "content_types": ["text", "image"],
        "reported_duration_ms": 12,
        "duplicate_id": True,
        "waited_ms": 2_100,
        "rounds": 2,
        "task_id": "task-1",
        "title": "Read a file",
        "id_respelled": True,
        "replaced": True,
    },
    "context": {
        "client": "desk/1.2",
        "server": "files/3.4",
        "protocol": "2025-11-25",
        "session": "s-1",
        "transport": "stdio",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "parent_span_id": "b7ad6b7169203331",
    },
    "approval": {"decision": "accept", "by": "client", "waited_ms": 2_000, "reason": "writes", "risk": "low", "count": 2},
}
NEW_IN_RESULT_META = {"waited_ms", "rounds", "task_id", "title", "id_respelled", "replaced"}
PLAIN_DOCUMENT = {
    name: value
    for name, value in FULL_DOCUMENT.items()
    if name not in {field.name for field in attrs.fields(Operation) if field.default is None}
}


@settings(deadline=None)
@given(OPERATIONS)
@example(operation(arguments=b'["\\ud800",' + b"7" * 5_000 + b"]"))
@example(operation(arguments=b" \n{}".strip()))
def test_a_round_trip_loses_nothing(op: Operation) -> None:
    document = encode(op)
    assert decode(document) == op
    read = json.loads(document, parse_int=str)
    assert read.keys() >= PLAIN_DOCUMENT.keys()
    assert None not in read.values()
    if op.arguments is not None:
        assert b'"arguments":' + op.arguments in document
    assert b"\n" not in document.replace(op.arguments or b"\n", b"")


def test_the_form_on_the_wire_is_flat_with_times_in_utc() -> None:
    assert json.loads(encode(FULL)) == FULL_DOCUMENT
    assert decode(json.dumps(FULL_DOCUMENT).replace('{"a": 1.0}', '{ "a" : 1.0 }').encode()) == FULL


def test_what_is_absent_is_left_out() -> None:
    plain = PLAIN_DOCUMENT | {"is_error": False, "completed_at": "2023-11-14T22:13:20Z", "duration_ms": 0}
    assert json.loads(encode(operation())) == plain
    assert decode(json.dumps(plain).encode()) == operation()
    assert json.loads(encode(operation(result_meta=ResultMeta())))["result_meta"] == {}


def test_a_record_of_an_earlier_version_is_read_as_it_was_and_written_as_it_was() -> None:
    earlier = {name: value for name, value in FULL_DOCUMENT.items() if name not in ("context", "approval")}
    meta = FULL_DOCUMENT["result_meta"]
    assert isinstance(meta, dict)
    earlier["result_meta"] = {name: value for name, value in meta.items() if name not in NEW_IN_RESULT_META}
    read = decode(json.dumps(earlier).encode())
    assert (read.context, read.approval) == (None, None)
    assert read.result_meta is not None
    assert {getattr(read.result_meta, name) for name in NEW_IN_RESULT_META} == {None}
    assert json.loads(encode(read)) == earlier


def test_null_and_unknown_fields_are_passed_over() -> None:
    names = ["user_id", "arguments", "arguments_meta", "result_summary", "result_meta", "context", "approval", "new_field"]
    nothing = dict.fromkeys(names)
    document = json.loads(encode(operation())) | nothing | {"newer": [1]}
    assert decode(json.dumps(document).encode()) == operation()
    document["result_meta"] = {"outcome": None, "newer": 1, "exit_code": 3}
    assert decode(json.dumps(document).encode()) == operation(result_meta=ResultMeta(exit_code=3))
    document["context"] = {"client": "c", "server": None, "newer": 1}
    document["approval"] = {"by": "hook", "waited_ms": 0, "decision": None, "newer": 1}
    read = decode(json.dumps(document).encode())
    assert read.context == Context(client="c")
    assert read.approval == Approval(by=DecidedBy.HOOK, waited_ms=0)


@pytest.mark.parametrize("code", [-(2**63), 2**63 - 1])
def test_the_greatest_numbers_of_64_bits_are_read_exactly(code: int) -> None:
    record = operation(result_meta=ResultMeta(error_code=code))
    assert decode(encode(record)) == record


def test_arguments_go_in_and_come_out_as_the_exact_text() -> None:
    for text in (b'{ "a":\n1.0 , "a":2}', b'"\\ud800"', b"[]", b"1e400", b'"\\u0000"', b"false", b'"\xe2\x80\xa8"', b"9" * 5_000):
        document = encode(operation(arguments=text, request_id="r"))
        assert b'"arguments":' + text in document
        assert decode(document).arguments == text


def test_a_time_with_another_offset_is_the_same_moment() -> None:
    moment = BEGAN.astimezone(timezone(timedelta(hours=-3, minutes=-30)))
    assert json.loads(encode(operation(started_at=moment)))["started_at"] == "2023-11-14T22:13:20Z"
    for spelled in (
        "2023-11-14T18:43:20-03:30",
        "2023-11-14t22:13:20z",
        "2023-11-14T22:13:20.000000999+00:00",
        "2023-11-15T00:13:20.0+02:00",
    ):
        read = decode(altered(started_at=spelled)).started_at
        assert read == BEGAN
        assert read.tzinfo is UTC


def altered(**fields: Any) -> bytes:
    return json.dumps(FULL_DOCUMENT | fields).encode()


def problem_of(document: bytes) -> tuple[str, str]:
    with pytest.raises(WireError) as caught:
        decode(document)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    return caught.value.field, caught.value.problem


STRING = "must be a string"
WHOLE = "must be a whole number of 64 bits"
TIME = "must be an RFC 3339 time with its offset"
REQUIRED = ["id", "workspace_id", "source", "env_id", "tool", "is_error", "started_at", "completed_at", "duration_ms"]
NAMES = ["id", "workspace_id", "source", "env_id", "tool"]
NO_TIMES = ["", "now", 5, "2023-11-14T22:13:20", "2023-11-14", "2023-13-14T22:13:20Z", "2023-11-14T25:13:20Z", "2023-11-14T22:13:20+99:99", "20231114T221320Z", "2023-11-14T22:13:20Zx", "0001-01-01T00:00:00+01:00", "\u0662023-11-14T22:13:20Z", "2023-11-14 22:13:20Z"]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        *[(field, None, "is missing") for field in REQUIRED],
        *[(field, 5, STRING) for field in [*NAMES, "user_id", "thread_id", "request_id", "result_summary"]],
        *[(field, "", "must not be empty") for field in NAMES],
        *[(field, "\ud800", "must be text that UTF-8 can hold") for field in ["id", "user_id", "result_summary"]],
        *[("is_error", value, "must be true or false") for value in (0, 1, "true", [])],
        *[("duration_ms", value, WHOLE) for value in (1.0, "1", True, 2**63, -(2**63) - 1, 10**30, {})],
        ("duration_ms", -1, "must not be negative"),
        *[("started_at", value, TIME) for value in NO_TIMES],
        ("completed_at", "later", TIME),
        *[
            (field, value, "must be an object")
            for field in ("arguments_meta", "result_meta", "context", "approval")
            for value in (5, [], "x")
        ],
    ],
)
def test_a_wrong_field_is_named_and_its_value_never_quoted(field: str, value: Any, problem: str) -> None:
    assert problem_of(altered(**{field: value})) == (field, problem)


@pytest.mark.parametrize(
    ("field", "value", "path", "problem"),
    [
        ("arguments_meta", {"sha256": "a"}, "arguments_meta.size_bytes", "is missing"),
        ("arguments_meta", {"size_bytes": 1}, "arguments_meta.sha256", "is missing"),
        ("arguments_meta", {"size_bytes": -1, "sha256": "a"}, "arguments_meta.size_bytes", "must not be negative"),
        ("arguments_meta", {"size_bytes": 1, "sha256": 5}, "arguments_meta.sha256", STRING),
        ("arguments_meta", {"size_bytes": 1, "sha256": "a", "truncated": 1}, "arguments_meta.truncated", "must be true or false"),
        ("result_meta", {"total_bytes": -1}, "result_meta.total_bytes", "must not be negative"),
        ("result_meta", {"exit_code": 1.5}, "result_meta.exit_code", WHOLE),
        ("result_meta", {"error_code": 2**63}, "result_meta.error_code", WHOLE),
        ("result_meta", {"reported_duration_ms": "1"}, "result_meta.reported_duration_ms", WHOLE),
        ("result_meta", {"truncated": "yes"}, "result_meta.truncated", "must be true or false"),
        ("result_meta", {"duplicate_id": 0}, "result_meta.duplicate_id", "must be true or false"),
        ("result_meta", {"sha256": []}, "result_meta.sha256", STRING),
        ("result_meta", {"content_types": "text"}, "result_meta.content_types", "must be a list of strings"),
        ("result_meta", {"content_types": ["text", 5]}, "result_meta.content_types", STRING),
        ("result_meta", {"waited_ms": -1}, "result_meta.waited_ms", "must not be negative"),
        ("result_meta", {"waited_ms": 0.5}, "result_meta.waited_ms", WHOLE),
        ("result_meta", {"rounds": "2"}, "result_meta.rounds", WHOLE),
        ("result_meta", {"rounds": -1}, "result_meta.rounds", "must not be negative"),
        ("result_meta", {"task_id": 5}, "result_meta.task_id", STRING),
        ("result_meta", {"title": {}}, "result_meta.title", STRING),
        ("result_meta", {"id_respelled": 1}, "result_meta.id_respelled", "must be true or false"),
        ("result_meta", {"replaced": "true"}, "result_meta.replaced", "must be true or false"),
        *[("context", {name: 5}, f"context.{name}", STRING) for name in attrs.fields_dict(Context)],
        ("approval", {"waited_ms": 1}, "approval.by", "is missing"),
        ("approval", {"by": "client"}, "approval.waited_ms", "is missing"),
        ("approval", {"by": "client", "waited_ms": -1}, "approval.waited_ms", "must not be negative"),
        ("approval", {"by": "client", "waited_ms": "1"}, "approval.waited_ms", WHOLE),
        ("approval", {"by": "client", "waited_ms": 1, "count": True}, "approval.count", WHOLE),
        ("approval", {"by": "client", "waited_ms": 1, "count": -2}, "approval.count", "must not be negative"),
        *[
            ("approval", {"by": "client", "waited_ms": 1, name: 5}, f"approval.{name}", STRING)
            for name in ("decision", "reason", "risk")
        ],
        *[
            ("approval", {"by": by, "waited_ms": 1}, "approval.by", "must be one of client, reviewer, hook, none")
            for by in ("nobody", "", 5, [], {})
        ],
    ],
)
def test_a_wrong_field_of_a_part_is_named_by_its_path(field: str, value: Any, path: str, problem: str) -> None:
    assert problem_of(altered(**{field: value})) == (path, problem)


@pytest.mark.parametrize("value", ["exploded", "", 5, [], {}])
def test_an_unknown_outcome_is_refused_with_the_known_ones(value: Any) -> None:
    path, problem = problem_of(altered(result_meta={"outcome": value}))
    assert path == "result_meta.outcome"
    assert problem == (
        "must be one of rpc_error, tool_error, failed, declined, interrupted, cancelled, unanswered, evicted, input_required,"
        " unfetched"
    )


GOOD = encode(operation())


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{", b"[]", b"5", b"null", b'"x"', b"\xff", b"[" * 100_000, GOOD[:-1], GOOD + b"x", b"[" + GOOD + b"]"),
        GOOD[:-1] + b',"arguments":NaN}',
        GOOD[:-1] + b',"arguments":[Infinity]}',
        GOOD[:-1] + b',"arguments":"\xff"}',
        GOOD[:-1] + b',"x":"\xff"}',
        GOOD[:-1] + b',"arguments":{"a":"\\ud800","b":-Infinity}}',
        GOOD[:-1] + b',"arguments":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        *[GOOD.decode().encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-8-sig")],
    ],
)
def test_what_is_no_json_object_in_utf8_is_refused_whole(document: bytes) -> None:
    assert problem_of(document) == ("", "is not a JSON object in UTF-8")
    with pytest.raises(WireError, match=r"^the document is not a JSON object in UTF-8$"):
        decode(document)


def test_of_a_repeated_field_the_last_counts() -> None:
    assert decode(GOOD[:-1] + b',"tool":5,"tool":"b","arguments":[1],"arguments":[2]}') == operation(tool="b", arguments=b"[2]")
    assert decode(GOOD[:-1] + b',"arguments":"\\ud800","arguments":[2]}') == operation(arguments=b"[2]")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool", "\ud800"),
        ("result_summary", "\udfff"),
        ("tool", object()),
        ("started_at", "now"),
        ("started_at", datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
        ("arguments", 5),
        *[
            ("arguments", text)
            for text in ("{}", b"", b" ", b"{", b"NaN", b"{} {}", b'1,"id":"x"', b'"\xff"', "{}".encode("utf-16-le"))
        ],
        ("arguments_meta", 5),
    ],
)
def test_an_operation_made_by_hand_that_json_cannot_hold_is_refused(field: str, value: Any) -> None:
    with pytest.raises(WireError, match=r"^the document cannot be written: [A-Za-z]+$") as caught:
        encode(unchecked(attrs.evolve(FULL), **{field: value}))
    assert caught.value.field == ""
    assert caught.value.__context__ is None


@given(
    st.one_of(
        st.binary(max_size=40),
        st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=3)).map(lambda cut: GOOD[: cut[0]] + cut[1] + GOOD[cut[0] + 1 :]),
    )
)
def test_any_bytes_are_an_operation_or_a_wire_error(document: bytes) -> None:
    try:
        read = decode(document)
    except WireError as error:
        shown = str(error)
        assert shown.isprintable()
    else:
        assert decode(encode(read)) == read
