"""For each law of the interceptor the smallest sessions that show it, so that a broken law is named before chance finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, Self, TypeAlias

from attrs import evolve, frozen

from trio_oplog._operation import MAX_SUSPENDED_AGE, Config, Outcome
from trio_oplog.testing._answers import IMAGE
from trio_oplog.testing._builder import CLIENT, SERVER, SessionBuilder
from trio_oplog.testing._call_texts import ALIKE_IDS, LONG
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._example_details import DETAILS
from trio_oplog.testing._example_stories import SHARED_STORIES, STORIES, Story
from trio_oplog.testing._expecting import Peers
from trio_oplog.testing._facts import Arguments, CallFacts, Ending, OpenCall, Round
from trio_oplog.testing._item_scenarios import open_item
from trio_oplog.testing._item_texts import ITEM_TYPES, ItemKey, item_text, some_completion, some_item, turn_completed_text
from trio_oplog.testing._json_text import SpelledId
from trio_oplog.testing._laws import Law
from trio_oplog.testing._noise_scenarios import BROKEN, DEEP, NOT_OURS
from trio_oplog.testing._session import Direction, Feature, FrameData, Session

_HI: Final = Arguments(text='{"text":"hi"}')
_OK: Final = '"result":{"content":[{"type":"text","text":"ok"}]}'
_FAIL: Final = '"error":{"code":-32603,"message":"boom"}'


class Script:
    """Writes one example; each line of it is a message and what it means."""

    def __init__(self, **config: Any) -> None:
        self.session = SessionBuilder(
            Config(**{"source": "sdk", "workspace_id": "ws-1", **config}), ChoiceSource(b""), hostile=True
        )

    def call(self, spelled: str = "1", params: str = '{"name":"echo","arguments":{"text":"hi"}}', **facts: Any) -> Self:
        """``tools/call``."""
        self._call("tools/call", Feature.MCP, spelled, params, facts)
        return self

    def codex_call(self, spelled: str = "1", params: str = '{"tool":"echo","arguments":{"text":"hi"}}', **facts: Any) -> Self:
        """``mcpServer/tool/call``."""
        self._call("mcpServer/tool/call", Feature.CODEX, spelled, params, facts)
        return self

    def _call(self, method: str, dialect: Feature, spelled: str, params: str, facts: dict[str, Any]) -> None:
        self.session.say(CLIENT, f'{{"method":"{method}","id":{spelled},"params":{params}}}')
        identity = SpelledId(spelled)
        plain = {"source": "sdk", "tool": "echo", "request_id": identity.as_text, "arguments": _HI}
        self.session.oracle.begin(OpenCall(key=identity.key, facts=CallFacts(**{**plain, **facts}), began=0, dialect=dialect))

    def answer(self, spelled: str = "1", members: str = _OK, text: str = "ok", **ending: Any) -> Self:
        """A response of the server's."""
        self.session.say(SERVER, f'{{"id":{spelled},{members}}}')
        self.session.oracle.answer(SpelledId(spelled).key, Ending(text=text, **ending))
        return self

    def cancel(self, spelled: str = "1") -> Self:
        """``notifications/cancelled``."""
        self.session.say(CLIENT, f'{{"method":"notifications/cancelled","params":{{"requestId":{spelled}}}}}')
        for call in self.session.oracle.with_key(SpelledId(spelled).key):
            self.session.oracle.end(call, Ending(outcome=Outcome.CANCELLED))
        return self

    def client(self, text: str) -> Self:
        """Anything else from the client."""
        self.session.say(CLIENT, text)
        return self

    def server(self, text: str) -> Self:
        """Anything else from the server."""
        self.session.say(SERVER, text)
        return self

    def raw(self, direction: Direction, frame: FrameData) -> Self:
        """A frame that may be no message at all."""
        self.session.say_raw(direction, frame)
        return self

    def handshake(self, method: str = "initialize") -> Self:
        """The server says its name."""
        self.client(f'{{"method":"{method}","id":"hello","params":{{}}}}')
        self.server('{"id":"hello","result":{"capabilities":{},"serverInfo":{"name":"everything","version":"1"}}}')
        self.session.oracle.peers = Peers(server="everything/1", server_name="everything")
        return self

    def started(self, key: ItemKey, choices: bytes = b"") -> Self:
        """``item/started``."""
        members, facts = some_item(self.session, ChoiceSource(choices), key)
        self.server(item_text(self.session, "item/started", key, [*members, ("status", '"inProgress"')]))
        if self.session.config.record_items:
            self.session.oracle.begin_item(self._item(key, facts))
        return self

    def completed(self, key: ItemKey, choices: bytes = b"", end: bytes = b"", started_at_ms: int | None = None) -> Self:
        """``item/completed``."""
        members, facts = some_item(self.session, ChoiceSource(choices), key)
        more, ending = some_completion(self.session, ChoiceSource(end), key, started_at_ms)
        self.server(item_text(self.session, "item/completed", key, [*members, *more]))
        if self.session.config.record_items:
            self.session.oracle.complete(self._item(key, facts, started_at_ms), ending)
        return self

    def nameless_item(self, key: ItemKey) -> Self:
        """``item/completed`` of an item that names no tool."""
        self.server(item_text(self.session, "item/completed", key, [("status", '"completed"')]))
        facts = CallFacts(source="llm", tool="unknown", request_id=key.item_id, thread_id=key.thread_id)
        self.session.oracle.complete(self._item(key, facts), Ending())
        return self

    def _item(self, key: ItemKey, facts: CallFacts, started_at_ms: int | None = None) -> OpenCall:
        return open_item(self.session, key, facts, started_at_ms)

    def turn_completed(self, key: ItemKey) -> Self:
        """``turn/completed``."""
        self.server(turn_completed_text(self.session, key.thread_id, key.turn_id))
        self.session.oracle.complete_turn(key.thread_id, key.turn_id)
        return self


