"""Interceptors that each break one law of what calls wait for, who decides on them, and what else came later."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from tests.testing.faulty.interceptors import breaks as breaks_among
from tests.testing.faulty.reference import Call, Question, Raw, Reference, Table, inside, text_of
from trio_oplog import Context, DecidedBy, Outcome
from trio_oplog.testing import Law

FAULTY: list[tuple[type[Reference], set[Law]]] = []
breaks = partial(breaks_among, among=FAULTY)

# -- tasks and rounds ----------------------------------------------------------------------------------------------------


@breaks(Law.TASKS)
class RecordsATaskAsSuccess(Reference):
    def task_of(self, result: Raw) -> str | None:
        return None


@breaks(Law.TASKS)
class KnowsTheOldTasksOnly(Reference):
    def task_of(self, result: Raw) -> str | None:
        return text_of(inside(result.get("task")).get("taskId"))


@breaks(Law.TASKS)
class EndsTasksAtTheirStatus(Reference):
    """A status that says completed is the end, it thinks."""

    def see_status(self, task_id: str | None, said: Raw, *, told: bool = False) -> None:
        call = self.task(task_id)
        if call is not None and text_of(said.get("status")) == "completed" and "result" not in said:
            self.end_task(call)
        else:
            super().see_status(task_id, said, told=told)


@breaks(Law.TASKS)
class TakesFailuresWithoutContentForSuccess(Reference):
    def end_without_content(self, call: Call) -> None:
        self.end_task(call)


@breaks(Law.TASKS)
class BelievesEveryCancellation(Reference):
    """Also one that the server refuses."""

    def task_cancelled(self, call: Call, message: Raw, error: str | None) -> None:
        super().task_cancelled(call, message, None)


@breaks(Law.TASKS)
class HearsNoNotifications(Reference):
    def notification(self, method: str, params: Raw) -> None:
        if not method.startswith("notifications/tasks"):
            super().notification(method, params)


@breaks(Law.TASKS)
class ForgetsTaskIds(Reference):
    def record(self, call: Call, *arguments: Any) -> None:
        call.task_id = None
        super().record(call, *arguments)


@breaks(Law.SUSPENDED)
class ForgetsWhatWaits(Reference):
    def close(self) -> None:
        self.close_calls()


@breaks(Law.SUSPENDED)
class TakesUnfetchedForUnanswered(Reference):
    def drop(self, call: Call) -> None:
        call.status = None
        super().drop(call)


@breaks(Law.SUSPENDED)
class EndsUnfetchedTasksAtTheVeryEnd(Reference):
    def record(self, call: Call, outcome: Outcome | None, text: str, known: dict[str, Any]) -> None:
        known.pop("at", None)
        super().record(call, outcome, text, known)


@breaks(Law.SUSPENDED_BOUNDED)
class LetsEverythingWait(Reference):
    def table_for(self, shared: Table | None) -> Table:
        table = super().table_for(shared)
        table.max_calls = 10**9
        return table


@breaks(Law.SUSPENDED_BOUNDED)
class LetsThemWaitForEver(Reference):
    def table_for(self, shared: Table | None) -> Table:
        table = super().table_for(shared)
        table.max_age = float("inf")
        return table


@breaks(Law.SUSPENDED_BOUNDED, Law.SUSPENDED)
class DropsWithoutARecord(Reference):
    def suspend(self, call: Call) -> None:
        if len(self.table.waiting) >= self.table.max_calls:
            del self.table.waiting[0]
        super().suspend(call)


@breaks(Law.SUSPENDED_ELSEWHERE)
class ForgetsTasksWithTheirConnection(Reference):
    def close(self) -> None:
        if not self.own_table:
            self.table.waiting = [entry for entry in self.table.waiting if entry[1] is not self]
        super().close()


@breaks(Law.SUSPENDED_ELSEWHERE)
class RecordsTasksWithTheirConnection(Reference):
    def close(self) -> None:
        for call in [call for call, owner, _ in self.table.waiting if owner is self]:
            self.table.drop(call)
        super().close()


@breaks(Law.SUSPENDED_ELSEWHERE)
class HasATableOfItsOwn(Reference):
    def table_for(self, shared: Table | None) -> Table:
        self.own_table = True
        return super().table_for(None)


@breaks(Law.ROUNDS)
class CountsRoundsTwice(Reference):
    def go_on(self, call: Call, key: Any, params: Raw) -> None:
        call.rounds += 1
        super().go_on(call, key, params)


@breaks(Law.ROUNDS)
class TakesRetriesForCallsOfTheirOwn(Reference):
    def continued(self, params: Raw) -> Call | None:
        return None


@breaks(Law.ROUNDS)
class LooksAtNoState(Reference):
    def is_retry(self, call: Call, params: Raw) -> bool:
        return call.round is not None


@breaks(Law.ROUNDS)
class LooksAtNothingButTheState(Reference):
    def continued(self, params: Raw) -> Call | None:
        return next((call for call, _, _ in self.table.waiting if self.is_retry(call, params)), None)


@breaks(Law.ROUNDS)
class ComparesArgumentsByTheirText(Reference):
    def canonical(self, raw: str | None) -> str:
        return raw or ""


@breaks(Law.ROUNDS)
class GoesOnWithTheNewestTwin(Reference):
    def continued(self, params: Raw) -> Call | None:
        self.table.waiting.reverse()
        found = super().continued(params)
        self.table.waiting.reverse()
        return found


# -- who decides ---------------------------------------------------------------------------------------------------------


@breaks(Law.APPROVAL_LINK)
class AsksTheNewestCall(Reference):
    """Attributes an approval to the wrong call: to the one that began last."""

    def mcp_call_asked(self, params: Raw, *, approves: bool) -> Call | None:
        self.open.reverse()
        found = super().mcp_call_asked(params, approves=approves)
        self.open.reverse()
        return found


@breaks(Law.APPROVAL_LINK)
class LooksAtNoArguments(Reference):
    def is_asked_for(self, call: Call, meta: Raw) -> bool:
        return not call.questions


@breaks(Law.APPROVAL_LINK)
class LooksAtNoThread(Reference):
    def item_named(self, thread: str | None, item_id: str | None) -> Call | None:
        return next((call for call in self.open if call.turn and call.key[2:3] == (item_id,)), None)


@breaks(Law.APPROVAL_LINK)
class KnowsNoRelatedTasks(Reference):
    def asked_about(self, params: Raw) -> Call | None:
        return next((call for call in self.open if call.kind == "mcp"), None)


@breaks(Law.APPROVAL_LINK)
class RecordsWhatIsBlockedBeforeItBegins(Reference):
    def hook(self, stage: str, params: Raw) -> None:
        super().hook(stage, params)
        for place in [key for key in self.early if key[0] != "hook"]:
            call = self.early.pop(place)
            call.fields.update({"source": "llm", "tool": "unknown"})
            self.record(call, Outcome.DECLINED, "", {})


@breaks(Law.APPROVALS)
class CountsNothing(Reference):
    def ask(self, key: Any, call: Call | None, question: Question | None) -> None:
        if call is not None:
            call.decided.clear()
        super().ask(key, call, question)


@breaks(Law.APPROVALS)
class KeepsTheFirstDecision(Reference):
    def record(self, call: Call, *arguments: Any) -> None:
        call.decided.reverse()
        super().record(call, *arguments)


@breaks(Law.APPROVALS)
class KnowsNoResolution(Reference):
    """What another connection decided is decided by the late answer of this one."""

    def withdraw(self, key: Any) -> None:
        pass


@breaks(Law.APPROVALS)
class TakesOurAnswersForAnybodys(Reference):
    def client_response(self, key: Any, message: Raw) -> None:
        asked = self.server_asked.get(key)
        super().client_response(key, message)
        if asked is not None:
            asked[1].by = DecidedBy.NONE


@breaks(Law.APPROVALS)
class TrustsEveryHook(Reference):
    """A hook that ran has allowed the call, it thinks, though a person was asked afterwards."""

    def hook(self, stage: str, params: Raw) -> None:
        super().hook(stage, params)
        for call in [*self.open, *self.early.values()]:
            for question in call.questions:
                question.provisional = False


@breaks(Law.APPROVALS)
class HearsNoReviews(Reference):
    def review(self, stage: str, params: Raw) -> None:
        pass


@breaks(Law.APPROVALS)
class ForgetsWhatCameBefore(Reference):
    def adopt(self, call: Call) -> None:
        pass


@breaks(Law.APPROVALS, Law.REFUSED)
class SaysTheOptionsId(Reference):
    def read_choice(self, kinds: dict[str | None, str | None], outcome: Raw) -> tuple[str | None, bool]:
        decision, refuses = super().read_choice(kinds, outcome)
        return text_of(outcome.get("optionId")) or decision, refuses


@breaks(Law.APPROVALS)
class LetsLongReasonsThrough(Reference):
    def name(self, text: str | None) -> Any:
        return text if text is not None and len(text) == 600 else super().name(text)


@breaks(Law.REFUSED)
class BelievesTheEnd(Reference):
    def is_refused(self, call: Call) -> bool:
        return False


@breaks(Law.REFUSED)
class TakesRefusedInputForARefusedCall(Reference):
    def read_writing(self, result: Raw) -> tuple[str | None, bool]:
        return self.read_decision(result)


@breaks(Law.REFUSED, Law.APPROVALS)
class TakesEveryNoForARefusal(Reference):
    def read_action(self, result: Raw) -> tuple[str | None, bool]:
        action = text_of(result.get("action"))
        return action, action == "decline"


@breaks(Law.WAITS)
class AddsUpOverlappingWaits(Reference):
    def waited(self, call: Call, end: float) -> float | None:
        waits = [each for each in call.questions if each.waits]
        return sum(each.until(end) - each.asked for each in waits) if waits else None


@breaks(Law.WAITS)
class WaitsForTheModelToo(Reference):
    def ask(self, key: Any, call: Call | None, question: Question | None) -> None:
        if question is not None:
            question.waits = True
        super().ask(key, call, question)


@breaks(Law.WAITS, Law.APPROVALS, Law.REFUSED)
class CountsAnsweredWaitsOnly(Reference):
    def waited(self, call: Call, end: float) -> float | None:
        call.questions = [each for each in call.questions if each.decided is not None]
        return super().waited(call, end)


@breaks(Law.ONLY_REQUESTER_CANCELS)
class EndsACallOnTheServersCancellation(Reference):
    def server_cancels(self, key: Any) -> None:
        self.cancel(key)


@breaks(Law.ONLY_REQUESTER_CANCELS)
class LeavesWithdrawnQuestionsOpen(Reference):
    def server_cancels(self, key: Any) -> None:
        pass


@breaks(Law.CANCEL_REASON)
class ForgetsTheReason(Reference):
    def cancel(self, key: Any, reason: str | None = None) -> None:
        super().cancel(key)


# -- items, turns and what clients run -----------------------------------------------------------------------------------


@breaks(Law.SAME_EXECUTION)
class TakesRepeatsForNewCalls(Reference):
    def is_known(self, call: Call) -> bool:
        return False


@breaks(Law.SAME_EXECUTION)
class RecordsEveryCompletion(Reference):
    def is_over(self, call: Call) -> bool:
        return False


@breaks(Law.TURN_ENDS)
class RecordsWhatATurnLeftAgain(Reference):
    def interrupt(self, call: Call) -> None:
        self.end(call, outcome=Outcome.INTERRUPTED)


@breaks(Law.TURN_ENDS)
class IgnoresNewTurns(Reference):
    def turn_started(self, thread: str | None, turn: str | None) -> None:
        pass


@breaks(Law.TURN_ENDS)
class EndsASteeredTurn(Reference):
    def turn_started(self, thread: str | None, turn: str | None) -> None:
        super().turn_started(thread, None)


@breaks(Law.TURN_ENDS)
class LetsClosedThreadsLinger(Reference):
    def thread_closed(self, thread: str | None) -> None:
        pass


@breaks(Law.TURN_ENDS)
class LeavesCommandsThatAskOpen(Reference):
    def leave_behind(self, calls: list[Call]) -> None:
        super().leave_behind([call for call in calls if call.kind != "commandExecution"])


@breaks(Law.CLIENT_EXECUTIONS)
class SeesNoExecutions(Reference):
    def begin_execution(self, method: str, key: Any, message: Raw) -> None:
        pass


@breaks(Law.CLIENT_EXECUTIONS)
class EndsProcessesWhenTheyStart(Reference):
    def end_call(self, call: Call, message: Raw, error: str | None) -> None:
        call.kind = "codex" if call.kind == "process/spawn" else call.kind
        super().end_call(call, message, error)


@breaks(Law.CLIENT_EXECUTIONS)
class TakesEveryExitForSuccess(Reference):
    def exited(self, said: Raw) -> dict[str, Any]:
        return {**super().exited(said), "outcome": None}


@breaks(Law.SOURCE)
class TakesTheUsersCommandsForTheModels(Reference):
    def item_call(self, params: Raw, item: Raw) -> Call:
        return super().item_call(params, {name: raw for name, raw in item.items() if name != "source"})


# -- ACP -----------------------------------------------------------------------------------------------------------------


@breaks(Law.ACP_CALLS)
class TakesRepeatedAnnouncementsForCalls(Reference):
    def notification(self, method: str, params: Raw) -> None:
        update = inside(params.get("update"))
        if text_of(update.get("sessionUpdate")) == "tool_call":
            self.over.pop(("acp", text_of(params.get("sessionId")), text_of(update.get("toolCallId"))), None)
        super().notification(method, params)


@breaks(Law.ACP_CALLS)
class KeepsTheFirstInput(Reference):
    def learn(self, call: Call, told: Raw) -> None:
        kept = dict(call.fields)
        super().learn(call, told)
        call.fields.update({name: kept[name] for name in ("arguments", "arguments_meta") if name in kept})


@breaks(Law.ACP_CALLS)
class LooksAtTheLastUpdateOnly(Reference):
    def summary(self, told: Raw, earlier: dict[str, str]) -> str:
        return super().summary(told, {})


@breaks(Law.ACP_CALLS, Law.APPROVALS)
class EndsEveryPrompt(Reference):
    def end_prompt(self, session: str | None) -> None:
        for call in [call for call in self.open if call.kind == "acp"]:
            self.end(call, outcome=Outcome.INTERRUPTED)


@breaks(Law.ACP_CALLS)
class WantsCallsAnnounced(Reference):
    def hear(self, session: str | None, told: Raw) -> Call | None:
        if text_of(told.get("status")) in {"completed", "failed"} and not any(call.kind == "acp" for call in self.open):
            return None
        return super().hear(session, told)


@breaks(Law.ACP_HISTORY)
class RecordsHistory(Reference):
    def is_history(self, session: str | None) -> bool:
        return False


# -- who is who, ids, bytes and gists ------------------------------------------------------------------------------------


@breaks(Law.CONTEXT)
class MeetsNobody(Reference):
    def meet(self, **known: str | None) -> None:
        pass


@breaks(Law.CONTEXT)
class LooksAtNoRequest(Reference):
    def origin(self, message: Raw, *, codex: bool) -> dict[str, Any]:
        found = super().origin(message, codex=codex)
        return {**found, "client": None, "protocol": None}


@breaks(Law.CONTEXT)
class SaysNothingOfTheTransport(Reference):
    def context(self, fields: dict[str, Any]) -> Context | None:
        made = super().context(fields)
        return None if made == Context(transport=self.config.transport) else made


@breaks(Law.TRACE)
class TakesAnyTraceparent(Reference):
    def trace(self, traceparent: str | None) -> dict[str, Any]:
        found = re.match(r"..-(.{32})-(.{16})-..", traceparent or "")
        return {"trace_id": found[1], "parent_span_id": found[2]} if found else {}


@breaks(Law.TRACE)
class KnowsVersionZeroOnly(Reference):
    def trace(self, traceparent: str | None) -> dict[str, Any]:
        return super().trace(traceparent) if (traceparent or "").startswith("00-") else {}


@breaks(Law.TRACE)
class PrefersTheTraceInMeta(Reference):
    def origin(self, message: Raw, *, codex: bool) -> dict[str, Any]:
        return {**super().origin(message, codex=codex), **super().origin(message, codex=False)}


@breaks(Law.RESPELLED_IDS)
class TakesExactIdsOnly(Reference):
    def respelled(self, key: Any) -> Call | None:
        return None


@breaks(Law.RESPELLED_IDS)
class RespellsQuietly(Reference):
    def end_call(self, call: Call, message: Raw, error: str | None) -> None:
        call.respelled = None
        super().end_call(call, message, error)


@breaks(Law.EXACT_IDS, Law.RESPELLED_IDS)
class RespellsBeforeItLooks(Reference):
    def oldest(self, key: Any) -> Call | None:
        return (self.respelled(key) if len(key) == 2 else None) or super().oldest(key)


@breaks(Law.REPLACED_BYTES)
class RefusesWhatIsNoUtf8(Reference):
    def repaired(self, frame: Any) -> str:
        raise UnicodeError


@breaks(Law.REPLACED_BYTES)
class ReplacesHalfCharactersByOneMark(Reference):
    def repaired(self, frame: Any) -> str:
        super().repaired(frame)
        return bytes(frame).decode("utf-8", "replace").replace("\ufffd", "\udcff")


@breaks(Law.REPLACED_BYTES)
class PassesReplacedArgumentsOff(Reference):
    def kept_arguments(self, raw: str | None) -> dict[str, Any]:
        raw = None if raw is None else self.clean(raw) if self.damaged else raw
        self.damaged = False
        return super().kept_arguments(raw)


@breaks(Law.REPLACED_BYTES)
class ReplacesQuietly(Reference):
    def record(self, call: Call, *arguments: Any) -> None:
        self.damaged = False
        super().record(call, *arguments)


@breaks(Law.GIST)
class LooksAtTextOnly(Reference):
    def resources(self, blocks: list[Raw]) -> str:
        return ""

    structured = links = resources


@breaks(Law.GIST)
class PrefersStructuredContent(Reference):
    def gist(self, raw: str | None, name: str = "content") -> dict[str, Any]:
        found = super().gist(raw, name)
        return {**found, "text": self.structured(inside(raw)) or found["text"]}


@breaks(Law.GIST)
class ReadsWellFormedContentOnly(Reference):
    def gist(self, raw: str | None, name: str = "content") -> dict[str, Any]:
        return {"text": ""} if (raw or "")[:1] == '"' else super().gist(raw, name)


@breaks(Law.GIST)
class ReadsErrorObjectsOnly(Reference):
    def error_said(self, raw: str) -> dict[str, Any]:
        return super().error_said(raw) if raw[0] == "{" else {"text": "", "error_code": None}


@breaks(Law.MEMORY)
class NeverForgets(Reference):
    def keep(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        table[key] = value
