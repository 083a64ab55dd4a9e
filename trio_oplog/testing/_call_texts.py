"""What direct calls may say: their ids, names and arguments, each text beside what it means."""

from __future__ import annotations

import json
from typing import Any, Final

from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._context_texts import TRACED, call_meta, some_trace
from trio_oplog.testing._facts import Arguments, CallFacts
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature

LONG: Final = "x" * 1023
DEPTH: Final = 150

PLAIN_IDS: Final = tuple(SpelledId(text) for text in ("1", "2", "3", "4", "5", '"a"', '"b"', "0"))
HOSTILE_IDS: Final = tuple(
    SpelledId(text)
    for text in (
        *("1", "2", "0", '"1"', '"0"', '""', "-1", "100", "1.5", "9007199254740992", "9007199254740993"),
        *('"9007199254740993"', "18446744073709551617", "123456789012345678901234567890", "1e300"),
        *('"\\ud800"', '"\\udfff"', '"\\u0000"', quoted("ключ"), quoted(LONG + "é"), '"null"', '"1.5"'),
    )
)
ALIKE_IDS: Final = (
    ("1", '"1"'),
    ("9007199254740992", "9007199254740993"),
    ("0", '"0"'),
    ("-9007199254740993", "-9007199254740992"),
    ("18446744073709551616", "18446744073709551617"),
    ("1.5", '"1.5"'),
)
# The same value, spelled in another way: some servers parse an id and print it again.
_RESPELLED: Final = {"1": "1.0", "100": "1e2", "0": "0.0", '"a"': '"\\u0061"', '"1"': '"\\u0031"', "1.5": "15e-1"}

_TOOLS: Final = ("echo", "read_file", None, "5", "naïve 😀", "😀\ud800", LONG + "é", "a\x00b")


def respelled(spelled: SpelledId, choices: ChoiceSource) -> str:
    """How the other side may echo the id."""
    return _RESPELLED.get(spelled.text, spelled.text) if choices.chance(4) else spelled.text


def request_text(
    session: SessionBuilder, choices: ChoiceSource, method: str, spelled: SpelledId, params: str | None, trace: str | None = None
) -> str:
    """The text of a request, in one of the orders in which peers write its members."""
    members: list[tuple[str, str | None]] = [("method", quoted(method)), ("id", spelled.text), ("params", params)]
    order = choices.number(8)
    if order in {1, 4}:
        members.insert(0, ("jsonrpc", '"2.0"'))
    elif order == 2:
        members.reverse()
    elif order == 3 and session.hostile:
        members.insert(0, ("method", '"ping"'))  # the last one counts
    elif order == 5 and session.hostile:
        members.append(("error", "null"))
    elif order == 6 and trace is None:
        members.append(("trace", '{"method":"tools/list","id":[]}'))
    if trace is not None:
        members.append(("trace", trace))
    return an_object(members, session.gap)


def some_call(session: SessionBuilder, choices: ChoiceSource, dialect: Feature, spelled: SpelledId) -> tuple[str, CallFacts]:
    """A direct call: the text of its request, and what it says."""
    raw_arguments, arguments = some_arguments(session, choices)
    plain = session.hostile is False
    tool = choices.pick(_TOOLS[:2] if plain else _TOOLS)
    threads, thread_id = _some_thread(choices, dialect)
    meta, said = _some_meta(session, choices, dialect)
    trace = None
    if dialect is Feature.CODEX and choices.chance(6):
        traceparent, traced = some_trace(choices)
        # Whether what ``_meta`` says counts where this is malformed, the rules leave open.
        said = {name: value for name, value in said.items() if name not in TRACED} | traced
        meta = meta if traced else None
        said = said if traced else {}
        trace = an_object([("traceparent", traceparent)], session.gap)
    members: list[tuple[str, str | None]] = [*threads]
    server = None
    if dialect is Feature.CODEX:
        server = choices.pick(("demo", "demo", None, "srv-é"))
        members.append(("server", _text(session, server)))
    shown_tool = {"5": "5", None: None}.get(tool, _text(session, tool))
    members += [("tool" if dialect is Feature.CODEX else "name", shown_tool), ("arguments", raw_arguments), ("_meta", meta)]
    named = tool not in {None, "5"}
    if tool is not None and "\ud800" in tool:
        session.features.add(Feature.LONE_SURROGATE)
    meta_thread = said.pop("thread_id", None)
    facts = CallFacts(
        source=session.config.source,
        tool=str(tool) if named else "unknown",
        request_id=spelled.as_text,
        thread_id=thread_id or meta_thread,
        server=server,
        arguments=arguments,
        **said,
    )
    params = an_object(members, session.gap)
    if not plain and choices.chance(24):
        params, facts = _without_params(choices, facts)
        trace = None
    method = "mcpServer/tool/call" if dialect is Feature.CODEX else "tools/call"
    return request_text(session, choices, method, spelled, params, trace), facts


def _without_params(choices: ChoiceSource, facts: CallFacts) -> tuple[str, CallFacts]:
    """Params of a wrong type count as missing."""
    params = choices.pick(("null", "[]", '"text"', "5"))
    return params, CallFacts(source=facts.source, tool="unknown", request_id=facts.request_id)


