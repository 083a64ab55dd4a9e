"""The tap: what one frame costs the gateway, against ``json.loads`` of the same frame, which any tap must outdo.

Frames are shaped like the recorded ones.  Their text is prose and code with quotes, line breaks and now and then a character
beyond ASCII, as in real traffic; "one long word" is the opposite, the case that ``json`` is best at.
"""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import Row, best_of_turns, microseconds, show
from trio_oplog import Config, Interceptor, Operation

SIZES = {"170 B": 170, "1 KiB": 1024, "16 KiB": 16 * 1024, "256 KiB": 256 * 1024}
RECORDED = Path(__file__).parents[1] / "tests" / "captures" / "mcp" / "py2_demo_modern.jsonl"
THREAD = "01a2024b-6026-70d1-b7e5-cbe64fe0db82"
PROSE = 'The quick brown fox said "hello" again.\n    return table[key] + 2  # see there\n'
CONFIG = Config(source="sdk", workspace_id="ws-1")


class Nowhere:
    """A Submitter that takes everything and does nothing."""

    def submit(self, operation: Operation) -> None:
        """Take it."""


def fill(size: int, make: Callable[[str], object], prose: str = PROSE) -> str:
    """A frame of about a size in bytes, around as much text as it takes."""
    empty = len(json.dumps(make(""), ensure_ascii=False, separators=(",", ":")).encode())
    text, each = "", len(json.dumps(prose, ensure_ascii=False).encode()) - 2
    text = prose * ((size - empty) // each) if size > empty else ""
    missing = size - len(json.dumps(make(text), ensure_ascii=False, separators=(",", ":")).encode())
    return json.dumps(make(text + "x" * max(missing, 0)), ensure_ascii=False, separators=(",", ":"))


def delta(text: str) -> object:
    """Server to client: the most frequent notification of all."""
    params = {"threadId": THREAD, "turnId": "t", "itemId": "i", "delta": text}
    return {"method": "item/agentMessage/delta", "params": params, "emittedAtMs": 1795334825801}


def turn(text: str) -> object:
    """Client to server: a prompt."""
    return {"method": "turn/start", "id": 5, "params": {"threadId": THREAD, "input": [{"type": "text", "text": text}]}}


def call(text: str) -> object:
    """A tool call."""
    params = {"threadId": THREAD, "server": "demo", "tool": "echo", "arguments": {"text": text}}
    return {"method": "mcpServer/tool/call", "id": 7, "params": params}


def answer(text: str) -> object:
    """Its answer."""
    return {"id": 7, "result": {"content": [{"type": "text", "text": text}], "isError": False}}


def as_text_and_bytes(frame: str) -> Iterator[tuple[str, str | bytes]]:
    """Both forms in which a transport hands frames over."""
    yield "str", frame
    yield "bytes", frame.encode()


def irrelevant() -> list[Row]:
    """(a) One frame that is none of the log's business."""
    rows = []
    interceptor = Interceptor(Nowhere(), CONFIG)
    ways = {
        "server to client": (delta, interceptor.on_server_frame),
        "client to server": (turn, interceptor.on_client_frame),
    }
    for way, (make, show_frame) in ways.items():
        for size, count in SIZES.items():
            for form, frame in as_text_and_bytes(fill(count, make)):
                ours, theirs = best_of_turns(partial(show_frame, frame), partial(json.loads, frame))
                bound = "<= 0.5" if count < 1024 else "<= 0.33"
                rows.append(Row(f"{way}, {size}, {form}", microseconds(ours), microseconds(theirs), ours / theirs, bound))
    for form, frame in as_text_and_bytes(fill(256 * 1024, delta, "x")):
        ours, theirs = best_of_turns(partial(interceptor.on_server_frame, frame), partial(json.loads, frame))
        rows.append(Row(f"one long word, 256 KiB, {form}", microseconds(ours), microseconds(theirs), ours / theirs))
    return rows


def recorded() -> tuple[str, str]:
    """The first call of a recorded session of today's MCP, and its answer: 317 and 194 bytes."""
    lines = RECORDED.read_text().split("\n")
    frames = [json.loads(line)["frame"] for line in lines if line]
    request = next(frame for frame in frames if '"tools/call"' in frame)
    response = next(frame for frame in frames if "result" in frame and f'"id":{json.loads(request)["id"]},' in frame)
    return request, response


def pairs() -> list[Row]:
    """(b) A call and its answer, from the first frame to the Operation."""
    rows = []
    frames = {"recorded, small": recorded()} | {
        f"{size} each": (fill(count, call), fill(count, answer)) for size, count in SIZES.items()
    }
    bounds = {"recorded, small": "<= 1.6", "170 B each": "<= 1.6"}
    for size, (request_text, response_text) in frames.items():
        forms = zip(as_text_and_bytes(request_text), as_text_and_bytes(response_text), strict=True)
        for (form, request), (_, response) in forms:
            interceptor = Interceptor(Nowhere(), CONFIG)

            def ours(tap: Interceptor = interceptor, request: str | bytes = request, response: str | bytes = response) -> None:
                tap.on_client_frame(request)
                tap.on_server_frame(response)

            def theirs(request: str | bytes = request, response: str | bytes = response) -> None:
                json.loads(request)
                json.loads(response)

            seconds, baseline = best_of_turns(ours, theirs)
            name = f"call and answer, {size}, {form}"
            bound = bounds.get(size, "<= 1.3")
            rows.append(Row(name, microseconds(seconds), microseconds(baseline), seconds / baseline, bound))
    return rows


def memory() -> list[Row]:
    """(e) What 1 000 open calls hold, against the bytes of their frames."""
    rows = []
    bounds = {"64 KiB": "", "1 MiB": "<= 0.008"}
    for size, count in {"64 KiB": 64 * 1024, "1 MiB": 1024 * 1024}.items():
        gc.collect()
        tracemalloc.start()
        interceptor = Interceptor(Nowhere(), CONFIG)
        shown = 0
        for number in range(1000):
            arguments = json.dumps({"text": "x" * (count - 12)})
            frame = f'{{"method":"tools/call","id":{number},"params":{{"name":"t","arguments":{arguments}}}}}'.encode()
            shown += len(frame)
            interceptor.on_client_frame(frame)
        del frame, arguments
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        name = f"1 000 open calls with {size} of arguments"
        rows.append(Row(name, f"{held / 2**20:,.2f} MiB held", f"{shown / 2**20:,.0f} MiB shown", held / shown, bounds[size]))
    return rows


def run() -> bool:
    """Print the tables of the tap."""
    kept = show("(a) An irrelevant frame, against json.loads of it", irrelevant())
    kept &= show("(b) A call and its answer, against json.loads of both frames", pairs())
    kept &= show("(e) Memory held by open calls, against the frames shown (arguments up to 64 KiB are kept)", memory())
    return kept
