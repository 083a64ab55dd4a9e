"""The requests of one session, or of one exchange that has none, and who hears what is said of them on other exchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trio_oplog._recording.dialects import FROM_CLIENT, OF_THE_CLIENT
from trio_oplog._recording.dialects.events import Call, Cancelled, End, Prompt, Resolved
from trio_oplog._recording.envelope import Frame, RequestKey, read_id, read_key, respelled
from trio_oplog._recording.http.messages import Part
from trio_oplog._recording.interceptor import Interceptor
from trio_oplog._recording.pairing import EVICTED
from trio_oplog._recording.recorder import Moment, Recorder
from trio_oplog._recording.suspended import SuspendedCalls

CANCELLED: Final = "notifications/cancelled"
_ASKS: Final = frozenset({"elicitation/create", "sampling/createMessage"})


class RequestGroup(Interceptor):
    """The requests of one POST, what is said of them on its own response, and what is said of them elsewhere.

    Args:
        recorder: The one of the session.
        suspended: The one of the server.
    """

    is_detached: bool = False
    """Whether the exchange is over, and the answers may still come on another one."""

    def __init__(self, recorder: Recorder, suspended: SuspendedCalls) -> None:
        self._watch(recorder, suspended)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is open: no call, no other request whose response matters, nothing that the server asked."""
        return not (self._calls or self._pairing.requests or self._pairing.approvals.open)

    @property
    def is_asked(self) -> bool:
        """Whether something is open that the server asked."""
        return bool(self._pairing.approvals.open)

    @property
    def calls(self) -> list[Call]:
        """The open calls, the oldest first."""
        return list(self._calls)

    def has_request(self, key: RequestKey) -> bool:
        """Whether a request with exactly this id is open."""
        return key in self._calls.by_key or key in self._pairing.requests

    def awaits(self, key: RequestKey) -> bool:
        """Whether a response with this id would answer something here, also one whose id has the other type."""
        return self._pairing.awaited(key) is not None

    def has_asked(self, key: RequestKey) -> bool:
        """Whether the server asked something with exactly this id."""
        return key in self._pairing.approvals.open

    def may_ask(self) -> bool:
        """Whether there is a call that a request of the server may be about."""
        return self._pairing.approvals.idle_mcp_call() is not None

    def take_calls(self) -> list[Call]:
        """Take out the open calls without a record."""
        return self._pairing.take_calls()

    def put_back(self, call: Call, instead_of: Call) -> None:
        """Let a call go on that was taken out elsewhere."""
        self._pairing.put_back(call, instead_of)

    @property
    def recorder(self) -> Recorder:
        """Makes the operations."""
        return self._recorder

    def end_call(self, call: Call, end: End, at: Moment) -> None:
        """End one open call, at a moment that is over."""
        self._pairing.end_call(call, end, at)

    def end_calls(self, end: End, at: Moment | None = None) -> None:
        """End the open calls."""
        self._end_calls(end, at)


