"""Interceptors that each break one law: the rows of the design's table of mistakes, and what else has been got wrong before."""

from __future__ import annotations

import json
import math
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from attrs import evolve

from tests.testing.faulty.reference import Call, Raw, Reference, inside, typed
from trio_oplog import Operation, Outcome
from trio_oplog.testing import Law

FAULTY: list[tuple[type[Reference], set[Law]]] = []


def breaks(*laws: Law, among: list[tuple[type[Reference], set[Law]]] = FAULTY) -> Any:
    def register(kind: type[Reference]) -> type[Reference]:
        among.append((kind, set(laws)))
        return kind

    return register


@breaks(Law.ENV, Law.EVERY_CALL_ONCE)
class RequiresAnEnvironment(Reference):
    """The predecessor's server refused whatever named no environment."""

    def end(self, call: Call, **known: Any) -> None:
        if call.fields["environment"]:
            super().end(call, **known)
        else:
            self.open.remove(call)


@breaks(Law.THREAD)
class ReadsThreadIdInSnakeCaseOnly(Reference):
    def begin_call(self, message: Raw, key: Any, kind: str) -> None:
        params = inside(message.get("params"))
        if "threadId" in params:
            without = ",".join(f'"{name}":{value}' for name, value in params.items() if name != "threadId")
            message = {**message, "params": f"{{{without}}}"}
        super().begin_call(message, key, kind)


@breaks(Law.ITEMS)
class NeverSeesItems(Reference):
    def item_started(self, params: Raw, item: Raw) -> None:
        pass

    item_completed = item_started


@breaks(Law.REQUEST_ID)
class NeverFillsRequestId(Reference):
    def request_id(self, raw: str) -> Any:
        return None


@breaks(Law.NEVER_RAISES)
class PanicsOnObjectIds(Reference):
    def key(self, raw: str | None) -> Any:
        if raw is not None and raw[0] in "[{":
            hash(json.loads(raw))
        return super().key(raw)


@breaks(Law.RESPONSES_END)
class EndsCallsByServerRequests(Reference):
    """Pairs by id without looking for a method."""

    def server_message(self, message: Raw) -> None:
        if self.has_method(message) and "id" in message:
            message = {"id": message["id"], "result": message.get("result", "null")}
        super().server_message(message)


@breaks(Law.RESPONSES_END)
class PairsWithoutDirection(Reference):
    def client_message(self, message: Raw) -> None:
        super().client_message(message)
        if not self.has_method(message):
            self.response(message)


@breaks(Law.RESPONSES_END)
class EndsCallsByEmptyResponses(Reference):
    def response(self, message: Raw) -> None:
        super().response({"result": "null", **message})


@breaks(Law.NULL_ERROR)
class TakesNullForAnError(Reference):
    def error(self, message: Raw) -> str | None:
        return message.get("error")


@breaks(Law.EXACT_IDS)
class KeepsFloatIds(Reference):
    def key(self, raw: str | None) -> Any:
        kind, value = super().key(raw) or (None, None)
        return None if kind is None else (kind, float(value) if kind == "number" else value)


@breaks(Law.EXACT_IDS)
class TakesTextForNumbers(Reference):
    def key(self, raw: str | None) -> Any:
        key = super().key(raw)
        return None if key is None else str(key[1])


@breaks(Law.EXACT_IDS)
class EndsTheOldestWhateverItsId(Reference):
    def oldest(self, key: Any) -> Call | None:
        direct = [call for call in self.open if call.turn is None]
        return direct[0] if len(key) == 2 and direct and super().oldest(key) else super().oldest(key)


@breaks(Law.UNANSWERED)
class ForgetsUnansweredCalls(Reference):
    def close_calls(self) -> None:
        self.open.clear()


@breaks(Law.UNANSWERED)
class RecordsUnansweredCallsAtEachClose(Reference):
    def close(self) -> None:
        calls = list(self.open)
        super().close()
        self.open = calls


@breaks(Law.EVICTED)
class NeverEvicts(Reference):
    def evict(self) -> None:
        pass


@breaks(Law.EVICTED)
class EvictsTheNewest(Reference):
    def evict(self) -> None:
        self.end(self.open[-1], outcome=Outcome.EVICTED)


@breaks(Law.EVICTED)
class EvictsWithoutARecord(Reference):
    def evict(self) -> None:
        del self.open[0]


