"""A naive interceptor that keeps every law: plain json, slow and clear.  Its methods are there to be broken, one at a time."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.testing.faulty.reference.calls import Call, Question, Table, approval_of, waited
from tests.testing.faulty.reference.raw import Raw, elements, inside, members, present, text_of, typed
from tests.unchecked import unchecked
from trio_oplog import ArgumentsMeta, Config, Context, DecidedBy, Operation, Outcome, ResultMeta, Submitter

TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
MANY = 1024


def _now() -> datetime:
    return datetime.now(UTC)


class Core:
    name_limit = 1024

    def __init__(
        self,
        submitter: Submitter,
        config: Config,
        *,
        suspended: Table | None = None,
        clock: Callable[[], datetime] = _now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.submitter, self.config = submitter, config
        self.clock, self.monotonic = clock, monotonic
        self.own_table = suspended is None
        self.table = self.table_for(suspended)
        self.open: list[Call] = []
        self.server_name: str | None = None
        self.peers: dict[str, str | None] = {"client": None, "server": None, "protocol": None}
        self.handshakes: set[Any] = set()
        # The client's other requests that somebody waits for, and the server's.
        self.asked: dict[Any, tuple[str, str | None]] = {}
        self.server_asked: dict[Any, tuple[Call, Question] | None] = {}
        self.damaged = False
        self.over: dict[Any, None] = {}
        self.early: dict[Any, Call] = {}
        self.history: dict[str | None, None] = {}

    def table_for(self, shared: Table | None) -> Table:
        return shared or Table(self.config.max_suspended, self.config.max_suspended_age, self.monotonic)

    # -- frames ----------------------------------------------------------------------------------------------------------

    def on_client_frame(self, frame: Any) -> None:
        for message in self.messages(frame):
            self.client_message(message)

    def on_server_frame(self, frame: Any) -> None:
        for message in self.messages(frame):
            self.server_message(message)

    def text(self, frame: Any) -> str:
        if isinstance(frame, str):
            return frame
        data = bytes(frame)
        return data.decode(json.detect_encoding(data), "surrogatepass")

    def repaired(self, frame: Any) -> str:
        """A lone surrogate for each byte that is no UTF-8: one that is told from every other, and can be undone."""
        if isinstance(frame, str) or json.detect_encoding(bytes(frame)) != "utf-8":
            raise UnicodeError
        return bytes(frame).decode("utf-8", "surrogateescape")

    def messages(self, frame: Any) -> list[Raw]:
        self.damaged = False
        try:
            try:
                text = self.text(frame)
            except UnicodeError:
                text = self.repaired(frame)
                self.damaged = True
            value = json.loads(text)
        except (ValueError, RecursionError):
            return []
        if isinstance(value, dict):
            return [members(text)]
        return self.batch(text, value) if isinstance(value, list) else []

    def batch(self, text: str, values: list[Any]) -> list[Raw]:
        return [members(raw) for raw, value in zip(elements(text), values, strict=True) if isinstance(value, dict)]

    # -- messages --------------------------------------------------------------------------------------------------------

    def method(self, message: Raw) -> str | None:
        return text_of(message.get("method"))

    def has_method(self, message: Raw) -> bool:
        return message.get("method", "null") != "null"

    def key(self, raw: str | None) -> Any:
        if raw is None or raw[0] in "[{tfn":
            return None
        return ("string", json.loads(raw)) if raw[0] == '"' else ("number", Decimal(raw))

    def client_message(self, message: Raw) -> None:
        method, key = self.method(message), self.key(message.get("id"))
        if not self.has_method(message):
            self.client_response(key, message)
        elif method == "notifications/cancelled":
            self.client_cancels(inside(message.get("params")))
        elif method is not None and key is not None:
            self.client_request(method, key, message)

    def client_request(self, method: str, key: Any, message: Raw) -> None:
        if method in {"initialize", "server/discover"}:
            self.handshakes = {key}
            self.meet(client=self.identity(inside(message.get("params")).get("clientInfo")))

    def await_answer(self, key: Any, purpose: str, about: str | None) -> None:
        self.keep(self.asked, key, (purpose, about))

    def server_message(self, message: Raw) -> None:
        method = self.method(message)
        if not self.has_method(message):
            self.response(message)
        elif method is None:
            return
        elif "id" in message:
            self.server_request(method, self.key(message["id"]), message)
        else:
            self.notification(method, inside(message.get("params")))

    def server_request(self, method: str, key: Any, message: Raw) -> None:
        """A request of the server's."""

    def notification(self, method: str, params: Raw) -> None:
        if method == "notifications/cancelled":
            self.server_cancels(self.key(params.get("requestId")))

    def response(self, message: Raw) -> None:
        key = self.key(message.get("id"))
        error = self.error(message)
        if key is None or ("result" not in message and error is None):
            return
        if key in self.handshakes:
            self.handshakes.discard(key)
            self.shake_hands(inside(message.get("result")))
        if key in self.asked:
            purpose, about = self.asked.pop(key)
            self.answered(purpose, about, message, error)
        call = self.oldest(key)
        respelled = None
        if call is None:
            call = self.respelled(key)
            respelled = True
        if call is not None:
            call.respelled = call.respelled or respelled
            self.end_call(call, message, error)

    def end_call(self, call: Call, message: Raw, error: str | None) -> None:
        self.end(call, **self.answer(call, message, error))

    def respelled(self, key: Any) -> Call | None:
        """The only open call whose id is the same in the other type."""
        kind, value = key if isinstance(key, tuple) else (None, None)
        other: Any = None
        if isinstance(value, Decimal) and value == value.to_integral_value():
            other = ("string", str(int(value)))
        elif kind == "string" and re.fullmatch("0|-?[1-9][0-9]*", value):
            other = ("number", Decimal(value))
        calls = [call for call in self.open if call.key == other]
        return calls[0] if other and len(calls) == 1 else None

    def answered(self, purpose: str, about: str | None, message: Raw, error: str | None) -> None:
        """The answer to one of the client's other requests."""

    def error(self, message: Raw) -> str | None:
        raw = message.get("error", "null")
        return None if raw == "null" else raw

    # -- who is who ------------------------------------------------------------------------------------------------------

    def identity(self, raw: str | None) -> str | None:
        info = inside(raw)
        name, version = text_of(info.get("name")), text_of(info.get("version"))
        return f"{name}/{version}" if name and version else name

    def meet(self, **known: str | None) -> None:
        self.peers.update({name: value for name, value in known.items() if value})

    def shake_hands(self, result: Raw) -> None:
        info = result.get("serverInfo") or inside(result.get("_meta")).get("io.modelcontextprotocol/serverInfo")
        self.server_name = text_of(inside(info).get("name")) or self.server_name
        agent = text_of(result.get("userAgent")) or ""
        codex = re.match(r"[^/]*/([^ ]+)", agent)
        protocol = text_of(result.get("protocolVersion"))
        number = typed(result.get("protocolVersion"), int)
        self.meet(
            server=self.identity(info) or self.identity(result.get("agentInfo")) or (f"codex/{codex[1]}" if codex else None),
            protocol=protocol or (None if number is None else str(number)),
        )

    def origin(self, message: Raw, *, codex: bool) -> dict[str, Any]:
        """What a request itself says of where it comes from."""
        meta = inside(inside(message.get("params")).get("_meta"))
        traceparent = text_of(inside(message.get("trace")).get("traceparent")) if codex else None
        return {
            "client": self.identity(meta.get("io.modelcontextprotocol/clientInfo")),
            "protocol": text_of(meta.get("io.modelcontextprotocol/protocolVersion")),
            **self.trace(traceparent or text_of(meta.get("traceparent"))),
        }

    def trace(self, traceparent: str | None) -> dict[str, Any]:
        found = TRACEPARENT.fullmatch(traceparent or "")
        if found is None or (found[1] == "00" and found[4]):
            return {}
        return {"trace_id": found[2], "parent_span_id": found[3]}

    def context(self, fields: dict[str, Any]) -> Context | None:
        context = Context(
            client=self.name(fields.get("client") or self.peers["client"]),
            server=self.name(fields.get("server_said") or self.peers["server"]),
            protocol=self.name(fields.get("protocol") or self.peers["protocol"]),
            session=self.name(fields.get("session")),
            transport=self.config.transport,
            trace_id=fields.get("trace_id"),
            parent_span_id=fields.get("parent_span_id"),
        )
        return None if context == Context() else context

    # -- calls -----------------------------------------------------------------------------------------------------------

    def oldest(self, key: Any) -> Call | None:
        return next((call for call in self.open if call.key == key), None)

    def begin_call(self, message: Raw, key: Any, kind: str) -> None:
        self.begin(self.direct_call(message, key, kind))

    def direct_call(self, message: Raw, key: Any, kind: str) -> Call:
        params = inside(message.get("params"))
        meta = inside(params.get("_meta"))
        thread_id = text_of(params.get("threadId")) or text_of(params.get("thread_id"))
        if kind == "mcp":
            thread_id = thread_id or text_of(meta.get("threadId"))
        arguments = params.get("arguments")
        fields = {
            "source": self.config.source,
            "request_id": self.request_id(message["id"]),
            "tool": text_of(params.get("name" if kind == "mcp" else "tool")) or "unknown",
            "thread_id": thread_id,
            "user_id": text_of(meta.get("agentserver_user_id")),
            "server": text_of(params.get("server")) if kind == "codex" else None,
            "environment": self.environment(arguments),
            **self.kept_arguments(arguments),
            **self.origin(message, codex=kind == "codex"),
        }
        return Call(key, kind, None, fields, self.now())

    def request_id(self, raw: str) -> str:
        return str(json.loads(raw)) if raw[0] == '"' else raw

    def environment(self, arguments: str | None) -> str | None:
        return text_of(inside(arguments).get("environment_id"))

    def kept_arguments(self, raw: str | None) -> dict[str, Any]:
        if raw is None or raw == "null":
            return {}
        data = raw.encode("utf-8", "surrogateescape" if self.damaged else "backslashreplace")
        strict = not self.damaged and not re.search("NaN|Infinity", re.sub(r'"(\\.|[^"\\])*"', "", raw))
        if len(data) <= self.config.args_max_bytes and strict:
            return {"arguments": data}
        return {"arguments_meta": ArgumentsMeta(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())}

    def begin(self, call: Call) -> None:
        twins = [other for other in self.open if other.key == call.key]
        for twin in (*twins, call) if twins else ():
            twin.duplicate = True
        self.open.append(call)
        if len(self.open) > self.config.max_pending:
            self.evict()

    def evict(self) -> None:
        self.end(self.open[0], outcome=Outcome.EVICTED)

    def client_cancels(self, params: Raw) -> None:
        self.cancel(self.key(params.get("requestId")), text_of(params.get("reason")))

    def cancel(self, key: Any, reason: str | None = None) -> None:
        call = None if key is None else self.oldest(key)
        if call is not None:
            self.end(call, outcome=Outcome.CANCELLED, text=reason or "")

    # -- results ---------------------------------------------------------------------------------------------------------

    def answer(self, call: Call, message: Raw, error: str | None) -> dict[str, Any]:
        if error is not None:
            return {"outcome": Outcome.RPC_ERROR, **self.error_said(error)}
        result = inside(message.get("result"))
        if call.kind == "mcp":
            info = inside(result.get("_meta")).get("io.modelcontextprotocol/serverInfo")
            call.fields["server"] = text_of(inside(info).get("name"))
            call.fields["server_said"] = self.identity(info)
        return {"outcome": self.result_outcome(result), **self.gist(message.get("result"))}

    def result_outcome(self, result: Raw) -> Outcome | None:
        failed = result.get("isError") == "true" or (text_of(result.get("isError")) or "").lower() == "true"
        return Outcome.TOOL_ERROR if failed else None

    def error_said(self, raw: str) -> dict[str, Any]:
        """The message and the code of an error, of whatever kind it is."""
        if text_of(raw) is not None:
            return {"text": text_of(raw), "error_code": None}
        parts = inside(raw)
        if not parts:
            return {"text": "" if raw.strip().startswith("{") else raw, "error_code": None}
        said = parts.get("message")
        text = text_of(said)
        return {"text": text if text is not None else said if present(said) else "", "error_code": typed(parts.get("code"), int)}

    def gist(self, raw: str | None, name: str = "content") -> dict[str, Any]:
        """What a result says: its text, else its resources, else its structured content, else its links."""
        if text_of(raw) is not None:
            return {"text": text_of(raw)}
        result = inside(raw)
        content = result.get(name)
        if text_of(content) is not None:
            return {"text": text_of(content)}
        if typed(content, dict) is not None:
            content = f"[{content}]"
        found = self.content(content, "text")
        blocks = self.blocks(content)
        if not any(self.is_text(block) for block in blocks):
            found["text"] = self.resources(blocks) or self.structured(result) or self.links(blocks)
        return found

    def blocks(self, raw: str | None) -> list[Raw]:
        return [inside(block) for block in elements(raw)] if typed(raw, list) is not None else []  # type: ignore[arg-type]

    def is_text(self, block: Raw) -> bool:
        return text_of(block.get("type")) in {"text", "inputText"}

    def content(self, raw: str | None, kind: str) -> dict[str, Any]:
        blocks = self.blocks(raw)
        types = tuple(text_of(block.get("type")) for block in blocks)
        text = "".join(text_of(block.get("text")) or "" for block in blocks if self.is_text(block))
        return {"text": text, "content_types": types if set(types) - {"text", "inputText"} else None}

    def resources(self, blocks: list[Raw]) -> str:
        found = [inside(block.get("resource")) for block in blocks if text_of(block.get("type")) == "resource"]
        return "".join(text_of(resource.get("text")) or "" for resource in found)

    def structured(self, result: Raw) -> str:
        return next((result[name] for name in ("structuredContent", "toolResult") if present(result.get(name))), "")

    def links(self, blocks: list[Raw]) -> str:
        return "\n".join(text_of(block.get("uri")) or "" for block in blocks if text_of(block.get("type")) == "resource_link")

    # -- what is asked about calls ---------------------------------------------------------------------------------------

    def ask(self, key: Any, call: Call | None, question: Question | None) -> None:
        """The server asks the client; without a call it is about nothing."""
        if call is None or question is None:
            return
        self.keep(self.server_asked, key, (call, call.ask(question)))

    def client_response(self, key: Any, message: Raw) -> None:
        asked = self.server_asked.pop(key, None)
        if asked is None:
            return
        call, question = asked
        error = self.error(message)
        if error is not None:
            question.reason = text_of(inside(error).get("message")) or question.reason
        elif question.read is not None:
            question.decision, question.refuses = question.read(inside(message.get("result")))
        question.by = DecidedBy.CLIENT
        call.decide(question, self.now()[1])

    def withdraw(self, key: Any) -> None:
        asked = self.server_asked.pop(key, None)
        if asked is not None:
            asked[0].decide(asked[1], self.now()[1])

    def server_cancels(self, key: Any) -> None:
        self.withdraw(key)

    def read_action(self, result: Raw) -> tuple[str | None, bool]:
        return text_of(result.get("action")), False

    # -- the end ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self.close_calls()
        if self.own_table:
            self.table.close()

    def close_calls(self) -> None:
        for call in list(self.open):
            self.end(call, outcome=Outcome.UNANSWERED)

    def drop(self, call: Call) -> None:
        """A call falls out of the table in which it waits."""

    def end(self, call: Call, *, outcome: Outcome | None = None, text: str = "", **known: Any) -> None:
        self.open.remove(call)
        self.record(call, outcome, text, known)

    def record(self, call: Call, outcome: Outcome | None, text: str, known: dict[str, Any]) -> None:
        self.submitter.submit(self.operation(call, outcome, text, known))

    def operation(self, call: Call, outcome: Outcome | None, text: str, known: dict[str, Any]) -> Operation:
        fields = call.fields
        completed_at, completed = known.pop("at", None) or self.now()
        if self.damaged and re.search("[\udc80-\udcff]", text):
            known["replaced"] = True
        whole = self.clean(text).encode()
        limit = self.config.result_max_bytes
        if len(whole) > limit:
            known.update(truncated=True, total_bytes=len(whole), sha256=hashlib.sha256(whole).hexdigest())
        approval = approval_of(call, completed, self.duration_ms, self.name)
        if self.is_refused(call):
            outcome = Outcome.DECLINED
        waits = self.waited(call, completed)
        meta = ResultMeta(
            outcome=outcome,
            duplicate_id=call.duplicate or None,
            waited_ms=None if waits is None else self.duration_ms(waits),
            rounds=call.rounds if call.rounds > 1 else None,
            task_id=call.task_id,
            title=call.said.get("title"),
            id_respelled=call.respelled,
            **known,
        )
        server = fields.get("server") or (self.server_name if call.kind == "mcp" else None)
        return unchecked(
            id=fields.get("id") or self.new_id(),
            workspace_id=self.config.workspace_id,
            source=fields["source"],
            env_id=self.name(self.env(fields.get("environment"), server)),
            tool=self.name(fields["tool"]),
            is_error=self.is_error(outcome),
            started_at=call.began[0],
            completed_at=completed_at,
            duration_ms=self.duration_ms(completed - call.began[1]),
            user_id=self.user(fields.get("user_id")),
            thread_id=self.name(fields.get("thread_id")),
            request_id=self.name(fields.get("request_id")),
            arguments=fields.get("arguments"),
            arguments_meta=fields.get("arguments_meta"),
            result_summary=self.cut(whole, limit) if whole else None,
            result_meta=None if meta == ResultMeta() else meta,
            context=self.context(fields),
            approval=approval,
        )

    def is_refused(self, call: Call) -> bool:
        judgements = call.judgements()
        return next((each.refuses for each in reversed(judgements) if each.decision is not None), False)

    def waited(self, call: Call, end: float) -> float | None:
        return waited(call, end)

    def is_error(self, outcome: Outcome | None) -> bool:
        return outcome not in {None, Outcome.INPUT_REQUIRED, Outcome.UNFETCHED}

    def env(self, environment: str | None, server: str | None) -> str:
        return environment or server or self.config.default_env_id

    def user(self, claimed: str | None) -> str | None:
        return self.config.user_id or self.name(claimed)

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def now(self) -> tuple[datetime, float]:
        return self.clock(), self.monotonic()

    def duration_ms(self, seconds: float) -> int:
        return int(seconds * 1000)

    def clean(self, text: str) -> str:
        return re.sub("[\ud800-\udfff]", "\ufffd", text)

    def name(self, text: str | None) -> Any:
        return None if text is None else self.cut(self.clean(text).encode(), self.name_limit)

    def cut(self, data: bytes, limit: int) -> str:
        return data[:limit].decode("utf-8", "ignore")

    def remember(self, key: Any) -> None:
        """What is over, for a while."""
        self.keep(self.over, key, None)

    def keep(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """No table grows for ever: the oldest entry goes."""
        table[key] = value
        if len(table) > MANY:
            del table[next(iter(table))]
