"""One frame -> the JSON-RPC messages in it."""

from __future__ import annotations

import json
from collections.abc import Container
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from tests.frames import NUMBERS, AnyFrame, client_frames, hostile_frames, plain, server_frames
from trio_oplog._json import encoded
from trio_oplog._recording.dialects import FROM_CLIENT, FROM_SERVER, ClientMessage, ServerMessage
from trio_oplog._recording.envelope import Envelope, Frame, FrameReader, Message, read_id, read_key

METHODS = {"known", "other"}
READER = FrameReader(Message, {None, *METHODS})
REQUEST_READER = FrameReader(Message, METHODS)


class Every(Container[str | None]):
    def __contains__(self, _: object) -> bool:
        return True


def read(frame: Frame) -> list[Message]:
    """Every message of a frame, whatever it is."""
    return listed(FrameReader(Message, Every()).read(frame) or ())


def listed(found: Any) -> list[Any]:
    return [found] if isinstance(found, Envelope) else list(found)


def summary(messages: Any) -> Any:
    """Messages with their raw parts as bytes: Raw compares by identity."""
    return (
        None
        if messages is None
        else [{name: part_of(message, name) for name in message.__struct_fields__} for message in listed(messages)]
    )


def part_of(message: Envelope, name: str) -> Any:
    part = getattr(message, name)
    return bytes(part) if isinstance(part, Raw) else part


def plain_method(message: dict[str, Any]) -> str | None:
    method = message.get("method")
    return method if method is None or isinstance(method, str) else ""


@settings(deadline=None, max_examples=200)
@given(st.one_of(hostile_frames, client_frames, server_frames))
@example(b'[{"method":"tools/call"}, {"method":"\xff"}]')
@example(b'{"method":"tools/call","x":"\xff"}')
@example(b'{"method":"ping","x":"\xed\xa0\x80"}')
def test_the_messages_of_a_frame_are_those_that_json_reads(frame: AnyFrame) -> None:
    expected = plain(frame, parse_int=float) or []  # int() refuses thousands of digits, we do not
    messages = read(frame)
    assert [message.method for message in messages] == [plain_method(message) for message in expected]
    for message, whole in zip(messages, expected, strict=True):
        for name in ("id", "params", "result", "error"):
            raw = bytes(getattr(message, name))
            assert bool(raw) is (name in whole)
            if raw:
                assert repr(json.loads(raw, parse_int=float)) == repr(json.loads(json.dumps(whole[name])))


SHAPES: list[tuple[Any, Any]] = [(ClientMessage, FROM_CLIENT), (ServerMessage, FROM_SERVER), (Message, {})]


@settings(deadline=None, max_examples=300)
@given(st.one_of(hostile_frames, client_frames, server_frames), st.sampled_from(SHAPES), st.booleans())
def test_a_frame_is_read_exactly_when_a_message_in_it_matters(frame: AnyFrame, shape: tuple[Any, Any], answers: bool) -> None:
    message_type, methods = shape
    found = FrameReader(message_type, {*methods, None} if answers else methods).read(frame)
    expected = plain(frame, parse_int=float) or []
    matter = any(plain_method(message) in methods or (answers and plain_method(message) is None) for message in expected)
    if matter:
        assert found is not None
        assert [message.method for message in listed(found)] == [plain_method(message) for message in expected]
    else:
        assert not found
        assert (found is None) is (not expected)


@pytest.mark.parametrize(
    ("frame", "methods"),
    [
        ('{"method":"known"}', ["known"]),
        ('{"method":"known","method":5}', None),
        ('{"method":5,"method":"known"}', ["known"]),
        ('{"method":"unknown"}', None),
        ('{"method":"unknown","params":NaN}', None),
        ('{"method":5}', None),
        ('{"method":null,"id":1}', [None]),
        ('{"id":1}', [None]),
        ("{}", [None]),
        ('[{"method":"unknown"},{"method":"other"},5,null,[{"method":"known"}],{"id":NaN}]', ["unknown", "other", None]),
        ('[{"method":"unknown"},5]', None),
        ('[{"method":5},{"method":"known"}]', ["", "known"]),
        ('[{"method":"unknown","params":NaN}]', None),
        ('[{"method":"known","params":NaN},7]', ["known"]),
        (b'[{"method":"known","params":"\xed\xa0\x80"}]', ["known"]),
        ('\t{"method":"known"}\n', ["known"]),
        ('\ufeff{"method":"known"}'.encode(), ["known"]),
        ('{"method":"known"}'.encode("utf-16"), ["known"]),
        ('[{"method":"known"}]'.encode("utf-32-be"), ["known"]),
        ('{"method":"known","params":"\ud800"}', ["known"]),
        ('{"method":"unknown","params":"\ud800"}', None),
    ],
)
def test_messages_are_read_when_one_of_them_matters(frame: str | bytes, methods: list[str | None] | None) -> None:
    found = READER.read(frame)
    assert found is not None
    assert [message.method for message in listed(found)] == (methods or [])


