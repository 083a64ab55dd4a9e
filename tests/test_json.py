"""Reading JSON without changing it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw, Struct, UnsetType, field

from tests.frames import (
    BROKEN,
    AnyFrame,
    any_of,
    array,
    deep,
    frames_of,
    in_any_form,
    members,
    often,
    one_of,
    scalar,
    string,
    texts,
    value,
)
from trio_oplog._json import ABSENT, LONG, Reader, elements, encoded, outline
from trio_oplog._json import members as read_members


class Inner(Struct):
    text: str | None = None


class Holder(Struct):
    text: str | None = None
    raw: Raw = ABSENT


class Shape(Struct):
    text: str | None = None
    number: int | None = None
    flag: bool | None = None
    raw: Raw = ABSENT
    inner: Inner | None = None
    maybe: Inner | UnsetType | None = UNSET
    several: list[Inner] | None = None
    either: list[Inner] | str | Inner | None = None
    loose: Holder | str | None = None
    renamed: str | None = field(name="re-named", default=None)


READER = Reader(Shape)
DIGITS = "7" * 5_000


def seen(read: Any) -> Any:
    """A Shape with its raw text as bytes: Raw compares by identity, and may be as little UTF-8 as the text that was read."""
    if isinstance(read, Raw):
        return encoded(bytes(read).decode("utf-8", "surrogatepass"))
    return [seen(getattr(read, name)) for name in read.__struct_fields__] if isinstance(read, Shape | Holder) else read


def spaced(draw: st.DrawFn) -> str:
    inner = often(members({"text": often(string)}, most=2))
    parts = {
        "text": string,
        "number": scalar,
        "flag": scalar,
        "raw": value,
        "inner": inner,
        "maybe": inner,
        "several": value,
        "either": any_of(value, inner, array(inner), string),
        "loose": any_of(value, string, often(members({"text": often(string), "raw": value}, most=2))),
        "x": value,
    }
    return members(parts | {"re-named": string})(draw)


@settings(deadline=None, max_examples=200)
@given(frames_of(spaced))
@example('{"text":"a","text":5}')
@example(b'{"raw":"\\ud800","inner":{"text":"\\udc00"}}')
@example(b'{"raw":"\xed\xa0\x80"}')
def test_both_readers_read_alike(text: AnyFrame) -> None:
    assert seen(READER.read(text)) == seen(READER.read_tolerantly(text)) is not None


@settings(deadline=None, max_examples=200)
@given(frames_of(spaced))
def test_every_field_is_what_json_reads(text: AnyFrame) -> None:
    try:
        value = json.loads(text if isinstance(text, str) else bytes(text))
    except ValueError:
        return
    read = READER.read(text)
    assert read is not None

    def as_text(value: Any) -> str | None:
        return value if value is None or isinstance(value, str) else ""

    def as_inner(value: Any) -> Inner | None:
        return Inner(as_text(value.get("text"))) if isinstance(value, dict) else None

    assert read.text == as_text(value.get("text"))
    assert read.renamed == as_text(value.get("re-named"))
    assert read.number == (value.get("number") if type(value.get("number")) is int else None)
    assert read.flag is (value.get("flag") if isinstance(value.get("flag"), bool) else None)
    assert read.inner == as_inner(value.get("inner"))
    assert read.maybe == (as_inner(value["maybe"]) if "maybe" in value else UNSET)
    several = value.get("several")

    def as_blocks(value: Any) -> Any:
        if isinstance(value, list):
            return [as_inner(part) or Inner() for part in value]
        return value if isinstance(value, str) else as_inner(value)

    assert read.either == as_blocks(value.get("either"))
    loose = value.get("loose")
    if isinstance(loose, dict):
        assert isinstance(read.loose, Holder)
        assert read.loose.text == as_text(loose.get("text"))
        assert (read.loose.raw is ABSENT) == ("raw" not in loose)
    else:
        assert read.loose == (loose if isinstance(loose, str) else None)
    assert read.several == ([as_inner(part) or Inner() for part in several] if isinstance(several, list) else None)
    assert (read.raw is ABSENT) == ("raw" not in value)
    if read.raw is not ABSENT:
        assert repr(json.loads(bytes(read.raw))) == repr(json.loads(json.dumps(value["raw"])))


@settings(deadline=None, max_examples=100)
@given(st.one_of(frames_of(deep), frames_of(one_of(*BROKEN)), st.binary(max_size=20), frames_of(value)))
def test_what_is_no_object_reads_as_none(text: AnyFrame) -> None:
    try:
        is_object = isinstance(json.loads(text if isinstance(text, str) else bytes(text), parse_int=float), dict)
    except (ValueError, RecursionError):
        is_object = False
    assert (READER.read_tolerantly(text) is not None) is is_object


@pytest.mark.parametrize(
    "text", ['{"a":1', "", " ", "[]", "5", "null", b"\xff", b"\xed\xa0", '{"raw":"\x01"}', "[" * 100_000, '\ufeff{"a":1}']
)
def test_broken_text_reads_as_none(text: str | bytes) -> None:
    assert READER.read(text) is None
    assert READER.read_tolerantly(text) is None
    assert elements(text) == ([] if text == "[]" else None)


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ('{"text":null,"number":null,"flag":null,"inner":null,"maybe":null,"several":null}', Shape(maybe=None)),
        ('{"text":5}', Shape(text="")),
        ('{"text":[]}', Shape(text="")),
        ('{"text":"\\ud800"}', Shape(text="\ud800")),
        ('{"text":NaN,"number":1.0,"flag":1}', Shape(text="")),
        ('{"number":true,"flag":"true"}', Shape()),
        ('{"text":NaN,"either":{"text":7}}', Shape(text="", either=Inner(""))),
        ('{"text":NaN,"either":7,"loose":7}', Shape(text="")),
        ('{"number":123456789012345678901234567890}', Shape(number=123456789012345678901234567890)),
        ('{"inner":[],"maybe":7,"several":{}}', Shape(maybe=None)),
        ('{"inner":{"text":7},"several":[7,{"text":"a"},{}]}', Shape(inner=Inner(""), several=[Inner(), Inner("a"), Inner()])),
        ('{"text":5,"text":"a","text":"b"}', Shape(text="b")),
        ('{"te\\u0078t":"a","x":NaN}', Shape(text="a")),
        ('{ "re-named" : "a" , "x" : [ NaN ] }', Shape(renamed="a")),
        ('{"x":-Infinity}', Shape()),
        ('{"number":-5,"text":NaN}', Shape(number=-5, text="")),
        (f'{{"number":{DIGITS},"text":"a"}}', Shape(text="a")),
        ('{"number":NaN,"text":"a"}', Shape(text="a")),
        (f'{{"x":{DIGITS},"text":NaN,"number":9007199254740993}}', Shape(text="", number=9007199254740993)),
        ("{ }", Shape()),
    ],
)
def test_a_field_of_the_wrong_type_keeps_its_default_beside_good_ones(spelled: str, expected: Shape) -> None:
    assert seen(READER.read(spelled)) == seen(expected)
    assert seen(READER.read_tolerantly(spelled)) == seen(expected)


@settings(deadline=None, max_examples=200)
@given(st.lists(texts(), max_size=4), st.sampled_from(["", " ", "\n\t\r "]), st.data())
def test_the_elements_of_an_array_are_its_exact_texts(parts: list[str], blank: str, data: st.DataObject) -> None:
    text = f"{blank}[{blank}" + f"{blank},{blank}".join(parts) + f"{blank}]{blank}"
    assert elements(text) == parts
    # A U+FEFF that begins a str is no JSON, and one that begins bytes is their byte order mark.
    assert elements(in_any_form(data.draw, text)) is not None


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["raw", "x", "text"]), texts()), max_size=4), st.sampled_from(["", " ", "\n\t\r "]))
def test_a_raw_field_is_its_exact_text(parts: list[tuple[str, str]], blank: str) -> None:
    text = f"{blank}{{{blank}" + ",".join(f'{blank}"{name}"{blank}:{blank}{part}{blank}' for name, part in parts) + f"}}{blank}"
    read = READER.read(text)
    assert read is not None
    assert bytes(read.raw) == encoded(dict(parts).get("raw", ""))


@given(st.text(st.characters(), max_size=10))
def test_encoded_text_means_the_same_and_is_utf8(text: str) -> None:
    spelled = json.dumps(text, ensure_ascii=False)
    assert json.loads(encoded(spelled).decode()) == json.loads(json.dumps(text))


def test_members_are_found_by_name_in_their_exact_texts() -> None:
    assert read_members('{"a": 1.0 ,"b":{ },"\\u0061":NaN}') == {"a": "NaN", "b": "{ }"}
    assert read_members(Raw(b'{"a":"\xff"}')) == {"a": '"\udcff"'}
    assert [read_members(text) for text in ("[]", "5", "{", "", Raw(b""))] == [None] * 5


def test_a_part_of_a_text_that_was_no_utf8_is_read_where_the_whole_is_not() -> None:
    text = b'{"text":"\xff","raw":"caf\xe9","loose":{"text":"a","raw":["\xff"]}}'
    assert READER.read(text) is None
    read = READER.read(Raw(text))
    assert read is not None
    assert isinstance(read.loose, Holder)
    assert (read.text, bytes(read.raw), bytes(read.loose.raw)) == ("\udcff", b'"caf\xe9"', b'["\xff"]')
    assert elements(Raw(b'["\xff",1]')) == ['"\udcff"', "1"]


def test_a_lone_surrogate_is_encoded_as_its_escape() -> None:
    assert encoded('"\ud800\xe9"') == b'"\\ud800\xc3\xa9"'


def emptied(value: Any) -> Any:
    """A value as ``outline`` leaves it: a string of over 1 024 bytes, quotes and all, is empty."""
    if isinstance(value, dict):
        return {emptied(name): emptied(part) for name, part in value.items()}
    if isinstance(value, list):
        return [emptied(part) for part in value]
    return "" if isinstance(value, str) and len(json.dumps(value, ensure_ascii=False).encode()) > 1_024 else value


lengths = st.sampled_from([0, 3, 1_000, 1_022, 1_023, LONG])
pieces = st.builds(
    lambda letter, length, end: letter * length + end, st.sampled_from("xA\n "), lengths, st.sampled_from(["", "\n", '"'])
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(pieces, st.one_of(pieces, st.lists(pieces, max_size=3), st.integers()), max_size=12), st.booleans())
@example({"id": "x" * LONG, "method": "tools/call"}, True)
@example({"text": "x" * LONG + "\\"}, True)
@example({"text": 'x" : "y' + "x" * LONG}, False)
def test_what_is_left_of_a_long_text_reads_as_the_whole_but_for_its_long_strings(value: dict[str, Any], as_bytes: bool) -> None:
    text = json.dumps(value, ensure_ascii=False)
    brief = outline(text.encode() if as_bytes else text)
    if brief is not None:
        assert type(brief) is (bytes if as_bytes else str)
        assert len(text) >= LONG
        assert json.loads(brief, object_pairs_hook=list) == json.loads(
            json.dumps(emptied(json.loads(text))), object_pairs_hook=list
        ) or len(emptied(value)) < len(value)  # two long names, both emptied


def test_a_long_text_of_few_strings_is_abridged() -> None:
    text = '{"id": 1, "result": {"data": "' + "x" * LONG + '", "mimeType": "image/png"}}\n'
    assert outline(text) == '{"id": 1, "result": {"data": "", "mimeType": "image/png"}}\n'
    assert outline(text.encode()) == b'{"id": 1, "result": {"data": "", "mimeType": "image/png"}}\n'


@pytest.mark.parametrize(
    "text",
    [
        '{"short": "' + "x" * 2_000 + '"}',
        '["' + "x" * LONG + '"]',
        '{"quoted": "\\"' + "x" * LONG + '"}',
        '{"unterminated": "' + "x" * LONG,
        '{"many": [' + '"xxxxxxxx", ' * (LONG // 8) + "0]}",
        ('{"wide": "' + "x" * LONG + '"}').encode("utf-16-le"),
        bytearray(b'{"mutable": "' + b"x" * LONG + b'"}'),
    ],
)
def test_what_would_not_pay_or_cannot_be_told_is_not_abridged(text: Any) -> None:
    assert outline(text) is None
