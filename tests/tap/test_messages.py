"""Messages are put together beside the traffic, however it is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_oplog._tap import Assembler, Message, json_texts
from trio_oplog._tap.lists import ListSieve

LIST = b'{"jsonrpc":"2.0","id":7,"method":"operations/list"}'


def framed(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def cut(text: bytes, cuts: list[int]) -> list[bytes]:
    pieces = []
    for size in cuts:
        pieces.append(text[:size])
        text = text[size:]
    return [piece for piece in (*pieces, text) if piece]


def assembled(chunks: list[bytes], max_size: int = 1_000, **options: Any) -> list[tuple[bytes | None, bool]]:
    assembler = Assembler(max_size, **options)
    found = [message for chunk in chunks for message in assembler.feed(chunk)]
    found += assembler.finish()
    assert assembler.at_boundary
    return [(message.data, message.framed) for message in found]


lines = st.binary(max_size=12).filter(lambda line: b"\n" not in line and not line.lower().startswith(b"content-"))
messages = st.one_of(
    lines.map(lambda line: (line + b"\n", line + b"\n", False)), st.binary(max_size=12).map(lambda b: (framed(b), b, True))
)


@given(sent=st.lists(messages, max_size=6), tail=lines, cuts=st.lists(st.integers(1, 20), max_size=30))
def test_any_chunking_gives_the_same_messages(sent: list[tuple[bytes, bytes, bool]], tail: bytes, cuts: list[int]) -> None:
    expected: list[tuple[bytes | None, bool]] = [(data, is_framed) for _, data, is_framed in sent]
    if tail:
        expected.append((tail, False))
    assert assembled(cut(b"".join(raw for raw, _, _ in sent) + tail, cuts)) == expected


@given(
    text=st.lists(st.sampled_from([b"Content-Length: 3", b"content-type:x", b"\r\n", b"\n", b"abc", b":", b"{"]), max_size=12),
    cuts=st.lists(st.integers(1, 9)),
)
@example(text=[b"Content-Length: 3", b"\n", b"\n", b"ab"], cuts=[])
@example(text=[b"content-type:x", b"\n", b"abc", b"\n"], cuts=[])
def test_no_byte_of_a_body_or_a_line_is_lost_or_held_for_ever(text: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(text)
    found = assembled(cut(whole, cuts))
    assert found == assembled([whole] if whole else [])
    position = 0
    for data, _ in found:
        assert data is not None
        position = whole.index(data, position) + len(data)


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (b"content-type: a\r\nCONTENT-LENGTH : 2\r\n\r\n{}\n", [(b"{}", True), (b"\n", False)]),
        (b"Content-Length: 2\n\n{}", [(b"{}", True)]),
        (b"Content-Length: 0\r\n\r\n{}\n", [(b"", True), (b"{}\n", False)]),
        (b"Content-Length: 9\r\n\r\n{}\n", [(b"{}\n", True)]),
        (b"Content-Length: 2\n{}\n", [(b"Content-Length: 2\n", False), (b"{}\n", False)]),
        (b"Content-Type: x\n\n{}\n", [(b"Content-Type: x\n", False), (b"\n", False), (b"{}\n", False)]),
        (b"Content-Length: -2\n\n", [(b"Content-Length: -2\n", False), (b"\n", False)]),
        (b"Content-Length: 99999999\n\n{}\n", [(b"Content-Length: 99999999\n", False), (b"\n", False), (b"{}\n", False)]),
        (b"Content-Length: 2\nContent-Length:", [(b"Content-Length: 2\n", False), (b"Content-Length:", False)]),
        (b"content-of a file\n{}\n", [(b"content-of a file\n", False), (b"{}\n", False)]),
    ],
)
def test_a_block_of_headers_is_one_only_when_it_is_whole(stream: bytes, found: list[tuple[bytes, bool]]) -> None:
    assert assembled([stream]) == found
    assert assembled([stream[at : at + 1] for at in range(len(stream))]) == found


def test_where_there_are_only_lines_a_header_is_one() -> None:
    assert assembled([framed(b"{}")], framing=False) == [(b"Content-Length: 2\r\n", False), (b"\r\n", False), (b"{}", False)]


@given(sizes=st.lists(st.integers(0, 3_000), max_size=8), cuts=st.lists(st.integers(1, 2_000), max_size=20))
@example(sizes=[3_000], cuts=[1_500])
def test_memory_is_bounded_and_what_is_too_long_is_noticed(sizes: list[int], cuts: list[int]) -> None:
    assembler = Assembler(1_000, framing=False)
    found: list[Message] = []
    for chunk in cut(b"".join(b"x" * size + b"\n" for size in sizes), cuts):
        found += assembler.feed(chunk)
        assert len(assembler._held) <= 1_000
    assert [message.data for message in found] == [b"x" * size + b"\n" if size < 1_000 else None for size in sizes]


def test_a_body_that_is_too_long_is_noticed_and_what_follows_is_read() -> None:
    assembler = Assembler(10)
    assert assembler.feed(framed(b"x" * 5_000) + b"{}\n")[0].data is None
    assert assembled([framed(b"x" * 5_000) + b"{}\n"], 10) == [(None, True), (b"{}\n", False)]


def test_a_line_that_is_too_long_is_noticed_before_it_ends() -> None:
    assembler = Assembler(4, framing=False)
    assert assembler.feed(b"12345") == []
    assert assembler.is_too_long
    assert [message.data for message in assembler.finish()] == [None]


def test_headers_that_never_end_are_lines() -> None:
    header = b"content-x: " + b"y" * 2_000 + b"\n"
    assert assembled([header * 3], 10_000) == [(header, False)] * 3


# JSON texts


@pytest.mark.parametrize(
    ("message", "texts"),
    [
        ("", [""]),
        ("no json", ["no json"]),
        ('{"a":"}{"}', ['{"a":"}{"}']),
        ('{"a":1}\n', ['{"a":1}\n']),
        ('{"a":1}\n{"b":\n2}', ['{"a":1}', '{"b":\n2}']),
        (' {"a":1}{"b":2} [3]\n', ['{"a":1}', '{"b":2}', "[3]"]),
        ('{"a":1}\nno json\n\n{"b":2}', ['{"a":1}', "no json", '{"b":2}']),
        ("1" * 5_000 + "\n2", ["1" * 5_000, "2"]),
        ("[" * 100_000 + "\n", ["[" * 100_000 + "\n"]),
        ("[\n" * 100_000, ["["] * 100_000),
    ],
)
def test_the_texts_of_a_message(message: str, texts: list[str]) -> None:
    assert json_texts(message) == texts
    assert json_texts(message.encode()) == [text.encode() for text in texts]


def test_what_is_no_text_is_taken_line_by_line() -> None:
    assert json_texts(b'{"a":"\xff"}\n\n{}') == [b'{"a":"\xff"}', b"{}"]


@given(
    values=st.lists(
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=3), min_size=1, max_size=4
    ),
    indent=st.sampled_from([None, 1]),
    between=st.sampled_from(["", "\n", " ", "\r\n"]),
)
def test_every_sequence_of_json_texts_is_taken_apart(values: list[dict[str, Any]], indent: int | None, between: str) -> None:
    message = between.join(json.dumps(value, indent=indent) for value in values)
    assert [json.loads(text) for text in json_texts(message)] == values


# operations/list


@pytest.mark.parametrize(
    "request_",
    [
        LIST,
        LIST.replace(b"/", b"\\/"),
        LIST.replace(b"oper", b"\\u006fper"),
        LIST.replace(b"7", b'"a"'),
        LIST.replace(b"7", b"1.5"),
    ],
)
@pytest.mark.parametrize("as_sent", [lambda text: text + b"\n", framed])
def test_a_request_is_taken_out_and_everything_else_passes(request_: bytes, as_sent: Any) -> None:
    sieve = ListSieve()
    before, after = as_sent(b'{"id":1,"method":"a"}'), as_sent(b'{"id":2,"method":"b"}')
    passing, [taken] = sieve.feed(before + as_sent(request_) + after)
    assert passing == before + after
    assert json.loads(taken.id) == json.loads(request_)["id"]
    assert taken.framed == (as_sent is framed)
    assert sieve.feed(b"more\n") == (b"more\n", [])


@pytest.mark.parametrize(
    "line",
    [
        b"operations/list",
        b'{"method":"operations/list"}',
        b'{"id":null,"method":"operations/list"}',
        b'{"id":true,"method":"operations/list"}',
        b'{"id":[],"method":"operations/list"}',
        b'[{"id":1,"method":"operations/list"}]',
        b'{"id":1,"method":"tools/call","params":{"name":"operations/list"}}',
        b'{"id":1,"method":"operations/list","params":' + b"[" * 30_000,
        LIST[:-1] + b',"params":"' + b"x" * 70_000 + b'"}',
    ],
)
def test_what_is_no_such_request_passes(line: bytes) -> None:
    assert ListSieve().feed(line + b"\n") == (line + b"\n", [])


def test_the_beginning_of_what_may_become_one_is_held_until_it_is_known() -> None:
    sieve = ListSieve()
    assert sieve.feed(b"one\n" + LIST[:20]) == (b"one\n", [])
    assert sieve.held == LIST[:20]
    passing, [taken] = sieve.feed(LIST[20:] + b"\n")
    assert (passing, taken.data, sieve.held) == (b"", LIST + b"\n", b"")
    assert sieve.feed(LIST[:40]) == (b"", [])
    assert sieve.feed(b"no more\n") == (LIST[:40] + b"no more\n", [])
    assert sieve.feed(rb'{"id":1,"method":"\u') == (b"", [])
    assert sieve.feed(b'x"}\n') == (rb'{"id":1,"method":"\ux"}' + b"\n", [])
    assert sieve.feed(b'{"id":1,"method":"tools/') == (b'{"id":1,"method":"tools/', [])
    assert sieve.feed(LIST + b"\n") == (LIST + b"\n", [])


def test_what_was_released_is_the_servers_to_answer() -> None:
    sieve = ListSieve()
    sieve.feed(LIST[:20])
    assert sieve.release() == LIST[:20]
    assert sieve.release() == b""
    assert sieve.feed(LIST[20:] + b"\n") == (LIST[20:] + b"\n", [])
    passing, [_] = sieve.feed(LIST + b"\n")
    assert passing == b""


def test_a_request_without_a_newline_is_known_at_the_end() -> None:
    sieve = ListSieve()
    sieve.feed(LIST)
    passing, [taken] = sieve.finish()
    assert (passing, taken.data) == (b"", LIST)
    sieve.feed(LIST[:-1])
    assert sieve.finish() == (LIST[:-1], [])


@given(
    sent=st.lists(st.sampled_from([b"x\n", b'{"id":1}\n', LIST + b"\n", framed(b"{}"), framed(LIST), b'{"a"']), max_size=6),
    cuts=st.lists(st.integers(1, 60), max_size=20),
)
@example(sent=[b'{"a"', framed(LIST)], cuts=[])
def test_bytes_out_are_bytes_in_but_for_whole_requests(sent: list[bytes], cuts: list[int]) -> None:
    sieve = ListSieve()
    out, taken = b"", 0
    for chunk in cut(b"".join(sent), cuts):
        passing, requests = sieve.feed(chunk)
        out, taken = out + passing, taken + len(requests)
        assert len(sieve.held) <= 4_096
    passing, requests = sieve.finish()
    out, taken = out + passing, taken + len(requests)
    whole = b"".join(sent)

    # What is left when the requests are taken out of both is the same.
    def without(text: bytes) -> bytes:
        header = framed(LIST).removesuffix(LIST)  # is a line where it does not begin one
        return text.replace(LIST + b"\n", b"").replace(LIST, b"").replace(header, b"")

    assert without(out) == without(whole)
