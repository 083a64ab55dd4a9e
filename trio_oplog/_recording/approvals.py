"""Requests of the server to the client about calls, automatic reviews and hooks: each is joined to the call it is about."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from trio_oplog._operation import Config, DecidedBy
from trio_oplog._recording.calls import OpenCalls
from trio_oplog._recording.consent import Ask, Consent, consent_of, new_ask
from trio_oplog._recording.dialects import mcp
from trio_oplog._recording.dialects.events import (
    About,
    Call,
    Decision,
    HookRan,
    Options,
    Prompt,
    ReplyRule,
    Resolved,
    Review,
)
from trio_oplog._recording.dialects.results import is_present, read_words
from trio_oplog._recording.envelope import RequestKey, respelled
from trio_oplog._recording.limits import optional_name
from trio_oplog._recording.recorder import Recorder
from trio_oplog._recording.suspended import SuspendedCalls

_ItemId: TypeAlias = tuple[str | None, str | None]
_RunId: TypeAlias = tuple[str | None, str | None]


LEAST_ROOM = 1_024


def room(config: Config) -> int:
    """How many entries a table has room for that holds no calls: also where few calls may be open at once."""
    return max(config.max_pending, LEAST_ROOM)


class _Open(Struct, eq=False, gc=False):
    """A request of the server, or a review, that is open."""

    consent: Consent
    ask: Ask
    read_reply: ReplyRule | None = None
    options: Options | None = None


class _Early(Struct, eq=False, gc=False):
    """What was said of an item that has not begun, or that this connection never saw begin."""

    consent: Consent
    turn_id: str | None


class Approvals:
    """The open requests of the server, and what was decided about calls that are not open yet.

    Args:
        calls: The open calls.
        suspended: The calls that go on as tasks.
        recorder: Has the clock and the limits.
    """

    def __init__(self, calls: OpenCalls, suspended: SuspendedCalls, recorder: Recorder) -> None:
        self._calls = calls
        self._suspended = suspended
        self._recorder = recorder
        self._room = room(recorder.config)
        self.open: dict[RequestKey, _Open] = {}
        self._reviews: dict[_RunId, _Open] = {}
        self._hooks: dict[_RunId, float] = {}  # when they began
        self._early: dict[_ItemId, _Early] = {}

    def ask(self, prompt: Prompt) -> None:
        """The server asks something."""
        if prompt.key in self.open:  # once more, as of a client that joins late
            return
        consent = self._consent(prompt)
        if consent is None:
            return
        ask = new_ask(
            self._recorder.monotonic(),
            is_approval=prompt.read_reply is not None,
            is_wait=prompt.is_wait,
            reason=prompt.reason,
        )
        consent.asked_whether = consent.asked_whether or prompt.about.tool is not None
        consent.ask(ask)
        self.open[prompt.key] = _Open(consent, ask, prompt.read_reply, prompt.options)
        if len(self.open) > self._room:
            self._withdraw(next(iter(self.open)))
            self._recorder.tally.forgotten_approvals += 1

    def reply(self, key: RequestKey, reply: mcp.Reply | None) -> None:
        """The client answers."""
        found = self.open.pop(key, None)
        if found is None:
            other = respelled(key)
            found = self.open.pop(other, None) if other is not None else None
        if found is None:
            return
        decision = Decision()
        if reply is not None and is_present(reply.error):
            decision = Decision(reason=optional_name(read_words(reply.error)))
        elif reply is not None and found.read_reply is not None:
            decision = found.read_reply(reply, found.options)
        found.consent.settle(found.ask, self._recorder.monotonic(), decision, DecidedBy.CLIENT)

    def resolve(self, event: Resolved) -> None:
        """A request needs no answer any more: it was taken back, or answered on another connection."""
        if event.key in self.open:
            self._withdraw(event.key)

    def drop(self, consent: Consent) -> None:
        """A call has ended: nobody waits for the answers to what was asked about it."""
        for table in (self.open, self._reviews):
            for key in [key for key, found in table.items() if found.consent is consent]:
                del table[key]  # type: ignore[arg-type]  # each key is of its own table

    def review(self, event: Review) -> None:
        """A review began, or decided."""
        run = event.about.thread_id, event.review_id
        found = self._reviews.pop(run, None)
        now = self._recorder.monotonic()
        if found is None:
            consent = self._consent_of_item(event.about)
            found = _Open(consent, new_ask(now, is_wait=False, is_request=False))
            consent.ask(found.ask)
        if event.decision is None:
            self._reviews[run] = found
            if len(self._reviews) > self._room:
                oldest = self._reviews.pop(next(iter(self._reviews)))
                oldest.consent.settle(oldest.ask, now)
                self._recorder.tally.forgotten_approvals += 1
        else:
            found.consent.settle(found.ask, now, event.decision, DecidedBy.REVIEWER)

    def hook(self, event: HookRan) -> None:
        """A hook began to look at a call, or has looked at it."""
        now = self._recorder.monotonic()
        run = event.about.thread_id, event.run_id
        if event.begins:
            self._hooks[run] = now
            self._bound(self._hooks)
            return
        began = self._hooks.pop(run, now)
        if event.decision is not None:
            self._consent_of_item(event.about).hook_decided(event.decision, now - began)

    def adopt(self, call: Call) -> None:
        """An item begins: what was said of it before is now said of the call."""
        early = self._early.pop((call.thread_id, call.request_id), None) if self._early else None
        if early is not None:
            call.consent = early.consent

    def forget(self, turn: tuple[str | None, str | None]) -> None:
        """A turn ended: what was said of items of it that never began is about no call."""
        gone = [item for item, early in self._early.items() if item[0] == turn[0] and early.turn_id in (turn[1], None)]
        for item in gone:
            self.drop(self._early.pop(item).consent)

    def _withdraw(self, key: RequestKey) -> None:
        found = self.open.pop(key)
        found.consent.settle(found.ask, self._recorder.monotonic())

    def _bound(self, table: dict[Any, Any]) -> None:
        if len(table) > self._room:
            del table[next(iter(table))]
            self._recorder.tally.forgotten_approvals += 1

    def _consent(self, prompt: Prompt) -> Consent | None:
        """The consent of the call that a request is about; ``None`` where it is about none."""
        about = prompt.about
        call = about.call
        if about.item_id is not None:
            if prompt.read_reply is not None:  # the item may begin later than the approval is asked for
                return self._consent_of_item(about)
            call = self._item(about)
        elif about.tool_call is not None:
            call = self._calls.by_key.get(about.tool_call)
        elif about.server is not None:
            call = self._by_server(about)
        elif about.is_mcp:
            entry = self._suspended.find_task(self._recorder, about.task_id) if about.task_id is not None else None
            if entry is None:
                call = self.idle_mcp_call()
            elif not entry.is_over:
                call = entry.call
        return None if call is None else consent_of(call)

    def _consent_of_item(self, about: About) -> Consent:
        """The consent of an item, which may not have begun yet."""
        call = self._item(about)
        if call is not None:
            return consent_of(call)
        found = self._early.get((about.thread_id, about.item_id))
        if found is None:
            found = self._early[about.thread_id, about.item_id] = _Early(Consent({}), about.turn_id)
            self._bound(self._early)
        return found.consent

    def _item(self, about: About) -> Call | None:
        """The oldest open item with this id in its thread."""
        for call in self._calls:
            if call.request_id == about.item_id and call.thread_id == about.thread_id and call.turn is not None:
                return call
        return None

    def _by_server(self, about: About) -> Call | None:
        """Codex names no item when it asks for an MCP server, or about a tool of one."""
        for call in self._calls:
            if call.server != about.server or call.thread_id != about.thread_id:
                continue
            consent = call.consent
            if about.tool is None:
                if consent is None or not consent.waiting:
                    return call
            elif call.tool == about.tool and not (consent is not None and consent.asked_whether) and _takes(call, about):
                return call
        return None

    def idle_mcp_call(self) -> Call | None:
        """MCP over one stream does not say which call it asks about: the oldest that it does not ask about already is a guess."""
        for call in self._calls:
            if call.answer is mcp.TOOL_ANSWER and (call.consent is None or not call.consent.is_busy):
                return call
        return None


def _takes(call: Call, about: About) -> bool:
    """Whether a call may have the arguments that were asked about; of long ones nothing is known but their digest."""
    return call.arguments_meta is not None or mcp.canonical(call.arguments or b"null") == (about.arguments or b"null")