@frozen
class Example:
    """A law (``None`` where several show) and a session that shows it."""

    law: Law | None
    session: Session

    @property
    def takes_time(self) -> bool:
        """Whether it can only be shown by clocks that are set."""
        return self.session.config.max_suspended_age < MAX_SUSPENDED_AGE


_Lines: TypeAlias = Callable[[Script], object]


@cache
def examples() -> tuple[Example, ...]:
    """Of calls, items and noise: the most elementary first."""
    return tuple(_examples())


@cache
def stories() -> tuple[Example, ...]:
    """Of what calls wait for, who decides on them, and what else takes more than a line to tell."""
    return tuple(Example(law, _told(story, config)) for law, config, story in (*STORIES, *DETAILS))


@cache
def shared_examples() -> tuple[Example, ...]:
    """Of several connections that share a table."""
    return tuple(Example(law, _told(story, config, connections=2)) for law, config, story in SHARED_STORIES)


def _examples() -> Iterator[Example]:
    for law, config, lines in (*_CALLS, *_FIELDS, *_ENDS, *_ITEMS, *_HOSTILE):
        yield _example(law, config, lines)
    for encoding in ("utf-8-sig", "utf-16", "utf-32-be"):
        yield _respelled(encoding)


def _told(story: Story, config: dict[str, Any], connections: int = 1) -> Session:
    made = Config(**{"source": "sdk", "workspace_id": "ws-1", **config})
    session = SessionBuilder(made, ChoiceSource(b""), hostile=True, connections=connections)
    # A story may pause, and has nobody to pause for.
    for _ in story(session) or ():
        pass
    return session.finish()


def _example(law: Law | None, config: dict[str, Any], lines: _Lines) -> Example:
    script = Script(**config)
    lines(script)
    return Example(law, script.session.finish())


def _respelled(encoding: str) -> Example:
    made = _example(Law.WHAT_JSON_READS, {}, lambda s: (s.call(), s.answer()))
    frames = tuple(evolve(frame, data=str(frame.data).encode(encoding)) for frame in made.session.frames)
    return Example(made.law, evolve(made.session, frames=frames))


def _mcp(item_id: str = "call_1", thread: str = "t1", turn: str = "turn1", kind: str = "mcpToolCall") -> ItemKey:
    return ItemKey(thread, turn, item_id, kind)


def _args(text: str, environment_id: str | None = None, *, strict: bool = True) -> dict[str, Any]:
    arguments = Arguments(text=text, environment_id=environment_id, strict=strict)
    return {"params": f'{{"name":"echo","arguments":{text}}}', "arguments": arguments}