class Session:
    """The groups of requests that belong together, because they have one space of ids.

    Args:
        recorder: Makes the operations.
        suspended: The calls that outlive their answers.
    """

    def __init__(self, recorder: Recorder, suspended: SuspendedCalls) -> None:
        self.recorder: Recorder = recorder
        self.key: tuple[object, ...] | None = None
        """What further exchanges find it by; ``None`` while it is that of one exchange."""
        self.is_ended: bool = False
        self.is_stream: bool = False
        """Whether every answer comes on the one stream with which the session ends (HTTP+SSE)."""
        self.exchanges: int = 0
        """How many exchanges of it are open."""
        self.idle_since: float = 0.0
        self.protocol: str | None = None
        self._suspended = suspended
        self._groups: dict[RequestGroup, None] = {}  # the oldest first
        self._detached = 0
        self._rest: RequestGroup | None = None

    def begin_group(self) -> RequestGroup:
        """Begin with the requests of another exchange."""
        group = RequestGroup(self.recorder, self._suspended)
        self._groups[group] = None
        return group

    @property
    def groups(self) -> list[RequestGroup]:
        """Every group with something open, the oldest first."""
        return list(self._groups)

    def drop(self, group: RequestGroup) -> None:
        """An exchange is over, and nothing more will come for its group."""
        if group in self._groups:
            del self._groups[group]
            self._detached -= group.is_detached
            group.close()

    def detach(self, group: RequestGroup) -> None:
        """An exchange is over, and the answers to its requests may come on another one."""
        group.is_detached = True
        self._detached += 1
        while self._detached > self.recorder.config.max_pending:
            oldest = next(group for group in self._groups if group.is_detached)
            oldest.end_calls(EVICTED)
            self.drop(oldest)

    def end(self, end: End) -> None:
        """The session is over.  Requests whose exchanges are open may still be answered there."""
        self.is_ended = True
        for group in self.groups:
            if group.is_detached:
                group.end_calls(end)
                self.drop(group)

    def hear_client(self, part: Part) -> bool:
        """A message of the client that is about an earlier exchange: an answer, or the cancellation of a request.

        Returns:
            Whether it is about anything that is open here.
        """
        if part.method is None:
            key = read_key(part.id)
            has = RequestGroup.has_asked
        else:
            cancelled = read_cancellation(part.frame)
            key = cancelled.key if cancelled is not None else None
            has = RequestGroup.has_request
        if key is None:
            return False
        group = self._first(key, has)
        if group is None and part.method is None and (other := respelled(key)) is not None:
            group = self._first(other, has)
        if group is None:
            return False
        group.on_client_frame(part.frame)
        self._tidy(group)
        return True

    def hear_server(self, part: Part, *, is_resumed: bool = False) -> None:
        """A message of the server on a stream that belongs to no group.

        Args:
            part: The message.
            is_resumed: Whether the stream carries on one that broke off.
        """
        group = self._answered(part) if part.method is None else self._meant(part, is_resumed=is_resumed)
        if group is not None:
            group.on_server_frame(part.frame)
            self._tidy(group)

    def _answered(self, part: Part) -> RequestGroup | None:
        """The group that a response is for: one whose own stream is over, if there is any."""
        key = read_key(part.id)
        if key is None:
            return None
        return (
            self._first(key, RequestGroup.has_request, detached=True)
            or self._first(key, RequestGroup.has_request)
            or self._first(key, RequestGroup.awaits)
        )

    def _meant(self, part: Part, *, is_resumed: bool) -> RequestGroup | None:
        """The group that a request or notification of the server is for."""
        method = part.method
        rule = OF_THE_CLIENT.get(method) if method is not None else None
        if rule is None:
            return None
        message = rule.read(part.frame)
        event = rule.interpret(message, read_id(part.id), 0) if message is not None else None
        if isinstance(event, Resolved):
            return self._first(event.key, RequestGroup.has_asked)
        if isinstance(event, Prompt) and event.about.task_id is None:
            groups = sorted(self._groups, key=lambda group: is_resumed and not group.is_detached)
            return next((group for group in groups if group.may_ask()), None)
        if self._rest is None:  # of tasks it does not matter on which exchange they began
            self._rest = self.begin_group()
        return self._rest

    def _first(
        self, key: RequestKey, has: Callable[[RequestGroup, RequestKey], bool], *, detached: bool = False
    ) -> RequestGroup | None:
        for group in self._groups:
            if (group.is_detached or not detached) and has(group, key):
                return group
        return None

    def _tidy(self, group: RequestGroup) -> None:
        if group.is_detached and group.is_empty:
            self.drop(group)


def read_cancellation(frame: Frame) -> Cancelled | None:
    """Which request a ``notifications/cancelled`` of the client takes back."""
    rule = FROM_CLIENT[CANCELLED]
    message = rule.read(frame)
    event = rule.interpret(message, None, 0) if message is not None else None
    return event if isinstance(event, Cancelled) else None