@pytest.mark.parametrize(
    "frame",
    [
        '{"id":1}',
        '[{"id":1}]',
        '{"id":NaN}',
        '[{"id":NaN},{"method":5}]',
        '{"method":null}',
        '{"id":1,"method":[],"params":"\ud800"}',
    ],
)
def test_responses_do_not_matter_to_whoever_says_so(frame: str) -> None:
    assert REQUEST_READER.read(frame) == ()


@pytest.mark.parametrize(
    "frame",
    [
        "", " ", "5", '"text"', "null", "[]", "[5]", "[[]]", '[[{"method":"known"}]]', "{",
        '{"method":"known"', '{"method":"known"}x',
        "[" * 100_000, b"\xff", b'{"method":"known","params":"\xff"}', b'[{"method":"known"},{"params":"\xff"}]',
        b'[{"method":"known"},"\xff"]', '\ufeff{"method":"known"}',
    ],
)  # fmt: skip
def test_a_frame_without_json_rpc_reads_as_none(frame: str | bytes) -> None:
    assert READER.read(frame) is None
    assert REQUEST_READER.read(frame) is None
    assert read(frame) == []


class Words(str):
    """Text of a class of its own."""

    __slots__ = ()


@pytest.mark.parametrize(
    "form", [str, Words, str.encode, lambda text: bytearray(text.encode()), lambda text: memoryview(b"xx" + text.encode())[2:]]
)
def test_every_form_of_a_frame_reads_alike(form: Any) -> None:
    for text in (
        '{"method":"known","id":1,"params":{"a":"\xe9\u2028"}}',
        '[{"method":"known","result":null}]',
        '{"method":"known","params":NaN}',
    ):
        assert summary(READER.read(form(text))) == summary(READER.read(text))
        assert summary(READER.read(text))


def test_raw_parts_are_the_exact_text() -> None:
    (message,) = read('{"id": 1.0 ,"params":{ "a" : 1 },"result":[ ],"error": null ,"method":"m"}')
    assert summary([message]) == [{"method": "m", "id": b"1.0", "params": b'{ "a" : 1 }', "result": b"[ ]", "error": b"null"}]


@pytest.mark.parametrize(
    "frame", ['{"method":"known","id":"x"}', '[{"method":"known","id":"x"}]', '{"method":5}', "x", '[{"method":NaN,"id":2}]']
)
def test_a_bytearray_is_free_again_once_it_was_read(frame: str) -> None:
    buffer = bytearray(frame.encode())
    read(buffer)
    buffer.clear()


LONG = "9" * 5_000


@pytest.mark.parametrize(
    ("spelled", "key", "text"),
    [
        ("1", 1, "1"),
        ("0", 0, "0"),
        ("-0", 0, "-0"),
        ("-7", -7, "-7"),
        ("9007199254740993", 2**53 + 1, "9007199254740993"),
        ("18446744073709551616", 2**64, "18446744073709551616"),
        ("1.0", Decimal(1), "1.0"),
        ("10e-1", Decimal(1), "10e-1"),
        ("0.1", Decimal("0.1"), "0.1"),
        ("-1.5E+3", Decimal(-1500), "-1.5E+3"),
        ('"1"', "1", "1"),
        ('""', "", ""),
        ('"\\u0061"', "a", "a"),
        ('"\xe9"', "\xe9", "\xe9"),
        ('"' + "x" * 1024 + '"', "x" * 1024, "x" * 1024),
    ],
)
def test_an_id_is_compared_by_its_value_and_shown_as_it_is_spelled(spelled: str, key: Any, text: str) -> None:
    raw = Raw(spelled.encode())
    assert read_id(raw) == (key, text)
    assert read_key(raw) == key
    assert type(read_key(raw)) is type(key)


