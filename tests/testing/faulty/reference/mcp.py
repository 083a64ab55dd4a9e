"""MCP: tools/call, tasks in both versions, rounds of input, and what a server asks in the middle of a call."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.testing.faulty.reference.calls import Call, Question
from tests.testing.faulty.reference.core import Core
from tests.testing.faulty.reference.raw import Raw, inside, present, text_of
from trio_oplog import DecidedBy, Outcome

TASK_REQUESTS = {"tasks/get", "tasks/result", "tasks/cancel"}


class Mcp(Core):
    def client_request(self, method: str, key: Any, message: Raw) -> None:
        params = inside(message.get("params"))
        if method == "tools/call":
            call = self.continued(params)
            if call is None:
                self.begin_call(message, key, "mcp")
            else:
                self.go_on(call, key, params)
        elif method in TASK_REQUESTS:
            self.await_answer(key, method, text_of(params.get("taskId")))
        elif method == "tasks/update":
            self.update_task(text_of(params.get("taskId")), inside(params.get("inputResponses")))
        else:
            super().client_request(method, key, message)

    def server_request(self, method: str, key: Any, message: Raw) -> None:
        params = inside(message.get("params"))
        if method in {"elicitation/create", "sampling/createMessage"}:
            asks_person = method == "elicitation/create"
            question = Question(self.now()[1], waits=asks_person, approves=asks_person, read=self.read_action)
            self.ask(key, self.asked_about(params), question)
        else:
            super().server_request(method, key, message)

    def notification(self, method: str, params: Raw) -> None:
        if method in {"notifications/tasks/status", "notifications/tasks"}:
            self.see_status(text_of(params.get("taskId")), params, told=True)
        else:
            super().notification(method, params)

    def asked_about(self, params: Raw) -> Call | None:
        related = inside(inside(params.get("_meta")).get("io.modelcontextprotocol/related-task"))
        task_id = text_of(related.get("taskId"))
        if task_id is not None:
            return self.task(task_id)
        return next((call for call in self.open if call.kind == "mcp" and not call.open_questions()), None)

    # -- tasks -----------------------------------------------------------------------------------------------------------

    def end_call(self, call: Call, message: Raw, error: str | None) -> None:
        result = inside(message.get("result")) if error is None else {}
        task_id = self.task_of(result)
        asks = text_of(result.get("resultType")) == "input_required"
        if call.kind != "mcp" or (task_id is None and not asks):
            super().end_call(call, message, error)
            return
        call.task_id = task_id
        if asks:
            self.ask_for_round(call, result)
        self.suspend(call)

    def task_of(self, result: Raw) -> str | None:
        if text_of(result.get("resultType")) == "task":
            return text_of(result.get("taskId"))
        return text_of(inside(result.get("task")).get("taskId"))

    def suspend(self, call: Call) -> None:
        self.open.remove(call)
        self.table.add(call, self)

    def task(self, task_id: str | None) -> Call | None:
        return next((call for call, _, _ in self.table.waiting if call.round is None and call.task_id == task_id), None)

    def answered(self, purpose: str, about: str | None, message: Raw, error: str | None) -> None:
        call = self.task(about)
        if purpose not in TASK_REQUESTS:
            super().answered(purpose, about, message, error)
        elif call is not None:
            {"tasks/get": self.got, "tasks/result": self.fetched, "tasks/cancel": self.task_cancelled}[purpose](
                call, message, error
            )

    def got(self, call: Call, message: Raw, error: str | None) -> None:
        if error is None:
            self.see_status(call.task_id, inside(message.get("result")))

    def fetched(self, call: Call, message: Raw, error: str | None) -> None:
        result = inside(message.get("result"))
        if error is None and not any(present(result.get(name)) for name in ("content", "structuredContent", "toolResult")):
            self.end_without_content(call)
        else:
            self.end_task(call, **self.answer(call, message, error))

    def end_without_content(self, call: Call) -> None:
        outcomes = {"failed": Outcome.FAILED, "cancelled": Outcome.CANCELLED}
        outcome = outcomes.get(call.status or "")
        self.end_task(call, outcome=outcome, text=(call.status_message or "") if outcome else "")

    def task_cancelled(self, call: Call, message: Raw, error: str | None) -> None:
        if error is not None:
            return
        result = inside(message.get("result"))
        if text_of(result.get("status")) in {None, "cancelled"}:
            self.end_task(call, outcome=Outcome.CANCELLED, text=text_of(result.get("statusMessage")) or "")
        else:
            self.see_status(call.task_id, result)

    def see_status(self, task_id: str | None, said: Raw, *, told: bool = False) -> None:
        call = self.task(task_id)
        status = text_of(said.get("status"))
        if call is None or status is None:
            return
        message = text_of(said.get("statusMessage"))
        if status == "cancelled":
            self.end_task(call, outcome=Outcome.CANCELLED, text=message or "")
            return
        call.status, call.status_message = status, message
        if status not in call.seen or (not told and status in call.told):
            call.seen[status] = self.now()
        (call.told.add if told else call.told.discard)(status)
        if "result" in said:
            self.end_task(call, **self.answer(call, said, None))
        elif status == "failed" and present(said.get("error")):
            self.end_task(call, **self.answer(call, said, said["error"]))
        elif self.elicitation(said) and not call.open_questions():
            call.ask(Question(self.now()[1]))

    def update_task(self, task_id: str | None, responses: Raw) -> None:
        call = self.task(task_id)
        if call is not None:
            self.bring(call, responses)

    def end_task(self, call: Call, *, outcome: Outcome | None = None, text: str = "", **known: Any) -> None:
        self.table.remove(call)
        self.record(call, outcome, text, known)

    def drop(self, call: Call) -> None:
        self.damaged = False
        if call.round is not None:
            self.record(call, Outcome.INPUT_REQUIRED, "", {"at": call.round["at"]})
        elif call.status in {"completed", "failed"}:
            outcome = Outcome.UNFETCHED if call.status == "completed" else Outcome.FAILED
            text = (call.status_message or "") if call.status == "failed" else ""
            self.record(call, outcome, text, {"at": call.seen[call.status]})
        else:
            self.record(call, Outcome.UNANSWERED, "", {})

    # -- rounds ----------------------------------------------------------------------------------------------------------

    def elicitation(self, said: Raw) -> str | None:
        requests = inside(said.get("inputRequests"))
        return next((name for name, raw in requests.items() if text_of(inside(raw).get("method")) == "elicitation/create"), None)

    def ask_for_round(self, call: Call, result: Raw) -> None:
        call.round = {
            "state": text_of(result.get("requestState")),
            "keys": set(inside(result.get("inputRequests"))),
            "at": self.now(),
        }
        if self.elicitation(result):
            call.ask(Question(call.round["at"][1]))

    def begin_call(self, message: Raw, key: Any, kind: str) -> None:
        super().begin_call(message, key, kind)
        params = inside(message.get("params"))
        for call in self.open[-1:]:
            call.asks_for = (text_of(params.get("name")), self.canonical(params.get("arguments")))

    def canonical(self, raw: str | None) -> str:
        """The digest of what equal arguments have in common: a call that waits must not hold them."""
        try:
            text = json.dumps(json.loads(raw or "null"), sort_keys=True)
        except RecursionError:
            text = raw or ""
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def continued(self, params: Raw) -> Call | None:
        wanted = (text_of(params.get("name")), self.canonical(params.get("arguments")))
        return next((call for call, _, _ in self.table.waiting if call.asks_for == wanted and self.is_retry(call, params)), None)

    def is_retry(self, call: Call, params: Raw) -> bool:
        if call.round is None or call.round["state"] != text_of(params.get("requestState")):
            return False
        return not call.round["keys"] or bool(call.round["keys"] & set(inside(params.get("inputResponses"))))

    def go_on(self, call: Call, key: Any, params: Raw) -> None:
        self.table.remove(call)
        self.bring(call, inside(params.get("inputResponses")))
        call.rounds += 1
        call.round = None
        call.key = key
        self.begin(call)

    def bring(self, call: Call, responses: Raw) -> None:
        """What a person was asked for has come."""
        actions = [text_of(inside(raw).get("action")) for raw in responses.values()]
        for question in call.open_questions()[:1]:
            question.by, question.decision = DecidedBy.CLIENT, next((action for action in actions if action), None)
            call.decide(question, self.now()[1])
