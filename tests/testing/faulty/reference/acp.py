"""ACP: an agent's tool calls, the permissions that it asks for, prompts, and sessions that are loaded."""

from __future__ import annotations

import json
from typing import Any

from tests.testing.faulty.reference.calls import Call, Question
from tests.testing.faulty.reference.core import Core
from tests.testing.faulty.reference.raw import Raw, elements, inside, present, text_of, typed
from trio_oplog import Outcome

FINAL = {"completed": None, "failed": Outcome.FAILED}


class Acp(Core):
    def client_request(self, method: str, key: Any, message: Raw) -> None:
        session = text_of(inside(message.get("params")).get("sessionId"))
        if method == "session/load":
            self.keep(self.history, session, None)
        if method in {"session/prompt", "session/load"}:
            self.await_answer(key, method, session)
        else:
            super().client_request(method, key, message)

    def answered(self, purpose: str, about: str | None, message: Raw, error: str | None) -> None:
        if purpose == "session/load":
            self.history.pop(about, None)
        elif purpose == "session/prompt":
            self.end_prompt(about)
        else:
            super().answered(purpose, about, message, error)

    def end_prompt(self, session: str | None) -> None:
        for call in [call for call in self.open if call.kind == "acp" and call.fields["session"] == session]:
            self.end(call, outcome=Outcome.INTERRUPTED)

    def notification(self, method: str, params: Raw) -> None:
        update = inside(params.get("update"))
        if method == "session/update":
            if text_of(update.get("sessionUpdate")) in {"tool_call", "tool_call_update"} and self.config.record_items:
                self.hear(text_of(params.get("sessionId")), update)
        else:
            super().notification(method, params)

    def server_request(self, method: str, key: Any, message: Raw) -> None:
        params = inside(message.get("params"))
        if method != "session/request_permission":
            super().server_request(method, key, message)
        elif self.config.record_items:
            told = {
                name: raw
                for name, raw in inside(params.get("toolCall")).items()
                if name not in {"content", "rawOutput", "status"}
            }
            call = self.hear(text_of(params.get("sessionId")), told)
            options = [inside(raw) for raw in elements(params.get("options") or "[]")]
            kinds = {text_of(option.get("optionId")): text_of(option.get("kind")) for option in options}
            self.ask(
                key, call, Question(self.now()[1], read=lambda result: self.read_choice(kinds, inside(result.get("outcome"))))
            )

    def read_choice(self, kinds: dict[str | None, str | None], outcome: Raw) -> tuple[str | None, bool]:
        if text_of(outcome.get("outcome")) == "cancelled":
            return "cancelled", False
        chosen = text_of(outcome.get("optionId"))
        decision = kinds.get(chosen) or chosen
        return decision, (decision or "").startswith("reject") and chosen in kinds

    def hear(self, session: str | None, told: Raw) -> Call | None:
        """Whatever an agent tells of a call; the call, if it is open then."""
        key = ("acp", session, text_of(told.get("toolCallId")))
        if self.is_history(session) or key in self.over:
            return None
        status = text_of(told.get("status"))
        call = self.oldest(key)
        if call is None:
            fields = {"source": "llm", "request_id": key[2], "thread_id": session, "session": session, "tool": "other"}
            call = Call(key, "acp", None, fields, self.now())
            if status in FINAL:
                self.open.append(call)
            else:
                self.begin(call)
        earlier = dict(call.said)
        self.learn(call, told)
        if status in FINAL and call in self.open:
            self.end(call, outcome=FINAL[status], text=self.summary(told, earlier))
        return call if call in self.open else None

    def is_history(self, session: str | None) -> bool:
        return session in self.history

    def learn(self, call: Call, told: Raw) -> None:
        meta = inside(told.get("_meta"))
        name = text_of(inside(meta.get("claudeCode")).get("toolName")) or text_of(meta.get("toolName"))
        said = {
            "name": name,
            "kind": text_of(told.get("kind")),
            "title": text_of(told.get("title")),
            "text": self.said_in(told),
            "output": self.output(told),
        }
        call.said.update({key: value for key, value in said.items() if value})
        if present(told.get("rawInput")):
            for name in ("arguments", "arguments_meta"):
                call.fields.pop(name, None)
            call.fields.update(self.kept_arguments(told["rawInput"]))
        call.fields["tool"] = call.said.get("name") or call.said.get("kind") or "other"

    def said_in(self, told: Raw) -> str:
        if typed(told.get("content"), list) is None:
            return ""
        blocks = [
            inside(raw).get("content") for raw in elements(told["content"]) if text_of(inside(raw).get("type")) == "content"
        ]
        content = json.dumps([json.loads(block) for block in blocks if block])
        return self.gist(f'{{"content":{content}}}')["text"]

    def output(self, told: Raw) -> str:
        raw = told.get("rawOutput")
        return text_of(raw) or (raw if raw is not None and present(raw) and text_of(raw) is None else "")

    def summary(self, told: Raw, earlier: dict[str, str]) -> str:
        return self.said_in(told) or self.output(told) or earlier.get("text") or earlier.get("output") or ""

    def end(self, call: Call, **known: Any) -> None:
        if call.kind == "acp":
            self.remember(call.key)
        super().end(call, **known)