def _with_id(script: Script, method: str) -> str:
    """A request is no notification."""
    return item_text(script.session, method, _mcp(), [("server", '"demo"')]).replace("{", '{"id":1,', 1)


def _batch(script: Script, *lines: _Lines) -> Script:
    for number, line in enumerate(lines):
        script.session.joins = number > 0
        line(script)
    return script


def _alike(one: str, other: str) -> _Lines:
    return lambda s: (s.call(one), s.call(other), s.answer(other), s.answer(one, _FAIL, "boom", **_RPC_ERROR))


def _call_and(frame: str, direction: str) -> _Lines:
    return lambda s: (s.call("0"), getattr(s, direction)(frame), s.answer("0"))


_TURN_REQUEST: Final = '{"id":1,"method":"turn/completed","params":{"threadId":"t1","turn":{"id":"turn1"}}}'
_SURROGATE: Final = '"result":{"content":[{"type":"text","text":"\\ud800"}]}'
_RPC_ERROR: Final[dict[str, Any]] = {"outcome": Outcome.RPC_ERROR, "error_code": -32603}
_Row: TypeAlias = tuple[Law | None, dict[str, Any], _Lines]

_CALLS: Final[tuple[_Row, ...]] = (
    (None, {}, lambda s: (s.call(), s.answer())),
    (None, {}, lambda s: (s.codex_call(), s.answer(members=_FAIL, text="boom", **_RPC_ERROR))),
    (Law.UNANSWERED, {}, lambda s: (s.call("1"), s.codex_call("2"))),
    (Law.EVERY_CALL_ONCE, {}, lambda s: (s.call("1"), s.answer("1"), s.call("2"), s.answer("2"), s.answer("2"))),
    (Law.EXACT_IDS, {}, lambda s: (s.call("1"), s.call("2", **_args("{}")), s.answer("2"), s.answer("1"))),
    *((Law.EXACT_IDS, {}, _alike(*pair)) for pair in ALIKE_IDS),
    *((Law.EXACT_IDS, {}, _alike(*reversed(pair))) for pair in ALIKE_IDS),
    (Law.EXACT_IDS, {}, lambda s: (s.call("100"), s.answer("1e2"))),
    (Law.EXACT_IDS, {}, lambda s: (s.call('"a"'), s.answer('"\\u0061"'))),
    (Law.EXACT_IDS, {}, lambda s: (s.call('""'), s.call("-1"), s.answer("-1"), s.answer('""'))),
    (
        Law.DUPLICATE_IDS,
        {},
        lambda s: (s.call(), s.call(**_args("{}")), s.answer(), s.answer(members=_FAIL, text="boom", **_RPC_ERROR)),
    ),
    (Law.DUPLICATE_IDS, {}, lambda s: (s.call(), s.call(), s.answer(), s.call(), s.answer(), s.answer())),
    (Law.BATCHES, {}, lambda s: (_batch(s, lambda s: s.call("1"), lambda s: s.call("2")), s.answer("2"), s.answer("1"))),
    (Law.BATCHES, {}, lambda s: (s.call("1"), s.call("2"), _batch(s, lambda s: s.answer("2"), lambda s: s.answer("1")))),
    (
        Law.BATCHES,
        {},
        lambda s: (_batch(s, lambda s: s.client("5"), lambda s: s.call(), lambda s: s.client("null")), s.answer()),
    ),
)

