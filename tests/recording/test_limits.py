"""Size limits: what of a peer's text is kept."""

from __future__ import annotations

import json
from hashlib import sha256

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.frames import shown, texts
from tests.watching import operation
from trio_oplog._json import encoded, is_json
from trio_oplog._operation import ArgumentsMeta, Outcome, ResultMeta, shrink
from trio_oplog._recording.limits import NAME_MAX_BYTES, cut, keep_arguments, name, optional_name

ANY_TEXT = st.text(st.characters(), max_size=30)


@given(ANY_TEXT, st.integers(0, 130))
@example("\ud83d\ude00", 4)
@example("\ud83d\ude00", 3)
@example("\udc00\ud800", 6)
@example("\ufeffx", 3)
@example("\ud800\ufeff", 100)
@example("x", 0)
def test_a_cut_is_the_longest_prefix_that_fits_with_size_and_digest_of_the_whole(text: str, limit: int) -> None:
    whole = shown(text)
    kept, size, digest = cut(text, limit)
    assert whole.startswith(kept)
    assert len(kept.encode()) <= limit
    if kept == whole:
        assert (size, digest) == (None, None)
    else:
        assert len(whole[: len(kept) + 1].encode()) > limit
        assert (size, digest) == (len(whole.encode()), sha256(whole.encode()).hexdigest())


@pytest.mark.parametrize(
    ("text", "limit", "kept", "size"),
    [
        ("", 0, "", None),
        ("abc", 3, "abc", None),
        ("abcd", 3, "abc", 4),
        ("\xe9\xe9", 4, "\xe9\xe9", None),
        ("\xe9\xe9", 3, "\xe9", 4),
        ("\u20ac", 2, "", 3),
        ("a\U0001f600", 5, "a\U0001f600", None),
        ("a\U0001f600", 4, "a", 5),
        ("a\ud800b", 5, "a\ufffdb", None),
        ("a\ud800b", 4, "a\ufffd", 5),
        ("a\ud800b", 3, "a", 5),
    ],
)
def test_text_is_cut_between_characters(text: str, limit: int, kept: str, size: int | None) -> None:
    assert cut(text, limit)[:2] == (kept, size)


def test_the_digest_of_a_cut_text_is_that_of_the_whole() -> None:
    assert cut("abc", 2)[2] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("letter", ["x", "\xe9", "\u20ac", "\U0001f600", "\ud800"])
def test_a_name_holds_1024_bytes_of_whole_characters(letter: str) -> None:
    assert NAME_MAX_BYTES == 1024
    fits = 1024 // len(shown(letter).encode())
    for count in (1, fits, fits + 1, 3_000):
        assert name(letter * count) == optional_name(letter * count) == shown(letter) * min(count, fits)


def test_an_empty_name_is_none_where_a_name_is_optional() -> None:
    assert optional_name("") is None
    assert optional_name(None) is None
    assert name("") == ""


def kept_as_digest(text: bytes) -> tuple[None, ArgumentsMeta]:
    return None, ArgumentsMeta(truncated=True, size_bytes=len(text), sha256=sha256(text).hexdigest())


@settings(deadline=None)
@given(texts(), st.integers(0, 60))
def test_arguments_are_kept_verbatim_exactly_when_they_fit_and_are_json(text: str, limit: int) -> None:
    data = encoded(text)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(data, parse_constant=refuse, parse_int=str)
        fits = len(data) <= limit
    except ValueError:
        fits = False
    assert keep_arguments(data, limit) == ((data, None) if fits else kept_as_digest(data))


DEEP = b"[" * 100_000 + b'"I"' + b"]" * 100_000


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b'{"I":"\\ud800","a":[NaN]}', DEEP])
def test_arguments_that_only_python_reads_are_kept_as_a_digest(text: bytes) -> None:
    assert keep_arguments(text, 1_000_000) == kept_as_digest(text)


