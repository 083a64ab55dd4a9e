"""Step 4: pairs the beginnings of calls with their ends, and with what is said of them in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from trio_oplog._operation import DecidedBy, Outcome
from trio_oplog._recording.approvals import Approvals, room
from trio_oplog._recording.calls import OpenCalls
from trio_oplog._recording.consent import consent_of, new_ask
from trio_oplog._recording.dialects.acp import LOAD_ANSWER, NO_KIND
from trio_oplog._recording.dialects.events import (
    Answer,
    Call,
    CallKey,
    Cancelled,
    ClientKnown,
    Completed,
    Decision,
    End,
    HookRan,
    InputGiven,
    ItemKey,
    Nothing,
    ProcessExited,
    Prompt,
    PromptEnded,
    Request,
    Resolved,
    Review,
    ServerKnown,
    Suspended,
    TaskNews,
    ThreadClosed,
    ToolKey,
    ToolUpdate,
    TurnCompleted,
    TurnStarted,
)
from trio_oplog._recording.dialects.mcp import ASKS_MAX
from trio_oplog._recording.envelope import RequestKey, respelled
from trio_oplog._recording.ids import execution_id
from trio_oplog._recording.limits import optional_name
from trio_oplog._recording.memory import Memory
from trio_oplog._recording.recorder import Moment, Recorder
from trio_oplog._recording.suspended import Entry, SuspendedCalls

_INTERRUPTED: Final = End(is_error=True, notes={"outcome": Outcome.INTERRUPTED})
EVICTED: Final = End(is_error=True, notes={"outcome": Outcome.EVICTED})
_RESPELLED: Final = {"id_respelled": True}


class Pairing:
    """What is going on on one connection.

    No more than ``Config.max_pending`` calls are open; every other table holds at most ``room()`` entries.

    Args:
        recorder: Makes the operations.
        suspended: Where calls wait that were answered and have not ended.
    """

    def __init__(self, recorder: Recorder, suspended: SuspendedCalls) -> None:
        self._recorder = recorder
        self._suspended = suspended
        self._max_pending = recorder.config.max_pending
        self._room = room(recorder.config)
        self.calls = OpenCalls()
        self.requests: dict[RequestKey, Request] = {}
        """Requests of the client that are no calls, and whose responses matter."""
        self.approvals = Approvals(self.calls, suspended, recorder)
        self._ended = Memory(self._room)  # executions that are over
        self._has_numbers_as_text = False  # whether the client has sent ids such as "7"
        self._actions: Mapping[type, Callable[[Any], None]] = {
            Call: self.begin,
            Completed: self._complete,
            Cancelled: self._cancel,
            TurnCompleted: self._complete_turn,
            TurnStarted: self._start_turn,
            ThreadClosed: self._close_thread,
            ProcessExited: self._exit,
            TaskNews: self._hear_of_task,
            InputGiven: self._give_input,
            Prompt: self._ask,
            Resolved: self.approvals.resolve,
            Review: self.approvals.review,
            HookRan: self.approvals.hook,
            ToolUpdate: self._update_tool,
            ServerKnown: recorder.server_is,
            ClientKnown: lambda event: recorder.client_is(event.client),
            PromptEnded: self._end_prompt,
            Nothing: lambda _: None,
            Request: self._follow,
        }

    def act(self, event: Any) -> None:
        """Do what an event means."""
        self._actions[event.__class__](event)

    def awaited(self, key: RequestKey | None) -> Call | Request | None:
        """The open request that a response with this id answers.

        An id of the other type counts when nothing matches exactly: clients take 7 for "7".
        """
        if key is None:
            return None
        found = self.calls.by_key.get(key) or self.requests.get(key)
        if found is None and (key.__class__ is not int or self._has_numbers_as_text):
            return self._respelled(key)
        return found

    def _respelled(self, key: RequestKey) -> Call | Request | None:
        """The one open request whose id is this one in the other type."""
        other = respelled(key)
        if other is None:
            return None
        call, request = self.calls.by_key.get(other), self.requests.get(other)
        if call is None:
            return request
        return None if request is not None or call.later else call

    def answer(self, found: Call | Request, answer: Answer, *, respelled_id: bool = False) -> None:
        """A request was answered.

        Args:
            found: The request.
            answer: What the response means.
            respelled_id: Whether the response has the id in the other type.
        """
        if answer is None:
            return
        if isinstance(found, Request):
            del self.requests[found.key]
            if respelled_id and isinstance(answer, TaskNews):
                entry = self._suspended.find_task(self._recorder, answer.task_id)
                if entry is not None:
                    entry.call.notes = (entry.call.notes or {}) | _RESPELLED
            self.act(answer)
            return
        if respelled_id:
            found.notes = (found.notes or {}) | _RESPELLED
        if answer.__class__ is End:  # nearly always
            self.calls.remove(found)
            self._record(found, answer)
        elif isinstance(answer, Suspended):
            self.calls.remove(found)
            self._suspend(found, answer)
        else:
            self.calls.release(found)

    def begin(self, call: Call) -> None:
        """A call begins, or (a call of the client that carries on an earlier one) goes on."""
        if call.continues is not None and self._go_on(call):
            return
        if call.turn is not None and self._is_over(call):
            return
        self._start(call)
        self._open(call)

    def _start(self, call: Call) -> None:
        call.began_at = self._recorder.clock()
        call.began = self._recorder.monotonic()

    def _open(self, call: Call) -> None:
        if call.turn is not None:
            self.approvals.adopt(call)
        else:
            self._note_id(call.key)
        self.calls.add(call)
        if len(self.calls) > self._max_pending:
            self.end_oldest(EVICTED, None)

    def _note_id(self, key: CallKey | None) -> None:
        if key.__class__ is str and not self._has_numbers_as_text:
            self._has_numbers_as_text = respelled(key) is not None

    def end_oldest(self, end: End, at: Moment | None) -> None:
        """End the call that is open for longest, at a moment that is over if one is given.  Call it while there are any."""
        self._abandon(self.calls.oldest(), end, at)
        outcome = end.notes["outcome"] if end.notes else None
        self._recorder.tally.unanswered += outcome is Outcome.UNANSWERED
        self._recorder.tally.evicted += outcome is Outcome.EVICTED

    def end_call(self, call: Call, end: End, at: Moment) -> None:
        """End a call that is open, at a moment that is over."""
        self._abandon(call, end, at)

    def take_calls(self) -> list[Call]:
        """Take out every open call, which goes on elsewhere or is none; it is not recorded."""
        taken = list(self.calls)
        for call in taken:
            self.calls.remove(call)
            self._drop_asks(call)
        return taken

    def put_back(self, call: Call, instead_of: Call) -> None:
        """A call goes on that was taken out elsewhere; another one was begun for it."""
        self.calls.remove(instead_of)
        call.key, call.later = instead_of.key, None
        if not call.notes or "rounds" not in call.notes:  # the server works on it from now on only
            call.began, call.began_at = instead_of.began, instead_of.began_at
        self.calls.add(call)

    # Items.

    def _is_over(self, call: Call) -> bool:
        """Whether an item that begins is a repetition of one that is open or has ended."""
        key = call.key
        if call.started_at_ms is None:
            self._ended.forget(key)  # the same id in the same turn, once more
            return False
        if _execution(call) in self._ended:
            return True
        oldest = self.calls.by_key.get(key)
        if oldest is not None and any(_execution(one) == _execution(call) for one in (oldest, *(oldest.later or ()))):
            return True
        self._ended.forget(key)
        return False

    def _complete(self, event: Completed) -> None:
        call = event.call
        key = call.key
        execution = _execution(call)
        if execution is not None and execution in self._ended:
            return
        begun = self._begun(call)
        if begun is None:
            # Its turn has ended it, or it is told again in other words.
            if key in self._ended or (execution is not None and execution[:2] in self._ended):
                return
            # Nothing announced it: it begins and ends here.
            self._start(call)
            self.approvals.adopt(call)
        else:
            self.calls.remove(begun)
            call.began_at = begun.began_at
            call.began = begun.began
            call.notes = begun.notes
            call.consent = begun.consent
            if (announced := _execution(begun)) is not None:
                self._ended.add(announced)
        if execution is not None:
            self._ended.add(execution)
            self._ended.add(execution[:2])
        self._record(call, event.end, operation_id=self._execution_id(event.identity))

    def _begun(self, call: Call) -> Call | None:
        """The open item that this completion is about: the one that began at the same time, else the oldest."""
        oldest = self.calls.by_key.get(call.key)
        if oldest is None or oldest.later is None or call.started_at_ms is None:
            return oldest
        return next((one for one in (oldest, *oldest.later) if one.started_at_ms == call.started_at_ms), oldest)

    def _execution_id(self, identity: tuple[str | int | None, ...] | None) -> str | None:
        """The id that every connection watching this execution derives alike; ``None`` where the item does not say enough."""
        return None if identity is None else execution_id(self._recorder.config.workspace_id, identity)

    def _complete_turn(self, event: TurnCompleted) -> None:
        self._interrupt([call for call in self.calls if call.turn == event.turn and self._ends_with_turn(call)])
        self.approvals.forget(event.turn)

    def _start_turn(self, event: TurnStarted) -> None:
        thread_id = event.turn[0]
        self._interrupt(
            [
                call
                for call in self.calls
                if call.turn is not None and call.turn[0] == thread_id and call.turn != event.turn and self._ends_with_turn(call)
            ]
        )

    def _close_thread(self, event: ThreadClosed) -> None:
        self._interrupt([call for call in self.calls if call.turn is not None and call.turn[0] == event.thread_id])

    def _ends_with_turn(self, call: Call) -> bool:
        """A command may run on in the background, but not one that still waits to be allowed."""
        return not call.outlives_turn or (call.consent is not None and call.consent.is_undecided)

    def _interrupt(self, calls: list[Call]) -> None:
        for call in calls:
            if call not in self.calls.all:  # a submitter may have closed the Interceptor over the one before
                continue
            self._abandon(call, _INTERRUPTED)

    # Calls of the client.

    def _cancel(self, event: Cancelled) -> None:
        call = self.calls.by_key.get(event.key)
        if call is not None:
            self.calls.remove(call)
            end = End(is_error=True, text=event.reason, notes={"outcome": Outcome.CANCELLED}, replaced=event.replaced)
            self._record(call, end)
        else:
            self.requests.pop(event.key, None)

    def _exit(self, event: ProcessExited) -> None:
        call = next((call for call in self.calls if call.process == event.process), None)
        if call is not None:
            self.calls.remove(call)
            self._record(call, event.end)

    def _follow(self, request: Request) -> None:
        self.requests.pop(request.key, None)
        self.requests[request.key] = request
        self._note_id(request.key)
        if len(self.requests) > self._room:
            del self.requests[next(iter(self.requests))]
        if request.opening is not None:
            self.act(request.opening)

    # Tasks and rounds.

    def _suspend(self, call: Call, news: Suspended) -> None:
        recorder = call.recorder or self._recorder
        if call.env_id is None and news.server is not None:
            call.env_id = optional_name(news.server.name)
        if news.end is not None:
            recorder.keep(news.end)
        entry = self._suspended.suspend(call, recorder, news)
        self._ask_for_input(entry, news.asks_person)
        if entry.round is not None and call.consent is not None:
            call.consent.suspend(entry.ended)
        if news.status is not None:
            self._hear_of_task(news.status)

    def _go_on(self, call: Call) -> bool:
        """Whether a call carries on an earlier one; that one is open again then, under the new id."""
        continues = call.continues
        entry = self._suspended.take_round(call, self._recorder, continues) if continues is not None else None
        if entry is None or continues is None:
            return False
        self._take_input(entry, continues.decisions, all_of_it=True)
        resumed = entry.call
        if resumed.consent is not None:
            resumed.consent.resume()
        resumed.key = call.key
        notes = resumed.notes or {}
        resumed.notes = notes | {"rounds": notes.get("rounds", 1) + 1}
        resumed.recorder = entry.recorder if entry.recorder is not self._recorder else None
        self._open(resumed)
        return True

    def _ask_for_input(self, entry: Entry, keys: tuple[str, ...]) -> None:
        """A person is asked for input; a task repeats under the same keys what it asks for."""
        asked = entry.asked
        if not keys or (asked is not None and len(asked) >= ASKS_MAX):
            return
        if asked is None:
            asked = entry.asked = {}
        consent = consent_of(entry.call)
        for key in keys:
            if key not in asked:
                ask = asked[key] = new_ask(entry.recorder.monotonic(), is_request=False)
                consent.ask(ask)

    def _take_input(self, entry: Entry, decisions: dict[str, Decision], *, all_of_it: bool = False) -> None:
        """The client hands in input; after the retry of a round nobody can answer the rest of it."""
        consent = entry.call.consent
        if consent is None or entry.asked is None:
            return
        now = entry.recorder.monotonic()
        for key, ask in entry.asked.items():
            if key in decisions:
                consent.settle(ask, now, decisions[key], DecidedBy.CLIENT)
            elif all_of_it:
                consent.settle(ask, now)

    def _give_input(self, event: InputGiven) -> None:
        entry = self._suspended.find_task(self._recorder, event.task_id)
        if entry is not None:
            self._take_input(entry, event.decisions)

    def _hear_of_task(self, event: TaskNews) -> None:
        entry = self._suspended.find_task(self._recorder, event.task_id)
        if entry is None:
            return
        if not entry.is_over:
            self._ask_for_input(entry, event.asks_person)
        end = event.end
        if end is None and event.is_result:
            # A result without content: of a task that failed, or of one that returned nothing.
            end = entry.end if entry.end is not None and entry.end.is_error else End()
        if end is None and event.status == "cancelled":
            end = End(is_error=True, text=event.message, notes={"outcome": Outcome.CANCELLED}, replaced=event.replaced)
        recorder = entry.recorder
        if end is not None:
            end.server = end.server or event.server
            self._suspended.take(entry)
            recorder.record(entry.call, end, recorder.monotonic(), recorder.clock())
            self._drop_asks(entry.call)
        elif event.status in _TERMINAL:
            outcome = _TERMINAL[event.status]
            failed = outcome is Outcome.FAILED
            text = event.message if failed else None
            if not entry.is_over and (consent := entry.call.consent) is not None:
                consent.give_up(recorder.monotonic())
            if entry.end is None or (event.is_answer and not entry.is_answered):
                # What the client asked for counts more than what it was told.
                entry.ended, entry.ended_at, entry.is_answered = recorder.monotonic(), recorder.clock(), event.is_answer
            entry.end = recorder.keep(End(failed, text, {"outcome": outcome}, replaced=event.replaced))

    # ACP.

    def _update_tool(self, event: ToolUpdate) -> None:
        news = event.call
        if self._is_loading(news.session):
            return
        call = self._tool(news, begins=event.begins, ends=event.end is not None)
        if call is None:
            return
        if event.end is None:
            summary = self._recorder.summary
            if event.has_content:
                call.content_so_far = None if event.text is None else summary(event.text, replaced=event.replaced)
                call.content_types_so_far = event.content_types
            if event.output is not None:
                call.output_so_far = summary(event.output, replaced=event.replaced)
            return
        if call is not news:
            self.calls.remove(call)
        self._ended.add(call.key)
        end = event.end
        content_types = event.content_types
        if end.text is None:
            end.summary = call.content_so_far or call.output_so_far
            if call.content_so_far is not None or content_types is None:
                content_types = call.content_types_so_far
        if content_types is not None:
            end.notes = (end.notes or {}) | {"content_types": content_types}
        self._record(call, end)

    def _tool(self, news: Call, *, begins: bool, ends: bool = False) -> Call | None:
        """The call that a message is about, told what the message says; it begins where nothing began it before."""
        call = self.calls.by_key.get(news.key)
        if call is None:
            if not (begins or ends) or news.key in self._ended:
                return None
            news.is_named = bool(news.tool)
            news.tool = news.tool or news.kind or NO_KIND
            self._start(news)
            if not ends:
                self._open(news)
            return news
        if news.tool:
            call.tool, call.is_named = news.tool, True
        elif news.kind is not None and not call.is_named:
            call.tool = news.kind
        if news.arguments is not None or news.arguments_meta is not None:
            call.arguments, call.arguments_meta = news.arguments, news.arguments_meta
            call.env_id = news.env_id or call.env_id
        if news.notes is not None:
            call.notes = news.notes
        return call

    def _ask(self, event: Prompt) -> None:
        """The server asks the client something; a tool call of ACP may be heard of here first."""
        about = event.about
        if about.call is not None:
            about.call = self._tool(about.call, begins=True)
            if about.call is None:
                return
        self.approvals.ask(event)

    def _is_loading(self, session: str | None) -> bool:
        """Whether the history of a session is being replayed."""
        return any(request.answer is LOAD_ANSWER and request.subject == session for request in self.requests.values())

    def _end_prompt(self, event: PromptEnded) -> None:
        session = event.session_id
        self._interrupt([call for call in self.calls if isinstance(call.key, ToolKey) and call.session == session])

    # Ends.

    def _abandon(self, call: Call, end: End, at: Moment | None = None) -> None:
        """End a call that will not end by itself.  What is said of an item or a tool call later is about the same execution."""
        self.calls.remove(call)
        identity = None
        if isinstance(call.key, ItemKey | ToolKey):
            self._ended.add(call.key)
        if isinstance(call.key, ItemKey) and (execution := _execution(call)) is not None:
            self._ended.add(execution)
            identity = (*call.key, call.started_at_ms, None)
        self._record(call, end, operation_id=self._execution_id(identity), at=at)

    def _record(self, call: Call, end: End, *, operation_id: str | None = None, at: Moment | None = None) -> None:
        recorder = self._recorder if call.recorder is None else call.recorder
        recorder.record(call, end, *(at or recorder.now()), operation_id)
        self._drop_asks(call)

    def _drop_asks(self, call: Call) -> None:
        if call.consent is not None and call.consent.open:
            self.approvals.drop(call.consent)


_TERMINAL: Final = {"completed": Outcome.UNFETCHED, "failed": Outcome.FAILED}


def _execution(call: Call) -> tuple[object, ...] | None:
    """What makes an item the same execution when it is told again.

    Codex starts calls of one id in one millisecond, so what is called counts, too.
    """
    if call.started_at_ms is None:
        return None
    if call.arguments is not None:  # as a digest, which is what is left of long ones, and of those in bytes that are no UTF-8
        arguments = sha256(call.arguments).hexdigest()
    else:
        arguments = call.arguments_meta.sha256 if call.arguments_meta is not None else ""
    return call.key, call.started_at_ms, call.tool, arguments