def _text(session: SessionBuilder, text: str | None) -> str | None:
    return None if text is None else quoted(text, escaped=session.escaped)


def _some_thread(choices: ChoiceSource, dialect: Feature) -> tuple[tuple[tuple[str, str], ...], str | None]:
    options: tuple[tuple[tuple[tuple[str, str], ...], str | None], ...] = (
        ((("threadId", '"t1"'),), "t1"),
        ((("thread_id", '"t2"'),), "t2"),
        ((), None),
        ((("threadId", '"t1"'), ("thread_id", '"t2"')), "t1"),
        ((("threadId", "7"), ("thread_id", '"t2"')), "t2"),
        ((("threadId", "null"),), None),
    )
    # MCP knows no thread of its own: leave room for the one in _meta.
    return ((), None) if dialect is Feature.MCP and choices.number(3) < 2 else choices.pick(options)


def _some_meta(session: SessionBuilder, choices: ChoiceSource, dialect: Feature) -> tuple[str | None, dict[str, Any]]:
    """The ``_meta``, and what it says."""
    kind = choices.number(8)
    if kind == 1:
        return '{"agentserver_user_id":"alice"}', {"user_id": "alice"}
    if kind == 2 and dialect is Feature.MCP:
        return '{"threadId":"t3","progressToken":1}', {"thread_id": "t3"}
    if kind == 3 and session.hostile:
        return choices.pick(("[]", "null", "5", '{"agentserver_user_id":5,"threadId":[]}')), {}
    if kind == 4:
        traceparent, said = some_trace(choices)
        return an_object([("progressToken", "2"), ("traceparent", traceparent)], session.gap), dict(said)
    if kind == 5 and dialect is Feature.MCP:
        members, said = call_meta(choices)
        return an_object(members, session.gap), said
    return None, {}


def some_arguments(session: SessionBuilder, choices: ChoiceSource) -> tuple[str | None, Arguments]:
    """Arguments: their text on the wire (``None``: none at all), and what they are."""
    limit = session.config.args_max_bytes
    plain: tuple[tuple[str | None, str | None], ...] = (
        ('{"text":"hello"}', None),
        ('{"path":"/tmp/x","depth":2}', None),
        (None, None),
        ("null", None),
        ("{}", None),
        ('{"environment_id":"env-7"}', "env-7"),
        (_long('{"blob":"', limit + 1, '"}'), None),
        (_long('{"edge":"', limit, '"}'), None),
    )
    if not session.hostile or choices.number(5) < 2:
        text, environment_id = choices.pick(plain)
        return text, Arguments(text=None if text == "null" else text, environment_id=environment_id)
    return _hostile_arguments(session, choices, limit)


def _hostile_arguments(session: SessionBuilder, choices: ChoiceSource, limit: int) -> tuple[str, Arguments]:
    odd: tuple[tuple[str, str | None], ...] = (
        ('{ "a" : 1.0e1 ,\n"b":"\\u00e9\\/" }', None),
        ('{"n":9007199254740993,"m":-0,"f":1e999}', None),
        ('{"environment_id":""}', None),
        ('{"environment_id":7}', None),
        ('{"environment_id":"first","environment_id":"last"}', "last"),
        ('{"environment_id":"\\ud83d\\ude00"}', "😀"),
        ('"environment_id"', None),
        ("[1,[2]]", None),
        ("false", None),
        ("0", None),
        (json.dumps({"text": "é😀\u2028\x7f"}, ensure_ascii=False), None),
        ('{"method":"tools/call","id":1,"result":{}}', None),
    )
    kind = choices.number(8)
    if kind == 1:
        text, where = _long('{"environment_id":"far","blob":"', limit + 9, '"}'), "far"
        return text, Arguments(text=text, environment_id=where)
    if kind == 2:
        session.features.add(Feature.LONE_SURROGATE)
        text = choices.pick(('{"t":"\\ud800"}', '{"\\udfff":"\\ud800\\ud800"}'))
        return text, Arguments(text=text)
    if kind == 3:
        session.features.add(Feature.DEEP_NESTING)
        text = '{"a":' * DEPTH + "[" * DEPTH + "]" * DEPTH + "}" * DEPTH
        return text, Arguments(text=text)
    if kind == 4:
        text = choices.pick(('{"x":NaN}', '{"environment_id":"e","x":-Infinity}', "NaN", '{"x":Infinity}'))
        return text, Arguments(text=text, strict=False, environment_id="e" if "environment" in text else None)
    if kind == 5:
        session.features.add(Feature.LONE_SURROGATE)
        text = '{"environment_id":"\\ud800e"}'
        return text, Arguments(text=text, environment_id="\ud800e")
    text, environment_id = choices.pick(odd)
    return text, Arguments(text=text, environment_id=environment_id)


def _long(start: str, size: int, end: str) -> str:
    return f"{start}{'x' * max(size - len(start) - len(end), 0)}{end}"


def laws_of_id(spelled: SpelledId) -> tuple[Law, ...]:
    """What an id puts to the test by itself."""
    return (Law.NAMES,) if len(spelled.text) > len(LONG) else ()
