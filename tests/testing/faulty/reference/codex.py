"""Codex: direct calls, items, approvals, reviews, hooks, turns, and what its clients run, write and read."""

from __future__ import annotations

import uuid
from typing import Any

from tests.testing.faulty.reference.calls import Call, Question
from tests.testing.faulty.reference.core import Core
from tests.testing.faulty.reference.raw import Raw, an_object, elements, inside, present, same_json, text_of, typed
from trio_oplog import DecidedBy, Outcome

ITEMS = {
    "mcpToolCall": (),
    "dynamicToolCall": (),
    "commandExecution": ("command", "cwd"),
    "fileChange": ("changes",),
    "webSearch": ("query", "action"),
    "collabAgentToolCall": ("prompt", "receiverThreadIds"),
    "imageView": ("path",),
    "imageGeneration": ("revisedPrompt", "savedPath"),
    "sleep": ("durationMs",),
    "subAgentActivity": ("kind", "agentThreadId", "agentPath"),
}
NAMED = {"mcpToolCall", "dynamicToolCall", "collabAgentToolCall"}
EXECUTIONS = {
    "command/exec": ("command", "cwd", "env", "timeoutMs", "processId"),
    "process/spawn": ("command", "cwd", "env", "timeoutMs", "processHandle"),
    "fs/writeFile": ("path", "dataBase64"),
    "fs/remove": ("path", "recursive", "force"),
    "fs/copy": ("sourcePath", "destinationPath", "recursive"),
    "fs/createDirectory": ("path", "recursive"),
    "mcpServer/resource/read": ("server", "uri"),
}
APPROVALS = {"item/commandExecution/requestApproval", "item/fileChange/requestApproval", "item/permissions/requestApproval"}
LEGACY = {"execCommandApproval", "applyPatchApproval"}
REFUSALS = {"decline", "cancel", "denied", "abort"}