@breaks(Law.DUPLICATE_IDS)
class LosesTheEarlierOfTwoCalls(Reference):
    def begin(self, call: Call) -> None:
        self.open = [other for other in self.open if other.key != call.key]
        super().begin(call)


@breaks(Law.DUPLICATE_IDS)
class EndsTheLastBegunOfTwoCalls(Reference):
    def oldest(self, key: Any) -> Call | None:
        return next((call for call in reversed(self.open) if call.key == key), None)


@breaks(Law.DUPLICATE_IDS)
class SaysNothingOfDuplicates(Reference):
    def end(self, call: Call, **known: Any) -> None:
        call.duplicate = False
        super().end(call, **known)


@breaks(Law.RESULT_CUT)
class CutsInsideACharacter(Reference):
    def cut(self, data: bytes, limit: int) -> str:
        return data[:limit].decode("utf-8", "replace")


@breaks(Law.RESULT_CUT)
class CutsByCharacters(Reference):
    def cut(self, data: bytes, limit: int) -> str:
        return data.decode()[:limit]


@breaks(Law.BATCHES)
class ReadsNoBatches(Reference):
    def batch(self, text: str, values: list[Any]) -> list[Raw]:
        return []


@breaks(Law.BATCHES)
class ReadsTheFirstOfABatch(Reference):
    def batch(self, text: str, values: list[Any]) -> list[Raw]:
        return super().batch(text, values)[:1]


@breaks(Law.USER)
class BelievesTheClient(Reference):
    def user(self, claimed: str | None) -> str | None:
        return claimed or self.config.user_id


@breaks(Law.CANCELLED)
class RecordsCancelledCallsTwice(Reference):
    """The call stays open, and its late answer is one more operation."""

    def cancel(self, key: Any, reason: str | None = None) -> None:
        call = None if key is None else self.oldest(key)
        if call is not None:
            self.end(call, outcome=Outcome.CANCELLED)
            self.open.append(call)


@breaks(Law.CANCELLED)
class IgnoresCancellation(Reference):
    def cancel(self, key: Any, reason: str | None = None) -> None:
        pass


@breaks(Law.INTERRUPTED)
class ForgetsInterruptedItems(Reference):
    def turn_completed(self, turn: Any) -> None:
        pass


@breaks(Law.INTERRUPTED)
class InterruptsCommandsToo(Reference):
    def turn_completed(self, turn: Any) -> None:
        for call in [call for call in self.open if call.turn == turn]:
            self.end(call, outcome=Outcome.INTERRUPTED)


@breaks(Law.INTERRUPTED)
class InterruptsEveryTurn(Reference):
    def turn_completed(self, turn: Any) -> None:
        for call in [call for call in self.open if call.turn is not None and call.kind != "commandExecution"]:
            self.end(call, outcome=Outcome.INTERRUPTED)


@breaks(Law.UNANNOUNCED_ITEMS)
class WantsItemsAnnounced(Reference):
    def item_completed(self, params: Raw, item: Raw) -> None:
        if self.oldest(self.item_call(params, item).key):
            super().item_completed(params, item)


@breaks(Law.COMPLETED_ITEM_COUNTS)
class KeepsWhatTheItemBeganWith(Reference):
    def item_completed(self, params: Raw, item: Raw) -> None:
        call = self.oldest(self.item_call(params, item).key)
        if call is None:
            super().item_completed(params, item)
        else:
            self.end(call, **self.item_answer(call.kind, item))


@breaks(Law.EXACT_IDS)
class TellsItemsApartByTheirIdOnly(Reference):
    def item_key(self, *parts: Any) -> Any:
        return parts[2:3]


@breaks(Law.EXECUTION_IDS)
class GivesExecutionsRandomIds(Reference):
    def execution_id(self, key: str) -> str:
        return str(uuid.uuid4())


@breaks(Law.EXECUTION_IDS)
class GivesEveryWorkspaceTheSameIds(Reference):
    def execution_id(self, key: str) -> str:
        return super().execution_id(key.partition(" ")[2])


@breaks(Law.UNIQUE_IDS)
class CountsOperations(Reference):
    def new_id(self) -> str:
        return "1"


@breaks(Law.ARGUMENTS)
class EncodesArgumentsAgain(Reference):
    def kept_arguments(self, raw: str | None) -> dict[str, Any]:
        try:
            return super().kept_arguments(raw and json.dumps(json.loads(raw)))
        except RecursionError:
            return {}