@pytest.mark.parametrize(
    "text",
    [
        b'"NaN"',
        b'{"I":"\\ud800 N"}',
        b'{"N":' + b"7" * 5_000 + b"}",
        b'["\\ud800I",' + b"7" * 5_000 + b"]",
        b'"N\\u004e"',
        b"{ }",
    ],
)
def test_arguments_with_such_letters_in_strings_are_kept_verbatim(text: bytes) -> None:
    assert keep_arguments(text, len(text)) == (text, None)
    assert keep_arguments(text, len(text) - 1) == kept_as_digest(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"NaN",
        b'"\xff"',
        b'{"\xff":1}',
        b'["\\ud800",NaN]',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16-le"),
    ],
)
def test_what_is_not_one_json_text_in_utf8_is_no_json(text: bytes) -> None:
    assert not is_json(text)


def test_an_operation_shrinks_to_sizes_and_digests_of_its_payload() -> None:
    full = operation(arguments=b'{"a":1}', result_summary="caf\xe9", result_meta=ResultMeta(outcome=Outcome.TOOL_ERROR))
    assert shrink(full) == operation(
        arguments_meta=ArgumentsMeta(size_bytes=7, sha256=sha256(b'{"a":1}').hexdigest()),
        result_meta=ResultMeta(
            truncated=True, total_bytes=5, sha256=sha256("caf\xe9".encode()).hexdigest(), outcome=Outcome.TOOL_ERROR
        ),
    )


def test_an_operation_without_payload_does_not_shrink() -> None:
    bare = operation(arguments_meta=ArgumentsMeta(size_bytes=7, sha256="f" * 64), result_meta=ResultMeta(outcome=Outcome.FAILED))
    assert shrink(bare) is bare


def test_what_was_cut_before_keeps_its_size_and_digest_when_it_shrinks() -> None:
    meta = ResultMeta(truncated=True, total_bytes=9_000, sha256="f" * 64)
    assert shrink(operation(result_summary="x", result_meta=meta)) == operation(result_meta=meta)
    kept = ArgumentsMeta(size_bytes=7, sha256="e" * 64)
    assert shrink(operation(result_summary="x", arguments_meta=kept)).arguments_meta == kept


def test_text_that_utf8_cannot_hold_shrinks_all_the_same() -> None:
    shrunk = shrink(attrs.evolve(operation(), result_summary="\ud800"))
    assert shrunk.result_meta == ResultMeta(truncated=True, total_bytes=1, sha256=sha256(b"?").hexdigest())


@pytest.mark.parametrize("escape", [b"", rb'"\ud800",'])
def test_arguments_that_only_just_can_be_read_are_not_kept_because_a_list_of_records_is_deeper(escape: bytes) -> None:
    def nested(depth: int) -> bytes:
        return b"[" + escape + b"[" * depth + b"]" * depth + b"]"

    assert keep_arguments(nested(400), 65_536) == (nested(400), None)
    text = nested(10_000)
    assert keep_arguments(text, 65_536) == (None, ArgumentsMeta(size_bytes=len(text), sha256=sha256(text).hexdigest()))


def can_be_read(text: bytes) -> bool:
    try:
        json.loads(text)
    except RecursionError:
        return False
    return True


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"":', b"}"), (b'[{"":', b"}]")])
def test_short_arguments_can_be_too_deep_too(opening: bytes, closing: bytes) -> None:
    depth = 800 // len(closing)
    text = opening * depth + b"1" + closing * depth
    assert len(text) <= 4_096
    if can_be_read(b"[" * 300 + text + b"]" * 300):  # from Python 3.12 on: there it takes more than fits into short arguments
        assert keep_arguments(text, 65_536) == (text, None)
        return
    assert keep_arguments(text, 65_536) == (None, ArgumentsMeta(size_bytes=len(text), sha256=sha256(text).hexdigest()))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    text = b"[" + b"{}," * 5_000 + b"1]"
    assert keep_arguments(text, 65_536) == (text, None)