_FIELDS: Final[tuple[_Row, ...]] = (
    (
        Law.USER,
        {"user_id": "pinned"},
        lambda s: s.call(params='{"name":"echo","_meta":{"agentserver_user_id":"eve"}}', arguments=Arguments()),
    ),
    (
        Law.USER,
        {},
        lambda s: s.call(params='{"name":"echo","_meta":{"agentserver_user_id":"eve"}}', arguments=Arguments(), user_id="eve"),
    ),
    (Law.USER, {}, lambda s: s.call(params='{"name":"echo","_meta":{"agentserver_user_id":7}}', arguments=Arguments())),
    (Law.THREAD, {}, lambda s: s.codex_call(params='{"tool":"echo","threadId":"t1"}', arguments=Arguments(), thread_id="t1")),
    (Law.THREAD, {}, lambda s: s.codex_call(params='{"tool":"echo","thread_id":"t2"}', arguments=Arguments(), thread_id="t2")),
    (
        Law.THREAD,
        {},
        lambda s: s.codex_call(params='{"tool":"echo","thread_id":"t2","threadId":"t1"}', arguments=Arguments(), thread_id="t1"),
    ),
    (Law.THREAD, {}, lambda s: s.call(params='{"name":"echo","_meta":{"threadId":"t3"}}', arguments=Arguments(), thread_id="t3")),
    (Law.REQUEST_ID, {}, lambda s: (s.call("7"), s.call('"x"'), s.call("1.50"), s.call("18446744073709551617"))),
    (Law.ENV, {}, lambda s: s.codex_call(params='{"tool":"echo","server":"demo"}', arguments=Arguments(), server="demo")),
    (Law.ENV, {}, lambda s: s.call(**_args('{"environment_id":"env-7"}', "env-7"))),
    (Law.ENV, {"default_env_id": "box"}, lambda s: s.call(**_args('{"environment_id":""}'))),
    (None, {}, lambda s: (s.handshake(), s.call(), s.answer())),
    (Law.ENV, {}, lambda s: s.server('{"id":"x","result":{"serverInfo":{"name":"stranger"}}}').call().answer()),
    (None, {}, lambda s: s.handshake().server('{"id":"x","result":{"serverInfo":{"name":"stranger"}}}').call().answer()),
    (None, {}, lambda s: (s.handshake("server/discover"), s.call(), s.call("2", **_args('{"environment_id":"e"}', "e")))),
    (
        None,
        {},
        lambda s: (
            s.call(),
            s.answer(
                members='"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"named"}}}', text="", server="named"
            ),
        ),
    ),
    (Law.TOOL, {}, lambda s: s.call(params="{}", tool="unknown", arguments=Arguments())),
    (Law.TOOL, {}, lambda s: s.call(params='{"name":5}', tool="unknown", arguments=Arguments())),
    (Law.TOOL, {}, lambda s: s.codex_call(params="[]", tool="unknown", arguments=Arguments())),
    (Law.ARGUMENTS, {}, lambda s: s.call(**_args('{ "b" : 1.0e1 ,\n"a":"\\u00e9\\/", "a":9007199254740993 }'))),
    (Law.ARGUMENTS, {}, lambda s: s.call(**_args('{"t":"\\ud800"}'))),
    (Law.ARGUMENTS, {}, lambda s: s.call(**_args('[1,"é😀"]'))),
    (Law.ARGUMENTS, {}, lambda s: s.call(params='{"name":"echo","arguments":null}', arguments=Arguments())),
    (Law.ARGUMENTS_LIMIT, {"args_max_bytes": 16}, lambda s: s.call(**_args('{"a":"123456789"}'))),
    (Law.ARGUMENTS_LIMIT, {"args_max_bytes": 16}, lambda s: s.call(**_args('{"a":"12345678"}'))),
    (Law.ARGUMENTS_LIMIT, {"args_max_bytes": 16}, lambda s: s.call(**_args('{"a":"é456789"}'))),
    (Law.ARGUMENTS_LIMIT, {"args_max_bytes": 16}, lambda s: s.call(**_args('{"a":"é4567890"}'))),
    (Law.ARGUMENTS_LIMIT, {"args_max_bytes": 16}, lambda s: s.call(**_args('{"environment_id":"far away"}', "far away"))),
    (Law.ARGUMENTS_LIMIT, {}, lambda s: s.call(**_args('{"x":NaN}', strict=False))),
)


def _text_answer(*texts: str, more: str = "") -> dict[str, Any]:
    blocks = ",".join(f'{{"type":"text","text":"{text}"}}' for text in texts)
    return {"members": f'"result":{{"content":[{blocks}]{more}}}', "text": "".join(texts)}


def _result(text: str, outcome: Outcome | None = None, **ending: Any) -> _Lines:
    return lambda s: (s.call(), s.answer(members=f'"result":{text}', outcome=outcome, **{"text": "", **ending}))