@breaks(Law.ARGUMENTS_LIMIT)
class MeasuresArgumentsInCharacters(Reference):
    def kept_arguments(self, raw: str | None) -> dict[str, Any]:
        kept = super().kept_arguments(raw)
        return {"arguments": (raw or "").encode()} if kept and len(raw or "") <= self.config.args_max_bytes else kept


@breaks(Law.ARGUMENTS_LIMIT)
class LetsNaNThrough(Reference):
    def kept_arguments(self, raw: str | None) -> dict[str, Any]:
        kept = super().kept_arguments(raw)
        return {"arguments": raw.encode()} if raw and "NaN" in raw else kept


@breaks(Law.MEMORY)
class KeepsOversizedFrames(Reference):
    def begin_call(self, message: Raw, key: Any, kind: str) -> None:
        super().begin_call(message, key, kind)
        self.open[-1].fields["message"] = message


@breaks(Law.MEMORY)
class RemembersEveryCancellation(Reference):
    """To ignore the late answers of cancelled calls, it thinks."""

    def cancel(self, key: Any, reason: str | None = None) -> None:
        self.__dict__.setdefault("cancelled", []).append(key)
        super().cancel(key, reason)


@breaks(Law.FRAMES_UNTOUCHED)
class HoldsOnToTheBuffer(Reference):
    def messages(self, frame: Any) -> list[Raw]:
        if not isinstance(frame, str | bytes):
            self.__dict__.setdefault("views", []).append(memoryview(frame))
        return super().messages(frame)


@breaks(Law.FRAMES_UNTOUCHED)
class TrimsTheFrame(Reference):
    def messages(self, frame: Any) -> list[Raw]:
        found = super().messages(frame)
        if isinstance(frame, bytearray) and frame:
            del frame[-1]
        return found


@breaks(Law.FRAME_TYPES)
class KnowsNoMemoryviews(Reference):
    def text(self, frame: Any) -> str:
        if isinstance(frame, memoryview):
            return ""
        return super().text(frame)


@breaks(Law.WHAT_JSON_READS)
class ReadsOnlyStrictUtf8(Reference):
    def text(self, frame: Any) -> str:
        return frame if isinstance(frame, str) else bytes(frame).decode()


@breaks(Law.NEVER_RAISES, Law.HOSTILE_FRAMES)
class RaisesOnBrokenJson(Reference):
    def messages(self, frame: Any) -> list[Raw]:
        json.loads(self.text(frame))
        return super().messages(frame)


@breaks(Law.CLIENT_REQUESTS_BEGIN)
class TakesTheServersRequestsForCalls(Reference):
    def server_message(self, message: Raw) -> None:
        if self.method(message) == "tools/call":
            self.client_message(message)
        super().server_message(message)


@breaks(Law.ENV)
class BelievesAnyServerInfo(Reference):
    """Learns the server's name from whatever answer holds one."""

    def response(self, message: Raw) -> None:
        self.handshakes.add(self.key(message.get("id")))
        super().response(message)


@breaks(Law.ITEMS)
class TakesRequestsForNotifications(Reference):
    def server_message(self, message: Raw) -> None:
        if self.has_method(message):
            message.pop("id", None)
        super().server_message(message)


@breaks(Law.CLIENT_REQUESTS_BEGIN)
class TakesTrueForAnId(Reference):
    def key(self, raw: str | None) -> Any:
        return ("bool", raw) if raw in {"true", "false"} else super().key(raw)


@breaks(Law.EVERY_CALL_ONCE)
class SubmitsTwice(Reference):
    def operation(self, *arguments: Any) -> Operation:
        made = super().operation(*arguments)
        self.submitter.submit(evolve(made, id=self.new_id()))
        return made


@breaks(Law.EVERY_CALL_ONCE)
class SubmitsOneFrameLate(Reference):
    late: Operation | None = None

    def end(self, call: Call, *, outcome: Outcome | None = None, text: str = "", **known: Any) -> None:
        self.open.remove(call)
        made, self.late = self.late, Reference.operation(self, call, outcome, text, known)
        if made is not None:
            self.submitter.submit(made)

    def close(self) -> None:
        super().close()
        if self.late is not None:
            self.submitter.submit(self.late)
            self.late = None


@breaks(Law.OUTCOME)
class TakesToolErrorsForSuccess(Reference):
    def answer(self, call: Call, message: Raw, error: str | None) -> dict[str, Any]:
        found = super().answer(call, message, error)
        return {**found, "outcome": None if found["outcome"] is Outcome.TOOL_ERROR else found["outcome"]}