class Codex(Core):
    def client_request(self, method: str, key: Any, message: Raw) -> None:
        if method == "mcpServer/tool/call":
            self.begin_call(message, key, "codex")
        elif method in EXECUTIONS:
            self.begin_execution(method, key, message)
        else:
            super().client_request(method, key, message)

    def notification(self, method: str, params: Raw) -> None:
        thread = text_of(params.get("threadId"))
        turn = text_of(inside(params.get("turn")).get("id"))
        if method in {"item/started", "item/completed"}:
            item = inside(params.get("item"))
            if self.is_call(item) and self.config.record_items:
                getattr(self, method.replace("/", "_"))(params, item)
        elif method == "turn/completed":
            self.turn_completed((thread, turn))
        elif method == "turn/started":
            self.turn_started(thread, turn)
        elif method == "thread/closed":
            self.thread_closed(thread)
        elif method == "process/exited":
            self.process_exited(params)
        elif method == "serverRequest/resolved":
            self.withdraw(self.key(params.get("requestId")))
        elif method.startswith("item/autoApprovalReview/") and self.config.record_items:
            self.review(method.rpartition("/")[2], params)
        elif method.startswith("hook/") and self.config.record_items:
            self.hook(method.rpartition("/")[2], params)
        else:
            super().notification(method, params)

    def is_call(self, item: Raw) -> bool:
        kind = text_of(item.get("type"))
        return kind in ITEMS and not (kind == "subAgentActivity" and text_of(item.get("kind")) == "completed")

    # -- items -----------------------------------------------------------------------------------------------------------

    def item_call(self, params: Raw, item: Raw) -> Call:
        kind, thread, turn = text_of(item["type"]) or "", text_of(params.get("threadId")), text_of(params.get("turnId"))
        item_id = text_of(item.get("id"))
        arguments = an_object(item, ITEMS[kind]) if ITEMS[kind] else item.get("arguments")
        fields = {
            "source": self.config.source if text_of(item.get("source")) == "userShell" else "llm",
            "request_id": item_id,
            "tool": text_of(item.get("tool")) or ("unknown" if kind in NAMED - {"collabAgentToolCall"} else kind),
            "thread_id": thread,
            "server": text_of(item.get("server")),
            "environment": self.environment(arguments),
            **self.kept_arguments(None if arguments == "{}" and ITEMS[kind] else arguments),
        }
        call = Call(self.item_key(thread, turn, item_id, kind), kind, (thread, turn), fields, self.now())
        call.started_ms = typed(item.get("startedAtMs"), int)
        return call

    def item_key(self, *parts: Any) -> Any:
        return parts

    def item_started(self, params: Raw, item: Raw) -> None:
        call = self.item_call(params, item)
        if not self.is_known(call):
            self.adopt(call)
            self.begin(call)

    def item_completed(self, params: Raw, item: Raw) -> None:
        completed = self.item_call(params, item)
        if self.is_over(completed):
            return
        call = self.oldest(completed.key)
        if call is None:
            call = completed
            self.adopt(call)
            self.open.append(call)
        call.fields = completed.fields
        if completed.started_ms is not None:
            self.remember((completed.key, completed.started_ms))
            key = f"{self.config.workspace_id} {completed.key} {item['startedAtMs']} {item.get('completedAtMs')}"
            call.fields["id"] = self.execution_id(key)
        self.end(call, **self.item_answer(call.kind, item))

    def is_known(self, call: Call) -> bool:
        """Whether this very execution was told of before."""
        twins = [other for other in self.open if other.key == call.key and other.started_ms == call.started_ms]
        return call.started_ms is not None and (bool(twins) or (call.key, call.started_ms) in self.over)

    def is_over(self, call: Call) -> bool:
        if call.started_ms is not None and (call.key, call.started_ms) in self.over:
            return True
        return call.key in self.over and self.oldest(call.key) is None

    def execution_id(self, key: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, key))

    def item_answer(self, kind: str, item: Raw) -> dict[str, Any]:
        outcome = self.status_outcome(text_of(item.get("status")))
        if kind == "imageGeneration":
            failed = text_of(item.get("status")) == "failed" or present(item.get("failure"))
            outcome = Outcome.FAILED if failed else None
        if outcome is None and item.get("success") == "false":
            outcome = Outcome.TOOL_ERROR
        found = (
            self.gist(item.get("result"))
            if kind == "mcpToolCall"
            else self.gist(an_object(item, ("contentItems",)), "contentItems")
        )
        if present(item.get("error")):
            found["text"] = self.error_said(item["error"])["text"] or found["text"]
        found["text"] = text_of(item.get("aggregatedOutput")) or found["text"]
        duration = None if kind == "sleep" else typed(item.get("durationMs"), int)
        return {"outcome": outcome, "exit_code": typed(item.get("exitCode"), int), "reported_duration_ms": duration, **found}

    def status_outcome(self, status: str | None) -> Outcome | None:
        if status in {None, "completed", "inProgress"}:
            return None
        return Outcome(status) if status in {"declined", "interrupted"} else Outcome.FAILED

    # -- turns -----------------------------------------------------------------------------------------------------------

    def turn_completed(self, turn: Any) -> None:
        self.leave_behind([call for call in self.open if call.turn == turn])

    def turn_started(self, thread: str | None, turn: str | None) -> None:
        self.leave_behind([call for call in self.open if call.turn and call.turn[0] == thread and call.turn[1] != turn])

    def thread_closed(self, thread: str | None) -> None:
        for call in [call for call in self.open if call.turn and call.turn[0] == thread]:
            self.interrupt(call)

    def leave_behind(self, calls: list[Call]) -> None:
        for call in calls:
            if call.kind != "commandExecution" or any(each.approves for each in call.open_questions()):
                self.interrupt(call)

    def interrupt(self, call: Call) -> None:
        self.remember(call.key)
        if call.started_ms is not None:
            self.remember((call.key, call.started_ms))
        self.end(call, outcome=Outcome.INTERRUPTED)

    # -- approvals -------------------------------------------------------------------------------------------------------

    def item_named(self, thread: str | None, item_id: str | None) -> Call | None:
        return next((call for call in self.open if call.turn and (call.turn[0], call.key[2:3]) == (thread, (item_id,))), None)

    def server_request(self, method: str, key: Any, message: Raw) -> None:
        params = inside(message.get("params"))
        thread = text_of(params.get("threadId"))
        question = Question(self.now()[1], reason=text_of(params.get("reason")))
        if method in APPROVALS:
            writes = text_of(params.get("kind")) == "writeStdin"
            question.read = (
                self.read_permissions if "permissions" in method else self.read_writing if writes else self.read_decision
            )
            self.ask(key, self.item_named(thread, text_of(params.get("itemId"))), question)
        elif method in LEGACY:
            question.read = self.read_decision
            self.ask(key, self.item_named(text_of(params.get("conversationId")), text_of(params.get("callId"))), question)
        elif method == "item/tool/requestUserInput":
            question.approves = False
            self.ask(key, self.item_named(thread, text_of(params.get("itemId"))), question)
        elif method == "mcpServer/elicitation/request":
            approves = present(inside(params.get("_meta")).get("codex_approval_kind"))
            question.read = self.read_mcp_approval if approves else self.read_action
            self.ask(key, self.mcp_call_asked(params, approves=approves), question)
        else:
            super().server_request(method, key, message)

    def mcp_call_asked(self, params: Raw, *, approves: bool) -> Call | None:
        thread, server, meta = text_of(params.get("threadId")), text_of(params.get("serverName")), inside(params.get("_meta"))
        for call in self.open:
            if (call.fields["thread_id"], call.fields.get("server")) != (thread, server):
                continue
            if approves and self.is_asked_for(call, meta):
                return call
            if not approves and not call.open_questions():
                return call
        return None

    def is_asked_for(self, call: Call, meta: Raw) -> bool:
        arguments = call.fields.get("arguments")
        alike = same_json(arguments.decode() if arguments else None, meta.get("tool_params"))
        return call.fields["tool"] == text_of(meta.get("tool_name")) and alike and not call.questions

    def read_decision(self, result: Raw) -> tuple[str | None, bool]:
        decision = text_of(result.get("decision")) or next(iter(inside(result.get("decision"))), None)
        return decision, decision in REFUSALS

    def read_writing(self, result: Raw) -> tuple[str | None, bool]:
        return self.read_decision(result)[0], False

    def read_permissions(self, result: Raw) -> tuple[str | None, bool]:
        if not inside(result.get("permissions")):
            return "decline" if "permissions" in result else None, False
        return text_of(result.get("scope")) or "turn", False

    def read_mcp_approval(self, result: Raw) -> tuple[str | None, bool]:
        action = text_of(result.get("action"))
        persist = text_of(inside(result.get("_meta")).get("persist"))
        decision = f"{action} persist={persist}" if action == "accept" and persist else action
        return decision, action in {"decline", "cancel"}

    # -- reviews and hooks -----------------------------------------------------------------------------------------------

    def place(self, thread: str | None, item_id: str | None) -> Call:
        """The item, or a place for what is decided before it is announced."""
        found = self.item_named(thread, item_id) or self.early.get((thread, item_id))
        if found is None:
            found = Call(None, "", None, {}, self.now())
            self.keep(self.early, (thread, item_id), found)
        return found

    def adopt(self, call: Call) -> None:
        early = self.early.pop((call.fields["thread_id"], call.fields["request_id"]), None)
        if early is not None:
            call.questions, call.decided = early.questions, early.decided

    def review(self, stage: str, params: Raw) -> None:
        call = self.place(text_of(params.get("threadId")), text_of(params.get("targetItemId")))
        found = inside(params.get("review"))
        if stage == "started":
            call.ask(Question(self.now()[1], waits=False, by=DecidedBy.REVIEWER))
            return
        for question in [each for each in call.open_questions() if each.by is DecidedBy.REVIEWER][:1]:
            question.decision = text_of(found.get("status"))
            question.refuses = question.decision not in {"approved", "inProgress"}
            question.reason, question.risk = text_of(found.get("rationale")), text_of(found.get("riskLevel"))
            call.decide(question, self.now()[1])

    def hook(self, stage: str, params: Raw) -> None:
        run = inside(params.get("run"))
        name = text_of(run.get("id")) or ""
        started = ("hook", name)
        if stage == "started":
            self.keep(self.early, started, Call(None, "", None, {}, self.now()))
            return
        began = self.early.pop(started, None)
        status, event = text_of(run.get("status")), text_of(run.get("eventName"))
        blocks = status == "blocked"
        if not blocks and (status != "completed" or event != "permissionRequest"):
            return
        call = self.place(text_of(params.get("threadId")), name.rpartition(":")[2])
        entries = [text_of(inside(raw).get("text")) for raw in elements(run.get("entries") or "[]")]
        reason = "\n".join(entry for entry in entries if entry) if blocks else None
        asked = began.began[1] if began else self.now()[1]
        question = Question(asked, waits=False, by=DecidedBy.HOOK, reason=reason or None, provisional=not blocks)
        question.decision, question.refuses = ("block", True) if blocks else ("allow", False)
        call.decide(call.ask(question), self.now()[1])

    # -- what clients run, write and read ------------------------------------------------------------------------------------

    def begin_execution(self, method: str, key: Any, message: Raw) -> None:
        params = inside(message.get("params"))
        fields = {
            "source": self.config.source,
            "request_id": self.request_id(message["id"]),
            "tool": method,
            "thread_id": text_of(params.get("threadId")),
            "server": text_of(params.get("server")) if method.startswith("mcpServer") else None,
            "handle": text_of(params.get("processHandle")),
            **self.kept_arguments(an_object(params, EXECUTIONS[method])),
            **self.origin(message, codex=True),
        }
        self.begin(Call(key, method, None, fields, self.now()))

    def end_call(self, call: Call, message: Raw, error: str | None) -> None:
        if call.kind == "process/spawn" and error is None:
            return
        super().end_call(call, message, error)

    def answer(self, call: Call, message: Raw, error: str | None) -> dict[str, Any]:
        result = inside(message.get("result"))
        if error is None and call.kind == "command/exec":
            return self.exited(result)
        if error is None and call.kind == "mcpServer/resource/read":
            contents = [inside(raw) for raw in elements(result.get("contents") or "[]")]
            return {"text": "".join(text_of(each.get("text")) or "" for each in contents)}
        return super().answer(call, message, error)

    def exited(self, said: Raw) -> dict[str, Any]:
        code = typed(said.get("exitCode"), int)
        text = (text_of(said.get("stdout")) or "") + (text_of(said.get("stderr")) or "")
        return {"outcome": Outcome.TOOL_ERROR if code else None, "text": text, "exit_code": code}

    def process_exited(self, params: Raw) -> None:
        handle = text_of(params.get("processHandle"))
        for call in [call for call in self.open if call.kind == "process/spawn" and call.fields["handle"] == handle][:1]:
            self.end(call, **self.exited(params))
