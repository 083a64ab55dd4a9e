"""One frame -> the JSON-RPC messages in it."""

from __future__ import annotations

import json
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from tests.frames import NUMBERS, AnyFrame, client_frames, hostile_frames, plain, server_frames
from trio_oplog._json import LONG as LONG_FRAME
from trio_oplog._json import Reader, encoded
from trio_oplog._recording.envelope import Frame, Message, is_utf8, messages, peek, read_id, read_key, read_request, respelled

_message = Reader(Message)


def read(frame: Frame) -> list[Message]:
    """Every message of a frame, whatever it is."""
    parts = messages(frame)
    found = [] if parts is None else [_message.read_tolerantly(text, escaped=parts.escaped) for text in parts.texts]
    return [message for message in found if message is not None]


def summary(found: list[Message]) -> Any:
    """Messages with their raw parts as bytes: Raw compares by identity."""
    return [{name: part_of(message, name) for name in message.__struct_fields__} for message in found]


def part_of(message: Message, name: str) -> Any:
    part = getattr(message, name)
    return bytes(part) if isinstance(part, Raw) else part


def plain_method(message: dict[str, Any]) -> str | None:
    method = message.get("method")
    return method if method is None or isinstance(method, str) else ""


@settings(deadline=None, max_examples=200)
@given(st.one_of(hostile_frames, client_frames, server_frames))
@example(b'[{"method":"tools/call"}, {"method":"\xed\xa0\x80"}]')
@example(b'{"method":"ping","x":"\xed\xa0\x80"}')
def test_the_messages_of_a_frame_are_those_that_json_reads(frame: AnyFrame) -> None:
    expected = plain(frame, parse_int=float)  # int() refuses thousands of digits, we do not
    if expected is None and not isinstance(frame, str):
        return  # bytes that are no UTF-8 are read as a last resort; there is a test for them
    found = read(frame)
    assert [message.method for message in found] == [plain_method(message) for message in expected or []]
    for message, whole in zip(found, expected or [], strict=True):
        for name in ("id", "params", "result", "error"):
            raw = bytes(getattr(message, name))
            assert bool(raw) is (name in whole)
            if raw:
                assert repr(json.loads(raw, parse_int=float)) == repr(json.loads(json.dumps(whole[name])))


@settings(deadline=None, max_examples=300)
@given(st.one_of(hostile_frames, client_frames, server_frames))
def test_a_peek_tells_what_the_one_message_of_a_frame_says(frame: AnyFrame) -> None:
    seen = peek(frame)
    expected = plain(frame, parse_int=lambda spelled: int(spelled) if len(spelled) <= 4_300 else float(spelled))
    if seen is None or expected is None:  # what a peek skips may be no JSON, or no UTF-8
        return
    (message,) = expected
    assert seen.method == message.get("method")
    if not isinstance(seen.id, int):  # of an integer, this plain reading makes a float
        assert seen.id == message.get("id")


@pytest.mark.parametrize(
    "frame",
    [
        "", " ", "5", '"text"', "null", "[]", "[5]", "[[]]", '[[{"method":"known"}]]', "{",
        '{"method":"known"', '{"method":"known"}x', "[" * 100_000, b"\xff", '\ufeff{"method":"known"}', b"\xff\xfe{", b"{\0",
    ],
)  # fmt: skip
def test_a_frame_without_json_rpc_has_no_messages(frame: str | bytes) -> None:
    assert messages(frame) is None
    assert read_request(frame, "known") is None


@pytest.mark.parametrize(
    ("frame", "exact"),
    [
        (b'{"method":"known","params":{"a":"\xff"}}', [b'{"a":"\xff"}']),
        (b'[{"method":"x","params":"\xc3("},5,{"params": "caf\xe9" }]', [b'"\xc3("', b'"caf\xe9"']),
        (b'{"params":"\xff\xed\xa0\x80\xc3\xa9"}', [b'"\xff\xed\xa0\x80\xc3\xa9"']),
        (bytearray(b'{"params":"\xff"}'), [b'"\xff"']),
    ],
)
def test_bytes_that_are_no_utf8_are_kept_as_they_are(frame: bytes, exact: list[bytes]) -> None:
    parts = messages(frame)
    assert parts is not None
    assert parts.escaped
    assert [bytes(message.params) for message in read(frame)] == exact


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
        assert summary(read(form(text))) == summary(read(text))
        assert summary(read(text))


def test_raw_parts_are_the_exact_text() -> None:
    (message,) = read('{"id": 1.0 ,"params":{ "a" : 1 },"result":[ ],"error": null ,"method":"m"}')
    assert summary([message]) == [{"method": "m", "id": b"1.0", "params": b'{ "a" : 1 }', "result": b"[ ]", "error": b"null"}]


@pytest.mark.parametrize("frame", ['{"method":"known","id":"x"}', '[{"method":"known","id":"x"}]', '{"method":5}', "x"])
def test_a_bytearray_is_free_again_once_it_was_read(frame: str) -> None:
    buffer = bytearray(frame.encode())
    read(buffer)
    peek(buffer)
    buffer.clear()


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        ('{"method":"known","id":1,"params":{}}', True),
        ('{"method":"known","id":1.5}', True),
        ('{"method":"known","params":NaN}', True),
        ('{"method":"known"}'.encode("utf-16"), True),
        (b'{"method":"known","x":"\xed\xa0\x80"}', True),
        ('{"method":"known","x":"' + "a" * LONG_FRAME + '"}', True),
        ('{"method":"known","id":1.5,"x":["' + '","'.join("abc" for _ in range(LONG_FRAME)) + '"]}', True),
        ('{"method":"other","id":1}', False),
        ('{"method":"other","id":1.5}', False),
        ('{"method":5,"id":1.5}', False),
        ('[{"method":"known","id":1}]', False),
        ('{"id":1}', False),
        (b'{"method":"known","x":"\xff"}', False),
    ],
)
def test_a_request_of_one_method_is_told_from_every_other_frame(frame: Frame, found: bool) -> None:
    request = read_request(frame, "known")
    assert (request is not None) is found
    assert request is None or request.method == "known"


def test_what_is_no_frame_at_all_is_refused() -> None:
    for nothing in (None, 5, object(), ["{}"], {}):
        with pytest.raises(TypeError):
            messages(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "other"),
    [
        (7, "7"), (0, "0"), (-3, "-3"), ("7", 7), ("0", 0), ("-3", -3), ("07", None), ("-0", None), ("7.0", None), ("", None),
        ("a", None), ("\u0667", None), (2**70, str(2**70)), ("9" * 20, None), (Decimal(1), None), (("number", "x"), None),
        (None, None),
    ],
)  # fmt: skip
def test_an_id_has_one_spelling_in_the_other_type(key: Any, other: Any) -> None:
    assert respelled(key) == other
    assert type(respelled(key)) is type(other)


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a" * 2**21, True),
        (b"a" * (2**20 - 1) + "ü".encode() * 2**19, True),  # on the edge of a piece
        ("ü".encode() * 2**20 + b"\xc3", False),
        (b"\xff" + b"a" * 2**21, False),
        ("ü".encode(), True),
        (b"\xff", False),
        (bytearray(b"a" * 2**21), True),
    ],
    ids=["ASCII", "a character on an edge", "cut off", "wrong at the start", "short", "short and wrong", "a bytearray"],
)
def test_a_long_text_is_checked_in_pieces(text: bytes, expected: bool) -> None:
    assert is_utf8(text) is expected
