"""Frames as no peer should send them: strategies for near-JSON, near-JSON-RPC and mutated recordings.

The grammar is functions from a draw to text, not strategies built of strategies: those print themselves at full length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.naive import SESSIONS, session
from trio_oplog._recording.dialects import FROM_CLIENT, FROM_SERVER

Text: TypeAlias = Callable[[DrawFn], str]

RECORDED = sorted({frame for path in SESSIONS for _, frame, _ in session(path) if isinstance(frame, str) and len(frame) < 3_000})

# Plain ones first, so that examples shrink to them.
STRINGS = [
    '"a"', '""', '"0"', '"1"', '"ws"', '"echo"', '"t\\u0031"', '"\\u0000"', '"\\n\\"\\\\"', '"\u2028"', '"\U0001f600"',
    '"\\ud83d\\ude00"', '"\\ud800"', '"\\udc00x"', '"\ud800"', '"x\udfff"', '"\ufeff"', '"' + "\xe9" * 600 + '"', '"NI"',
]  # fmt: skip
NUMBERS = [
    "0", "1", "-1", "-0", "2", "1.0", "10e-1", "0.1e1", "1e2", "1.5", "-2.5E+3", "9007199254740992", "9007199254740993",
    "18446744073709551616", "1" * 40, "7" * 4_300, "7" * 5_000, "1e400", "1e-400", "1e9999999999999999999", "0.0", "-0.0",
    "NaN", "Infinity", "-Infinity",
]  # fmt: skip
SCALARS = [*STRINGS, *NUMBERS, "null", "true", "false", "[]", "{}"]
BROKEN = ["nul", "'a'", "01", "1.", '"\\x"', '"\x01"', '"a\n"', "+1", "[1,]", '{"a" 1}', "{1:2}", '"', "", "\x00"]
STROKES = ['"', "\\", "{", "}", "[", "]", ",", ":", "1", "e", "\ud800", "\\ud800", "\x00", "\x1f", "NaN", "\ufeff", " ", ""]


def one_of(*texts: str) -> Text:
    choice = st.sampled_from(texts)
    return lambda draw: draw(choice)


blank = one_of(*[""] * 12, " ", "\n", "\t \r\n")
string = one_of(*STRINGS)
number = one_of(*NUMBERS)
scalar = one_of(*SCALARS)
request_id = one_of("1", '"1"', "0", '"a"', "1.0", '"\\u0061"', *SCALARS)
_kind = st.integers(0, 9)


def value(draw: DrawFn) -> str:
    kind = draw(_kind)
    if kind < 8:
        return scalar(draw)
    return array(value)(draw) if kind == 8 else members({"a": value, "": value, "text": value}, most=3)(draw)


def any_of(*texts: Text) -> Text:
    choice = st.sampled_from(texts)
    return lambda draw: draw(choice)(draw)


def often(common: Text) -> Text:
    """What belongs there, or now and then what does not."""
    return lambda draw: value(draw) if draw(_kind) == 9 else common(draw)


def array(part: Text, most: int = 3) -> Text:
    count = st.integers(0, most)
    return lambda draw: f"[{blank(draw)}{','.join([part(draw) + blank(draw) for _ in range(draw(count))])}]"


def members(texts: Mapping[str, Text], *, always: Sequence[str] = (), most: int = 6) -> Text:
    """Members in any order, some missing, some twice, their names spelled oddly."""
    optional = st.lists(st.sampled_from(sorted(texts)), max_size=most)

    def draw_members(draw: DrawFn) -> str:
        names = draw(optional)
        names += [name for name in always if name not in names]
        spelled = [f"\\u{ord(name[0]):04x}{name[1:]}" if name and draw(_kind) == 9 else name for name in names]
        parts = [f'"{name}"{blank(draw)}:{texts[key](draw)}' for name, key in zip(spelled, names, strict=True)]
        return f"{{{','.join(parts)}}}"

    return draw_members


arguments = often(members({"environment_id": often(string), "n": value}, most=3))
client_params = members(
    {
        "threadId": often(string),
        "thread_id": often(string),
        "server": often(string),
        "tool": often(string),
        "name": often(string),
        "arguments": arguments,
        "_meta": often(members({"agentserver_user_id": often(string), "threadId": often(string), "x": value}, most=3)),
    }
)
call = members(
    {
        "id": request_id,
        "method": often(one_of('"tools/call"', '"mcpServer/tool/call"', '"tools\\/call"')),
        "params": often(client_params),
    },
    always=["id", "method"],
    most=4,
)
other_client_message = members(
    {
        "id": request_id,
        "method": often(one_of('"notifications/cancelled"', '"initialize"', '"server/discover"', '"ping"')),
        "params": often(members({"requestId": request_id}, most=2)),
    },
    always=["method"],
    most=3,
)
block = members({"type": often(one_of('"text"', '"image"', '"inputText"')), "text": often(string)}, most=3)
server_info = often(members({"name": often(string)}, most=1))
result = members(
    {
        "content": often(array(often(block))),
        "isError": often(one_of("true", "false")),
        "resultType": one_of('"complete"', '"input_required"', "5"),
        "_meta": often(members({"io.modelcontextprotocol/serverInfo": server_info}, most=1)),
        "serverInfo": server_info,
    },
    most=4,
)
error = members({"code": often(number), "message": often(string)}, most=3)
answer = members(
    {
        "id": request_id,
        "result": often(result),
        "error": often(lambda draw: "null" if draw(_kind) < 5 else error(draw)),
        "method": one_of("null", '"x"', "5"),
    },
    always=["id", "result"],
    most=2,
)
item = members(
    {
        "type": often(one_of('"mcpToolCall"', '"commandExecution"', '"webSearch"', '"dynamicToolCall"', '"fileChange"')),
        "id": often(one_of('"a"', '"b"')),
        "status": often(one_of('"completed"', '"failed"', '"declined"', '"interrupted"', '"inProgress"')),
        "server": often(string),
        "tool": often(string),
        "arguments": arguments,
        "command": value,
        "result": often(result),
        "error": value,
        "exitCode": often(number),
        "durationMs": often(number),
        "startedAtMs": often(number),
        "success": value,
    },
    always=["type", "id"],
    most=6,
)
turn = often(one_of('"t"', '"u"'))
notification = members(
    {
        "method": often(one_of('"item/started"', '"item/completed"', '"turn/completed"')),
        "params": often(
            members(
                {"threadId": turn, "turnId": turn, "item": often(item), "turn": often(members({"id": turn}))}, always=["item"]
            )
        ),
    },
    always=["method", "params"],
    most=1,
)


# What is said of calls between their beginnings and their ends, with few ids, so that it meets calls.  Every name of every part
# of it may stand in any message: whoever reads one has to bear with the others' types.
short_id = often(one_of('"a"', '"b"', "1", "2"))
few_texts = often(array(often(members({"type": one_of('"content"', '"text"'), "content": often(block), "text": often(string)}))))
asks = often(members({"a": often(members({"method": one_of('"elicitation/create"', '"roots/list"')})), "b": value}, most=2))
task = members(
    {
        "taskId": short_id,
        "status": often(one_of('"working"', '"completed"', '"failed"', '"cancelled"', '"input_required"')),
        "statusMessage": often(string),
        "result": often(result),
        "error": value,
        "inputRequests": asks,
    },
    always=["taskId"],
)
tool_call = members(
    {
        "sessionUpdate": one_of('"tool_call"', '"tool_call_update"'),
        "toolCallId": short_id,
        "status": often(one_of('"completed"', '"failed"', '"pending"')),
        "content": few_texts,
        "rawInput": arguments,
        "rawOutput": value,
        "kind": often(string),
        "title": often(string),
        "_meta": often(members({"toolName": often(string), "claudeCode": often(members({"toolName": often(string)}))})),
    },
    always=["sessionUpdate", "toolCallId"],
)
about = {
    "threadId": turn,
    "conversationId": turn,
    "turnId": turn,
    "itemId": short_id,
    "callId": short_id,
    "targetItemId": short_id,
    "reviewId": short_id,
    "requestId": request_id,
    "sessionId": turn,
    "taskId": short_id,
    "serverName": often(string),
    "processHandle": short_id,
    "kind": one_of('"writeStdin"', "5"),
    "reason": often(string),
    "turn": often(members({"id": turn})),
    "item": often(item),
    "update": often(tool_call),
    "toolCall": often(tool_call),
    "toolCallId": short_id,
    "options": often(array(often(members({"optionId": short_id, "kind": often(one_of('"reject_once"', '"allow_once"'))})))),
    "review": often(members({"status": often(string), "rationale": often(string), "riskLevel": often(string)})),
    "action": often(members({"type": one_of('"writeStdin"', "5")})),
    "run": often(
        members(
            {
                "id": often(one_of('"x:a"', '"b"', '"x:"')),
                "eventName": often(one_of('"permissionRequest"', '"postToolUse"', '"preToolUse"')),
                "status": often(one_of('"completed"', '"blocked"')),
                "entries": often(array(often(members({"text": often(string)})))),
            },
            always=["id"],
        )
    ),
    "exitCode": often(number),
    "stdout": often(string),
    "_meta": often(
        members(
            {
                "codex_approval_kind": often(string),
                "tool_name": often(string),
                "tool_params": arguments,
                "io.modelcontextprotocol/related-task": often(members({"taskId": short_id})),
                "traceparent": often(one_of(f'"00-{"a" * 32}-{"b" * 16}-01"')),
                "io.modelcontextprotocol/clientInfo": server_info,
            },
            most=3,
        )
    ),
    "clientInfo": server_info,
    "inputResponses": often(members({"a": often(members({"action": often(string)})), "b": value}, most=2)),
    "requestState": often(one_of('"s"', "1")),
    "status": often(one_of('"completed"', '"failed"', '"cancelled"')),
    "statusMessage": often(string),
    "result": often(result),
    "inputRequests": asks,
    "command": value,
    "name": often(string),
    "arguments": arguments,
}
most_about = often(members(about, most=9))


def spelled(methods: Iterable[str]) -> Text:
    return one_of(*map(json.dumps, sorted(methods)))


any_request = members(
    {"id": request_id, "method": spelled(FROM_CLIENT), "params": most_about, "trace": value}, always=["id", "method", "params"]
)
any_news = members({"id": request_id, "method": spelled(FROM_SERVER), "params": most_about}, always=["method", "params"], most=2)
any_result = members(
    {
        "content": often(any_of(array(often(block)), block, string)),
        "structuredContent": value,
        "toolResult": value,
        "isError": often(one_of("true", '"TRUE"')),
        "resultType": one_of('"task"', '"input_required"', "5"),
        "task": often(task),
        "taskId": short_id,
        "status": often(one_of('"working"', '"completed"')),
        "inputRequests": asks,
        "requestState": often(one_of('"s"', "1", "null")),
        "exitCode": often(number),
        "contents": often(array(often(block))),
        "userAgent": often(one_of('"x/1.2 (y)"', '"x"')),
        "agentInfo": server_info,
        "protocolVersion": often(number),
    }
)
any_response = members(
    {"id": request_id, "result": often(any_of(any_result, any_result, string)), "error": value}, always=["id"], most=2
)
any_reply = members(
    {
        "id": request_id,
        "result": often(
            members(
                {
                    "action": often(string),
                    "decision": often(any_of(string, members({"a": value, "b": value}, most=2))),
                    "permissions": often(one_of("{}", '{"a":1}')),
                    "scope": often(string),
                    "outcome": often(members({"outcome": often(one_of('"selected"')), "optionId": short_id})),
                    "_meta": often(members({"persist": often(string)})),
                }
            )
        ),
        "error": value,
    },
    always=["id", "result"],
    most=2,
)


def batched(message: Text) -> Text:
    batch = array(any_of(message, message, value), most=4)
    return lambda draw: batch(draw) if draw(_kind) > 7 else message(draw)


def spliced(text: Text) -> Text:
    """A text with a stroke of bad luck or two."""
    strokes = st.integers(0, 2)
    stroke = one_of(*STROKES)
    length = st.sampled_from([0, 1, 2, 5, 40])

    def draw_spliced(draw: DrawFn) -> str:
        whole = text(draw)
        for _ in range(draw(strokes)):
            at = draw(st.integers(0, len(whole)))
            whole = whole[:at] + stroke(draw) + whole[at + draw(length) :]
        return whole

    return draw_spliced


AnyFrame: TypeAlias = str | bytes | bytearray | memoryview
_ENCODINGS = st.sampled_from(
    ["", "", "", "", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16", "utf-32-be", "utf-32"]
)
_FORMS = st.sampled_from([bytes, bytearray, memoryview])


def in_any_form(draw: DrawFn, text: str) -> AnyFrame:
    """Text in every form that a transport may hand over, in every encoding that ``json`` knows."""
    encoding = draw(_ENCODINGS)
    return draw(_FORMS)(text.encode(encoding, "surrogatepass")) if encoding else text


def frames_of(text: Text) -> SearchStrategy[AnyFrame]:
    @st.composite
    def near_json(draw: DrawFn) -> AnyFrame:
        return in_any_form(draw, text(draw))

    return near_json()


deep = any_of(*[one_of(opening * depth) for opening in ("[", '{"params":', '[{"id":') for depth in (50, 990, 100_000)])
recording = one_of(*RECORDED)

texts = st.composite(any_of(value, array(value)))
"""JSON as Python reads it."""
client_frames = frames_of(batched(any_of(call, call, call, other_client_message)))
server_frames = frames_of(batched(any_of(answer, notification)))
client_frames_of_any_method = frames_of(batched(any_of(any_request, any_request, any_reply)))
server_frames_of_any_method = frames_of(batched(any_of(any_news, any_news, any_response)))
hostile_frames = st.one_of(
    st.binary(max_size=40),
    frames_of(spliced(recording)),
    frames_of(any_of(spliced(batched(any_of(call, answer, notification, other_client_message))), one_of(*BROKEN), deep, value)),
)
"""Anything at all."""


def plain(frame: AnyFrame, **reading: Any) -> list[dict[str, Any]] | None:
    """What Python's ``json`` makes of a frame; ``None`` when it makes nothing of it."""
    try:
        read = json.loads(frame if isinstance(frame, str) else bytes(frame), **reading)
    except (ValueError, RecursionError):
        return None
    return [message for message in (read if isinstance(read, list) else [read]) if isinstance(message, dict)]


def shown(text: str) -> str:
    """Text as a record can hold it: halves of characters that stand together joined, those that stand alone as U+FFFD."""
    joined = re.sub(
        "[\ud800-\udbff][\udc00-\udfff]", lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text
    )
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)
