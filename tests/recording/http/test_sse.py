"""The reader of event streams against the algorithm of the standard, written down plainly."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_oplog._recording.http.holding import Budget, Hold
from trio_oplog._recording.http.sse import Event, EventParser

ROOMY = 1_000_000


def parse(pieces: list[bytes], limit: int = ROOMY) -> tuple[list[Event], EventParser, Budget]:
    budget = Budget(limit, ROOMY)
    parser = EventParser(Hold(budget))
    return [event for piece in pieces for event in parser.feed(piece)], parser, budget


def model(stream: bytes) -> tuple[list[tuple[str, str]], str]:
    """WHATWG HTML, 9.2.6: the events, each with its type, and the last event id."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines, line, at = [], "", 0
    while at < len(text):
        if text[at] in "\r\n":
            at += 2 if text[at : at + 2] == "\r\n" else 1
            lines.append(line)
            line = ""
        else:
            line += text[at]
            at += 1
    events: list[tuple[str, str]] = []
    data, kind, id_buffer, last_id = "", "", "", ""
    for line in lines:  # an unfinished one does not count
        if line == "":
            last_id = id_buffer
            if data != "":
                events.append((kind, data.removesuffix("\n")))
            data, kind = "", ""
        elif line.startswith(":"):
            pass
        else:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                kind = value
            elif field == "data":
                data += value + "\n"
            elif field == "id" and "\0" not in value:
                id_buffer = value
    return events, last_id


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at, turn = [], 0, 0
    while at < len(stream):
        pieces.append(stream[at : at + sizes[turn % len(sizes)]])
        at, turn = at + len(pieces[-1]), turn + 1
    return pieces


fragments = st.sampled_from(
    [
        *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"),
        *(b"data", b"data:", b"data: ", b"data:  x", b": ", b":", b"event: endpoint", b"event:", b"event", b"retry: 300"),
        *(
            b"id: e1",
            b"id",
            b"id:",
            b"id: a\0b",
            b"datas: y",
            b" data: z",
            b"\xef\xbb\xbf",
            b"\xff",
            b"\0",
            b"{}",
            b"h\xc3\xa4llo",
        ),
    ]
)
streams = st.lists(fragments, max_size=30).map(b"".join) | st.binary(max_size=60)
any_sizes = st.lists(st.integers(1, 7), min_size=1, max_size=4)


@given(streams, any_sizes)
@example(b"data: x\r\n\r\ndata: y\n\n", [8])
@example(b"data: x\rdata: y\n\n", [9])
@example(b"\xef\xbb\xbfdata: x\n\n", [1])
@example(b"\xef\xbb\xbf\n\xef\xbb\xbfdata: x\n\n", [1])
@example(b": a comment\ndata: x\n\n", [1])
@example(b"id: e1\n\nid\n\ndata:\n\n", [3])
@example(b"data\ndata\n\n", [1])
def test_any_stream_in_any_pieces_is_read_as_the_standard_says(stream: bytes, sizes: list[int]) -> None:
    events, last_id = model(stream)
    found, parser, budget = parse(cut(stream, sizes))
    assert [(event.type.decode("utf-8", "replace"), event.data.decode("utf-8", "replace")) for event in found] == events
    assert parser.has_id == (last_id != "")
    assert parser.passed_over == 0
    parser.release()
    assert budget.held == 0


def test_an_event_is_there_with_its_last_byte_also_after_a_carriage_return() -> None:
    found, _, _ = parse([b"data: x\r\n\r"])
    assert found == [Event(b"", b"x")]


@given(streams, any_sizes, st.integers(1, 20))
@example(b"data: 12345678\ndata: 1\n\ndata: x\n\n", [4], 8)
@example(b"data: x\ndata: 12345678\n\ndata: x\n\n", [100], 8)
@example(b"data: 1234567890\nid: e1\n\n", [3], 8)
@example(b"data: 1234567890\ndata: x\n\n", [100], 8)
@example(b": 12345678901234567890\ndata: x\n\n", [3], 8)
@example(b"event: 12345678901234567890\n\ndata: x\n\n", [5], 8)
def test_what_is_too_long_is_passed_over_and_nothing_else(stream: bytes, sizes: list[int], limit: int) -> None:
    events, _, _ = parse([stream])
    found, parser, budget = parse(cut(stream, sizes), limit)
    rest = iter(events)
    assert all(any(event == other for other in rest) for event in found)  # in their order, and no others
    assert len(events) - len(found) <= parser.passed_over
    assert budget.held <= limit


@pytest.mark.parametrize("size", [1 << 10, 1 << 16])
def test_an_event_of_any_length_holds_no_more_than_the_limit(size: int) -> None:
    budget = Budget(100_000, ROOMY)
    parser = EventParser(Hold(budget))
    parser.feed(b"data: x\n\ndata: ")
    piece = b"y" * size
    tracemalloc.start()
    try:
        for _ in range(16 * (1 << 20) // size):
            assert parser.feed(piece) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert parser.feed(b"\n\ndata: z\n\n") == [Event(b"", b"z")]
    assert (parser.passed_over, budget.held) == (1, 0)


def test_streams_share_one_budget() -> None:
    budget = Budget(100, 150)
    first, second = EventParser(Hold(budget)), EventParser(Hold(budget))
    first.feed(b"data: " + 80 * b"x")
    second.feed(b"data: " + 80 * b"y")
    assert budget.held == 86
    assert [event.data for event in first.feed(b"\n\n")] == [80 * b"x"]
    assert second.feed(b"\n\n") == []
    assert (first.passed_over, second.passed_over) == (0, 1)
    assert budget.held == 0


def test_what_resuming_a_stream_needs_is_known_with_each_event() -> None:
    _, parser, _ = parse([b"id: a\nretry: 250\ndata: 1\ndata: 2\ndata: 3\n"])
    assert (parser.has_id, parser.last_id, parser.retry_ms) == (False, b"", 250)
    for piece, last_id, retry_ms in (
        (b"\n", b"a", 250),
        (b"retry: soon\nretry: 1234567890\n\n", b"a", 250),
        (b"id: " + b"x" * 1_024 + b"\n\n", b"x" * 1_024, 250),
        (b"id: " + b"x" * 1_025 + b"\nretry: 0\n\n", b"", 0),
    ):
        parser.feed(piece)
        assert (parser.has_id, parser.last_id, parser.retry_ms) == (True, last_id, retry_ms)


def test_an_event_of_several_lines_is_one_text_and_one_that_has_no_room_is_none() -> None:
    events, parser, budget = parse(
        [b"data: 1\r", b"\ndata: 2\r\ndata: 3\n\n", b"data: 1234567890\ndata: 2\n\ndata: 4\n\n"], limit=12
    )
    assert events == [Event(b"", b"1\n2\n3"), Event(b"", b"4")]
    assert (parser.passed_over, budget.held) == (1, 0)