_ENDS: Final[tuple[_Row, ...]] = (
    (Law.CANCELLED, {}, lambda s: (s.call(), s.cancel())),
    (Law.CANCELLED, {}, lambda s: (s.call(), s.cancel(), s.answer())),
    (Law.CANCELLED, {}, lambda s: (s.call('"1"'), s.call("1"), s.cancel("1"), s.answer('"1"'))),
    (Law.EVICTED, {"max_pending": 2}, lambda s: (s.call("1"), s.call("2"), s.call("3"), s.answer("1"), s.answer("3"))),
    (Law.NULL_ERROR, {}, lambda s: (s.call(), s.answer(members=f'"error":null,{_OK}'))),
    (Law.RESULT_TEXT, {}, lambda s: (s.call(), s.answer(**_text_answer("one", "two")))),
    (Law.RESULT_TEXT, {}, lambda s: (s.call(), s.answer(**_text_answer()))),
    (Law.RESULT_TEXT, {}, lambda s: (s.call(), s.answer(members=_FAIL, text="boom", **_RPC_ERROR))),
    (Law.RESULT_META, {}, _result(f'{{"content":[{IMAGE}]}}', content_types=("image",))),
    *(
        (Law.RESULT_CUT, {"result_max_bytes": 8}, lambda s, text=text: (s.call(), s.answer(**_text_answer(text))))
        for text in ("12345678", "123456789", "1234567é", "123456é", "12345😀", "1234567😀", "ééééé")
    ),
    (Law.NAMES, {}, lambda s: s.call(params=f'{{"name":"{LONG}é"}}', tool=f"{LONG}é", arguments=Arguments())),
    (Law.NAMES, {}, lambda s: s.call(params='{"name":"a\\ud800"}', tool="a\ud800", arguments=Arguments())),
    (Law.NAMES, {}, lambda s: (s.call('"\\udfff"'), s.call('"\\ud800"'))),
    (Law.OUTCOME, {}, lambda s: (s.call(), s.answer(**_text_answer("no", more=',"isError":true'), outcome=Outcome.TOOL_ERROR))),
    (Law.OUTCOME, {}, lambda s: (s.call(), s.answer(**_text_answer("yes", more=',"isError":false')))),
    (None, {}, _result('{"resultType":"input_required","requestState":"s"}', suspends=Round(signature=None, state="s"))),
    (Law.OUTCOME, {}, _result("null")),
    (
        Law.OUTCOME,
        {},
        lambda s: (s.call(), s.answer(members='"error":{"code":7}', text="", outcome=Outcome.RPC_ERROR, error_code=7)),
    ),
)

# The choices that make an item complete with its other statuses; see _item_texts.
_FAILED, _DECLINED, _EXPLODED = b"\0\2", b"\0\3", b"\0\6"