@pytest.mark.parametrize("spelled", ["", "null", "true", "false", "[]", "[1]", "{}", '{"a":1}'])
def test_what_is_neither_string_nor_number_is_no_id(spelled: str) -> None:
    assert read_id(Raw(spelled.encode())) is None
    assert read_key(Raw(spelled.encode())) is None


def key(spelled: str) -> Any:
    found = read_key(Raw(encoded(spelled)))
    assert found is not None
    return found


@settings(deadline=None)
@given(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS))
def test_numbers_are_one_id_exactly_when_they_have_one_value(one: str, other: str) -> None:
    def value(spelled: str) -> Any:
        finite = spelled[-1].isdigit() and not spelled.startswith("1e99999")
        return Decimal(spelled) if finite else spelled

    assert (key(one) == key(other)) is (value(one) == value(other))
    if key(one) == key(other):
        assert hash(key(one)) == hash(key(other))


@given(st.integers(), st.integers(0, 5))
def test_an_integer_and_its_decimal_spelling_are_one_id(number: int, zeros: int) -> None:
    assert key(str(number)) == key(f"{number}.0{'0' * zeros}") == key(f"{number}{'0' * zeros}e-{zeros}") == number
    assert key(str(number)) != key(f'"{number}"')


@pytest.mark.parametrize("digits", [4_299, 4_300, 4_301, 4_399, 4_400])
@pytest.mark.parametrize("sign", ["", "-"])
def test_integers_of_every_length_that_python_can_read_are_compared_by_value(digits: int, sign: str) -> None:
    spelled = sign + "7" * (digits - len(sign))
    assert key(spelled) == Decimal(spelled)


@pytest.mark.parametrize(
    "spelled", [LONG, "-" + LONG, "1." + LONG, "1e99999999999999999999", "NaN", "Infinity", "-Infinity", f"1e{LONG}"]
)
def test_numbers_beyond_reason_are_compared_by_their_spelling(spelled: str) -> None:
    identity = read_id(Raw(spelled.encode()))
    assert identity is not None
    assert identity[1] == spelled[:1024]
    assert identity[0] == read_key(Raw(spelled.encode()))
    assert identity[0] != key(spelled + ("0" if spelled[-1].isdigit() else " "))
    assert len(repr(identity[0])) < 100


def test_what_an_application_makes_of_decimals_changes_no_id() -> None:
    with localcontext(Context(prec=3, traps=[])):
        assert key("1e99999999999999999999") == key("1e99999999999999999999") != key("1e99999999999999999998")
        assert key("1.00000000000000000001") != key("1.00000000000000000002")


@given(st.text(st.characters()), st.text(st.characters()))
@example("\ud800", "\ufffd")
@example("\ud800", "\udc00")
@example("x" * 1024, "x" * 1025)
@example("x" * 1025, "x" * 1026)
@example("\ud800" * 400, "\\ud800" * 400)
@example("a" * 2000 + "\ud800", "a" * 2000 + "\\ud800")
@example("number", "string")
def test_strings_are_one_id_exactly_when_they_are_equal(one: str, other: str) -> None:
    assert (key(json.dumps(one)) == key(json.dumps(other))) is (one == other)
    assert key(json.dumps(one)) == key(json.dumps(one))


def test_a_long_string_is_shown_cut_and_kept_as_a_digest() -> None:
    identity = read_id(Raw(b'"' + b"x" * 5_000 + b'"'))
    assert identity is not None
    assert identity[1] == "x" * 1_024
    assert len(repr(identity[0])) < 100


def test_a_message_alone_is_no_batch_of_one() -> None:
    for text in ('{"method":"known"}', '{"method":"known","id":NaN}'):
        assert isinstance(READER.read(text), Message)
        assert isinstance(READER.read(f"[{text}]"), list)


def test_what_is_no_frame_at_all_is_refused() -> None:
    for nothing in (None, 5, object(), ["{}"]):
        with pytest.raises(TypeError):
            read(nothing)  # type: ignore[arg-type]