@breaks(Law.OUTCOME)
class TakesAskingForAnError(Reference):
    def is_error(self, outcome: Outcome | None) -> bool:
        return outcome is not None


@breaks(Law.OUTCOME)
class KnowsTwoStatusesOnly(Reference):
    def status_outcome(self, status: str | None) -> Outcome | None:
        return Outcome.FAILED if status == "failed" else None


@breaks(Law.RESULT_TEXT)
class KeepsTheFirstTextOnly(Reference):
    def content(self, raw: str | None, kind: str) -> dict[str, Any]:
        found = super().content(raw, kind)
        blocks = json.loads(raw) if raw and raw[0] == "[" else []
        first = next((block for block in blocks if isinstance(block, dict) and block.get("type") == kind), {})
        return {**found, "text": first.get("text") if isinstance(first.get("text"), str) else ""}


@breaks(Law.RESULT_META)
class SaysNothingOfImages(Reference):
    def content(self, raw: str | None, kind: str) -> dict[str, Any]:
        return {"text": super().content(raw, kind)["text"]}


@breaks(Law.NAMES)
class LetsSurrogatesOut(Reference):
    def name(self, text: str | None) -> Any:
        return text


@breaks(Law.NAMES)
class LetsLongNamesThrough(Reference):
    name_limit = 10**6


@breaks(Law.TIMES)
class SaysLocalTime(Reference):
    def now(self) -> tuple[datetime, float]:
        return datetime.now(), time.monotonic()  # noqa: DTZ005


@breaks(Law.TIMES)
class MeasuresInSeconds(Reference):
    def duration_ms(self, seconds: float) -> int:
        return int(seconds)


@breaks(Law.TIMES)
class MeasuresInMicroseconds(Reference):
    def duration_ms(self, seconds: float) -> int:
        return math.ceil(seconds * 1_000_000)


@breaks(Law.TIMES)
class BeginsWhenItEnds(Reference):
    def operation(self, call: Call, *arguments: Any) -> Operation:
        made = super().operation(call, *arguments)
        return evolve(made, started_at=made.completed_at)


@breaks(Law.TOOL)
class KnowsNoUnknownTools(Reference):
    def begin_call(self, message: Raw, key: Any, kind: str) -> None:
        params = inside(message.get("params"))
        if typed(params.get("tool") or params.get("name"), str) is not None:
            super().begin_call(message, key, kind)


@breaks(Law.SOURCE, Law.ITEMS)
class TakesItemsForTheClients(Reference):
    def item_call(self, params: Raw, item: Raw) -> Call:
        call = super().item_call(params, item)
        call.fields["source"] = self.config.source
        return call


@breaks(Law.ENV)
class HearsNoHandshake(Reference):
    def env(self, environment: str | None, server: str | None) -> str:
        return environment or (server if server != self.server_name else None) or self.config.default_env_id


@breaks(Law.ITEMS)
class RecordsItemsUnasked(Reference):
    def __init__(self, submitter: Any, config: Any, **more: Any) -> None:
        super().__init__(submitter, evolve(config, record_items=True), **more)


@breaks(Law.EXECUTION_IDS)
class TellsConnectionsApart(Reference):
    def execution_id(self, key: str) -> str:
        return super().execution_id(f"{id(self)} {key}")


@breaks(Law.NEVER_RAISES)
class RaisesAtTheSecondClose(Reference):
    closed = False

    def close(self) -> None:
        super().close()
        if self.closed:
            raise RuntimeError
        self.closed = True


@breaks(Law.RESULT_CUT)
class CutsNothing(Reference):
    def cut(self, data: bytes, limit: int) -> str:
        return super().cut(data, limit) if limit == self.name_limit else data.decode()


@breaks(Law.TIMES)
class BelievesTheServersClock(Reference):
    def now(self) -> tuple[datetime, float]:
        return datetime.fromtimestamp(5, tz=UTC), time.monotonic()


@breaks(Law.TIMES)
class MeasuresBackwards(Reference):
    def duration_ms(self, seconds: float) -> int:
        return -1 - int(seconds)


@breaks(Law.UNIQUE_IDS)
class MakesIdsOfTheWrongType(Reference):
    def new_id(self) -> Any:
        return uuid.uuid4()
