"""What direct calls may say: their ids, names and arguments, each text beside what it means."""

from __future__ import annotations

import json
from typing import Final

from trio_oplog.testing._dice import Dice
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._oracle import Arguments, CallFacts
from trio_oplog.testing._session import Feature
from trio_oplog.testing._stage import Stage

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


def respelled(spelled: SpelledId, dice: Dice) -> str:
    """How the other side may echo the id."""
    return _RESPELLED.get(spelled.text, spelled.text) if dice.chance(4) else spelled.text


def request_text(stage: Stage, dice: Dice, method: str, spelled: SpelledId, params: str | None) -> str:
    """The text of a request, in one of the orders in which peers write its members."""
    members: list[tuple[str, str | None]] = [("method", quoted(method)), ("id", spelled.text), ("params", params)]
    order = dice.number(8)
    if order in {1, 4}:
        members.insert(0, ("jsonrpc", '"2.0"'))
    elif order == 2:
        members.reverse()
    elif order == 3 and stage.hostile:
        members.insert(0, ("method", '"ping"'))  # the last one counts
    elif order == 5 and stage.hostile:
        members.append(("error", "null"))
    elif order == 6:
        members.append(("trace", '{"method":"tools/list","id":[]}'))
    return an_object(members, stage.gap)


def some_call(stage: Stage, dice: Dice, dialect: Feature, spelled: SpelledId) -> tuple[str, CallFacts]:
    """A direct call: the text of its request, and what it says."""
    raw_arguments, arguments = some_arguments(stage, dice)
    plain = stage.hostile is False
    tool = dice.pick(_TOOLS[:2] if plain else _TOOLS)
    threads, thread_id = _some_thread(dice, dialect)
    meta, meta_thread, user_id = _some_meta(stage, dice, dialect)
    members: list[tuple[str, str | None]] = [*threads]
    server = None
    if dialect is Feature.CODEX:
        server = dice.pick(("demo", "demo", None, "srv-é"))
        members.append(("server", _text(stage, server)))
    shown_tool = {"5": "5", None: None}.get(tool, _text(stage, tool))
    members += [("tool" if dialect is Feature.CODEX else "name", shown_tool), ("arguments", raw_arguments), ("_meta", meta)]
    named = tool not in {None, "5"}
    if tool is not None and "\ud800" in tool:
        stage.features.add(Feature.LONE_SURROGATE)
    facts = CallFacts(
        source=stage.config.source,
        tool=str(tool) if named else "unknown",
        request_id=spelled.as_text,
        thread_id=thread_id or meta_thread,
        user_id=user_id,
        server=server,
        arguments=arguments,
    )
    params = an_object(members, stage.gap)
    if not plain and dice.chance(24):
        params, facts = _without_params(dice, facts)
    method = "mcpServer/tool/call" if dialect is Feature.CODEX else "tools/call"
    return request_text(stage, dice, method, spelled, params), facts


def _without_params(dice: Dice, facts: CallFacts) -> tuple[str, CallFacts]:
    """Params of a wrong type count as missing."""
    params = dice.pick(("null", "[]", '"text"', "5"))
    return params, CallFacts(source=facts.source, tool="unknown", request_id=facts.request_id)


def _text(stage: Stage, text: str | None) -> str | None:
    return None if text is None else quoted(text, escaped=stage.escaped)


def _some_thread(dice: Dice, dialect: Feature) -> tuple[tuple[tuple[str, str], ...], str | None]:
    options: tuple[tuple[tuple[tuple[str, str], ...], str | None], ...] = (
        ((("threadId", '"t1"'),), "t1"),
        ((("thread_id", '"t2"'),), "t2"),
        ((), None),
        ((("threadId", '"t1"'), ("thread_id", '"t2"')), "t1"),
        ((("threadId", "7"), ("thread_id", '"t2"')), "t2"),
        ((("threadId", "null"),), None),
    )
    # MCP knows no thread of its own: leave room for the one in _meta.
    return ((), None) if dialect is Feature.MCP and dice.number(3) < 2 else dice.pick(options)


def _some_meta(stage: Stage, dice: Dice, dialect: Feature) -> tuple[str | None, str | None, str | None]:
    """The ``_meta``, the thread in it, and the user in it."""
    kind = dice.number(8)
    if kind == 1:
        return '{"agentserver_user_id":"alice"}', None, "alice"
    if kind == 2 and dialect is Feature.MCP:
        return '{"threadId":"t3","progressToken":1}', "t3", None
    if kind == 3 and stage.hostile:
        return dice.pick(("[]", "null", "5", '{"agentserver_user_id":5,"threadId":[]}')), None, None
    return None, None, None


def some_arguments(stage: Stage, dice: Dice) -> tuple[str | None, Arguments]:
    """Arguments: their text on the wire (``None``: none at all), and what they are."""
    limit = stage.config.args_max_bytes
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
    if not stage.hostile or dice.number(5) < 2:
        text, environment_id = dice.pick(plain)
        return text, Arguments(text=None if text == "null" else text, environment_id=environment_id)
    return _hostile_arguments(stage, dice, limit)


def _hostile_arguments(stage: Stage, dice: Dice, limit: int) -> tuple[str, Arguments]:
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
    kind = dice.number(8)
    if kind == 1:
        text, where = _long('{"environment_id":"far","blob":"', limit + 9, '"}'), "far"
        return text, Arguments(text=text, environment_id=where)
    if kind == 2:
        stage.features.add(Feature.LONE_SURROGATE)
        text = dice.pick(('{"t":"\\ud800"}', '{"\\udfff":"\\ud800\\ud800"}'))
        return text, Arguments(text=text)
    if kind == 3:
        stage.features.add(Feature.DEEP_NESTING)
        text = '{"a":' * DEPTH + "[" * DEPTH + "]" * DEPTH + "}" * DEPTH
        return text, Arguments(text=text)
    if kind == 4:
        text = dice.pick(('{"x":NaN}', '{"environment_id":"e","x":-Infinity}', "NaN", '{"x":Infinity}'))
        return text, Arguments(text=text, strict=False, environment_id="e" if "environment" in text else None)
    if kind == 5:
        stage.features.add(Feature.LONE_SURROGATE)
        text = '{"environment_id":"\\ud800e"}'
        return text, Arguments(text=text, environment_id="\ud800e")
    text, environment_id = dice.pick(odd)
    return text, Arguments(text=text, environment_id=environment_id)


def _long(start: str, size: int, end: str) -> str:
    return f"{start}{'x' * max(size - len(start) - len(end), 0)}{end}"


def laws_of_id(spelled: SpelledId) -> tuple[Law, ...]:
    """What an id puts to the test by itself."""
    return (Law.NAMES,) if len(spelled.text) > len(LONG) else ()