_ITEMS: Final[tuple[_Row, ...]] = (
    *((Law.ITEMS, {}, lambda s, kind=kind: (s.started(_mcp(kind=kind)), s.completed(_mcp(kind=kind)))) for kind in ITEM_TYPES),
    (Law.ITEMS, {"record_items": False}, lambda s: (s.started(_mcp()), s.completed(_mcp()))),
    (Law.ITEMS, {}, lambda s: s.client(item_text(s.session, "item/completed", _mcp(), []))),
    (Law.ITEMS, {}, lambda s: s.server(item_text(s.session, "item/started", _mcp(kind="agentMessage"), []))),
    *((Law.UNANNOUNCED_ITEMS, {}, lambda s, kind=kind: s.completed(_mcp(kind=kind))) for kind in ITEM_TYPES),
    (Law.COMPLETED_ITEM_COUNTS, {}, lambda s: (s.started(_mcp()), s.completed(_mcp(), b"\1\2"))),
    *((Law.OUTCOME, {}, lambda s, end=end: s.completed(_mcp(), end=end)) for end in (_FAILED, _DECLINED, _EXPLODED)),
    (Law.OUTCOME, {}, lambda s: s.completed(_mcp(kind="dynamicToolCall"), end=b"\0\0\0\0\2")),
    (Law.RESULT_META, {}, lambda s: s.completed(_mcp(kind="commandExecution"), end=b"\1\2\0\2")),
    (Law.INTERRUPTED, {}, lambda s: (s.started(_mcp()), s.turn_completed(_mcp()))),
    (
        Law.INTERRUPTED,
        {},
        lambda s: (
            s.started(_mcp(kind="commandExecution")),
            s.turn_completed(_mcp()),
            s.completed(_mcp(kind="commandExecution")),
        ),
    ),
    (Law.INTERRUPTED, {}, lambda s: (s.started(_mcp()), s.turn_completed(_mcp(turn="turn2")), s.completed(_mcp()))),
    (Law.INTERRUPTED, {}, lambda s: (s.started(_mcp()), s.turn_completed(_mcp(thread="t2")), s.completed(_mcp()))),
    (
        Law.DUPLICATE_IDS,
        {},
        lambda s: (s.started(_mcp()), s.started(_mcp()), s.completed(_mcp()), s.completed(_mcp(), end=_FAILED)),
    ),
    (Law.EXACT_IDS, {}, lambda s: (s.started(_mcp()), s.started(_mcp(thread="t2")), s.completed(_mcp(thread="t2")))),
    (Law.EXACT_IDS, {}, lambda s: (s.started(_mcp()), s.started(_mcp(kind="webSearch")), s.completed(_mcp(kind="webSearch")))),
    *((Law.ITEMS, {}, lambda s, method=method: s.server(_with_id(s, method))) for method in ("item/started", "item/completed")),
    (Law.INTERRUPTED, {}, lambda s: s.started(_mcp()).server(_TURN_REQUEST)),
    *((Law.TOOL, {}, lambda s, kind=kind: s.nameless_item(_mcp(kind=kind))) for kind in ("mcpToolCall", "dynamicToolCall")),
    (Law.SAME_EXECUTION, {}, lambda s: (s.completed(_mcp(), started_at_ms=5), s.completed(_mcp(), started_at_ms=5))),
    (Law.EXECUTION_IDS, {}, lambda s: (s.completed(_mcp(), started_at_ms=5), s.completed(_mcp(), started_at_ms=6))),
    (Law.EXECUTION_IDS, {}, lambda s: (s.completed(_mcp(), started_at_ms=5), s.completed(_mcp("call_2"), started_at_ms=5))),
    (Law.EXECUTION_IDS, {}, lambda s: (s.completed(_mcp()), s.completed(_mcp()))),
    (Law.EVICTED, {"max_pending": 1}, lambda s: (s.started(_mcp()), s.call("2"), s.answer("2"))),
)

_HOSTILE: Final[tuple[_Row, ...]] = (
    *((Law.RESPONSES_END, {}, _call_and(frame, "server")) for frame in ('{"method":"roots/list","id":0}', '{"id":0}')),
    (Law.RESPONSES_END, {}, _call_and('{"id":0,"error":null}', "server")),
    (Law.RESPONSES_END, {}, _call_and('{"method":"x/y","id":0,"result":{}}', "server")),
    (Law.RESPONSES_END, {}, _call_and('{"id":0,"result":{}}', "client")),
    *(
        (Law.CLIENT_REQUESTS_BEGIN, {}, lambda s, text=text: s.client(f'{{"method":"tools/call","id":{text},"params":{{}}}}'))
        for text in ("{}", "[]", "null", "true", "false")
    ),
    (Law.CLIENT_REQUESTS_BEGIN, {}, lambda s: s.client('{"method":"tools/call","params":{"name":"echo"}}')),
    (Law.CLIENT_REQUESTS_BEGIN, {}, lambda s: s.server('{"method":"tools/call","id":1,"params":{"name":"echo"}}')),
    (Law.WHAT_JSON_READS, {}, lambda s: (s.call(), s.answer(members=_SURROGATE, text="\ud800"))),
    (Law.WHAT_JSON_READS, {}, lambda s: (s.call(), s.answer(members='"method":null,"result":{}', text=""))),
    (Law.WHAT_JSON_READS, {}, lambda s: (s.call(), s.answer(members=f'"result":5,{_OK}'))),
    *((Law.HOSTILE_FRAMES, {}, lambda s, raw=raw: (s.raw(CLIENT, raw), s.raw(SERVER, raw))) for raw in (*BROKEN, *DEEP)),
    *((Law.HOSTILE_FRAMES, {}, _call_and(text, direction)) for text in NOT_OURS for direction in ("client", "server")),
)
