"""One exchange: what crosses becomes messages, which the groups of its session are shown."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from msgspec import Raw

from trio_oplog._json import Reader
from trio_oplog._operation import Outcome
from trio_oplog._recording.dialects import FROM_CLIENT
from trio_oplog._recording.dialects.events import End
from trio_oplog._recording.dialects.results import is_present, read_answer
from trio_oplog._recording.dialects.shapes import Response
from trio_oplog._recording.envelope import read_key
from trio_oplog._recording.http.coding import CodingError, Decode, decoder
from trio_oplog._recording.http.head import Headers, RequestHead, ResponseHead, read_response_head
from trio_oplog._recording.http.holding import Hold, WholeText
from trio_oplog._recording.http.messages import Part, read_parts
from trio_oplog._recording.http.session import CANCELLED, RequestGroup, Session
from trio_oplog._recording.http.sse import Event, EventParser
from trio_oplog._recording.limits import NAME_MAX_BYTES
from trio_oplog._recording.suspended import UNANSWERED

if TYPE_CHECKING:
    from trio_oplog._recording.http.tap import HttpTap

LISTING_MAX: Final = 16_384
"""The most bytes of a body that may be an ``operations/list`` request."""

_LISTING: Final = "operations/list"
_PENDING_MAX: Final = 16_384
# For each of them every open request of the session may have to be looked at.
_ABOUT_OTHERS_MAX: Final = 1_024
_MULTIPLE_CHOICES: Final = 300
_BAD_REQUEST: Final = 400
_OK: Final = 200
_ACCEPTED: Final = 202
_NOT_FOUND: Final = 404
_NO_ROOM: Final = "there was no room for it"
_GREETING: Final = "initialize"
_MESSAGE: Final = (b"", b"message")

_CLIENT_LEFT: Final = End(is_error=True, notes={"outcome": Outcome.CANCELLED})
_response = Reader(Response)

M = TypeVar("M", bound=Callable[..., None])


class Identity(NamedTuple):
    """Who made a request."""

    workspace_id: str
    user_id: str | None


class Ending(Enum):
    """How an exchange ends."""

    COMPLETE = auto()
    CLIENT_CLOSED = auto()
    UPSTREAM_FAILED = auto()


def _never_raises(method: M) -> M:
    """Count a mistake, which must not reach the traffic."""

    @wraps(method)
    def shown(self: HttpExchange, *args: Any) -> None:
        if self.is_over:
            return
        try:
            method(self, *args)
        except Exception as error:  # noqa: BLE001
            self.tap.count_mistake(error)

    return cast("M", shown)


class HttpExchange:
    """One request and its response, as ``HttpTap.exchange`` made it.

    Show it what crosses, in the order in which it crosses and before it is passed on.  It never blocks, never raises and
    never keeps or alters what it is shown.  The first of ``response_end``, ``client_closed`` and ``upstream_failed`` ends
    it; what is shown afterwards is ignored.
    """

    def __init__(self, tap: HttpTap, identity: Identity, head: RequestHead, session: Session | None) -> None:
        self.tap: HttpTap = tap
        self.identity: Identity = identity
        self.request: RequestHead = head
        self.session: Session | None = session
        self.group: RequestGroup | None = None
        """The requests in its body whose responses matter."""
        self.is_over: bool = False
        self._response: ResponseHead | None = None
        self._greets = False
        self._lists = False
        self._pending: list[str] = []
        self._pending_size = 0
        self._received = 0
        self._events: EventParser | None = None
        self._whole: WholeText | None = None
        self._sink: Callable[[bytes], None] | None = None
        """Takes the pieces of the response's body, where it is read."""
        self._unread: str | None = None
        """Why something of the response was passed over."""
        self._body: WholeText | None = None
        self._body_size = 0
        self._is_complete = head.method != "POST" or head.has_form
        self._decode: Decode | None = None
        if not self._is_complete:
            self._decode = decoder(head.coding, tap.budget.max_message)
            self._body = WholeText(Hold(tap.budget))

    def __repr__(self) -> str:
        return f"<HttpExchange {self.request.method} is_over={self.is_over}>"

    # What a gateway asks.

    @property
    def may_list_operations(self) -> bool:
        """Whether this may still turn out to be an ``operations/list`` request, as far as its body has come.

        A gateway that answers such requests itself passes nothing on while this is true.  It is false for every body that
        has ended, and for one longer than 16 KiB.
        """
        method = self.request.mcp_method
        return not self._is_complete and self._body_size <= LISTING_MAX and method in (None, _LISTING.encode())

    @property
    def lists_operations(self) -> bool:
        """Whether the body, which has ended and is not longer than 16 KiB, is one ``operations/list`` request."""
        return self._lists

    @property
    def pending_ids(self) -> tuple[str, ...]:
        """The ids of the requests in the body, each as JSON text, in the order in which they stand there.

        Empty before the body has ended, and from the head of the response on.  When the upstream fails, each is to be
        answered with a JSON-RPC error.  Of one body, 16 KiB of them are kept, and none that is longer than 1 024 bytes.
        """
        return tuple(self._pending)

    # What crosses.

    @_never_raises
    def request_data(self, data: bytes) -> None:
        """A part of the request's body.

        Args:
            data: The part, without framing: what ``Content-Length`` counts, or what the chunks hold.
        """
        self._body_size += len(data)
        if self._body is None:
            return
        if self._decode is None:
            self._pass_over_request(self._body)
            return
        try:
            for piece in self._decode(bytes(data)):
                self._body.add(piece)
        except CodingError:
            self._pass_over_request(self._body)

    @_never_raises
    def request_end(self) -> None:
        """The request's body has ended: what it asks for begins now."""
        self._is_complete = True
        if self._body is None:
            return
        text, is_passed_over = self._body.take(), self._body.is_passed_over
        self._body = None
        if is_passed_over:
            self.tap.passed_over += 1
        elif text:
            self._read_request(text)

    @_never_raises
    def response_head(self, status: int, headers: Headers) -> None:
        """The head of the response; an informational one (below 200) is ignored, and so is a second one.

        Args:
            status: The status code.
            headers: The header fields.
        """
        if status < _OK or self._response is not None:
            return
        self._pending.clear()
        request = self.request
        head = self._response = read_response_head(status, headers, request.target)
        is_success = status < _MULTIPLE_CHOICES
        session = self.session
        if session is not None and request.session is not None:
            if status == _NOT_FOUND or (is_success and request.method == "DELETE"):
                self.tap.end_session(session)
        elif session is not None and session.key is None and is_success and self._greets and head.session is not None:
            self.tap.begin_session(self, session, head.session)
        if head.is_stream and request.method in ("GET", "POST"):
            self._events = EventParser(Hold(self.tap.budget))
            self._sink = partial(self._feed, self._events)
        elif (self.group is not None or not self._is_complete) and status != _ACCEPTED:
            self._whole = WholeText(Hold(self.tap.budget))
            self._sink = self._whole.add
        self._decode = decoder(head.coding, self.tap.budget.max_message)
        if head.length == 0:
            self._read_whole()

    @_never_raises
    def response_data(self, data: bytes) -> None:
        """A part of the response's body.

        Args:
            data: The part, without framing: what ``Content-Length`` counts, or what the chunks hold.
        """
        self._received += len(data)
        sink = self._sink
        if sink is None:
            return
        if self._decode is None:
            self._pass_over_response("its Content-Encoding is not known")
            return
        try:
            for piece in self._decode(bytes(data)):
                sink(piece)
        except CodingError:
            self._pass_over_response("it is not what its Content-Encoding says")
        if self._response is not None and self._received == self._response.length:
            self._read_whole()

    @_never_raises
    def response_end(self) -> None:
        """The response has ended as it should."""
        self._finish(Ending.COMPLETE)

    @_never_raises
    def client_closed(self) -> None:
        """The client has left before the response ended."""
        self._finish(Ending.CLIENT_CLOSED)

    @_never_raises
    def upstream_failed(self) -> None:
        """There is no response, or it broke off: the upstream cannot be reached, took too long or closed the connection."""
        self._finish(Ending.UPSTREAM_FAILED)

    @_never_raises
    def abandon(self, end: End) -> None:
        """Nothing more is shown of the exchange: its calls end so."""
        self.is_over = True
        self._release()
        if self.group is not None:
            self.group.end_calls(end)
            self.own_session().drop(self.group)
        self._end_stream(end)
        self.tap.leave(self)

    # Requests.

    def own_session(self) -> Session:
        """The session, which is that of this exchange alone where it has no other."""
        if self.session is None:
            self.session = self.tap.new_session(self.identity, self.request.protocol)
        return self.session

    def _pass_over_request(self, body: WholeText) -> None:
        body.take()
        self._body = None
        self.tap.passed_over += 1

    def _read_request(self, text: bytes) -> None:
        parts = read_parts(text)
        if not parts:
            self.tap.tally.unreadable_frames += 1
            return
        about_others = 0
        for part in parts:
            if part.method is None or part.method == CANCELLED:
                about_others += 1
                if about_others <= _ABOUT_OTHERS_MAX:
                    self._hear_client(part)
                continue
            self._keep_id(part.id)
            if part.method in FROM_CLIENT:
                self._greets = self._greets or part.method == _GREETING
                if self.group is None:
                    self.group = self.own_session().begin_group()
                self.group.on_client_frame(part.frame)
        self.tap.passed_over += about_others > _ABOUT_OTHERS_MAX
        is_list = len(parts) == 1 and parts[0].is_alone and parts[0].method == _LISTING and bool(self._pending)
        self._lists = is_list and self._body_size <= LISTING_MAX
        if self.group is not None:
            self.tap.take_redirected(self.identity, self.request.target, self.group)

    def _keep_id(self, raw: Raw) -> None:
        room = _PENDING_MAX - self._pending_size
        if len(raw) <= min(room, NAME_MAX_BYTES) and read_key(raw) is not None:
            self._pending.append(bytes(raw).decode())
            self._pending_size += len(raw)

    def _hear_client(self, part: Part) -> None:
        session = self.session
        is_heard = session is not None and session.hear_client(part)
        if not is_heard and part.method == CANCELLED and (session is None or session.key is None):
            self.tap.cancel_without_session(self.identity, part)

    # Responses.

    def _feed(self, events: EventParser, piece: bytes) -> None:
        passed_over = events.passed_over
        for event in events.feed(piece):
            self._take_event(event)
        if events.passed_over != passed_over:
            self._unread = _NO_ROOM
            self.tap.passed_over += events.passed_over - passed_over

    def _take_event(self, event: Event) -> None:
        if event.type == b"endpoint" and self.request.method == "GET" and self.request.session is None:
            self.tap.begin_stream(self, event.data)
        elif event.type in _MESSAGE and event.data:
            self._hear_server(event.data)

    def _hear_server(self, frame: bytes) -> None:
        if self.group is not None:
            self.group.on_server_frame(frame)
            return
        session = self.own_session()
        for part in read_parts(frame):
            session.hear_server(part, is_resumed=self.request.resumes)

    def _pass_over_response(self, reason: str) -> None:
        self._release()
        self._unread = reason
        self.tap.passed_over += 1

    def _read_whole(self) -> None:
        """The body has come: it is one answer, or several, or none."""
        if self._whole is None or self.group is None:
            return
        text, is_passed_over = self._whole.take(), self._whole.is_passed_over
        self._whole = self._sink = None
        if is_passed_over:
            self._pass_over_response(_NO_ROOM)
            return
        if text:
            self.group.on_server_frame(text)
        if self.group.calls and (refusal := self._refusal(text)) is not None:
            self.group.end_calls(refusal)

    def _refusal(self, text: bytes) -> End | None:
        """How the calls end that a response without their ids is about; ``None`` where it refuses none."""
        response = self._response
        is_error = response is not None and response.status >= _BAD_REQUEST
        message = _response.read(text)
        if message is not None and message.method is None and is_present(message.error):
            if is_error or read_key(message.id) is None:
                return read_answer(message)
        elif response is not None and is_error:
            return _http_error(response, text)
        return None

    # The end.

    def _release(self) -> None:
        if self._body is not None:
            self._body.take()
        if self._whole is not None:
            self._whole.take()
        if self._events is not None:
            self._events.release()
        self._body = self._whole = self._events = self._sink = None

    def _finish(self, ending: Ending) -> None:
        self.is_over = True
        try:
            self._read_whole()
            if self.group is not None:
                self._settle(self.group, ending)
            self._end_stream(UNANSWERED)
        finally:
            self._release()
            self.tap.leave(self)

    def _end_stream(self, end: End) -> None:
        """A session of HTTP+SSE ends with its stream."""
        if self.session is not None and self.session.is_stream and self.request.method == "GET":
            self.tap.end_session(self.session, end)

    def _settle(self, group: RequestGroup, ending: Ending) -> None:
        """Decide on what was not answered in this exchange."""
        session = self.own_session()
        response = self._response
        if not group.is_empty:
            if response is not None and response.location is not None and _MULTIPLE_CHOICES <= response.status < _BAD_REQUEST:
                self.tap.redirect(self.identity, response, group)
            elif response is not None and response.status >= _BAD_REQUEST:
                group.end_calls(_http_error(response, b""))
            elif self._comes_elsewhere(session, ending):
                session.detach(group)
                return
            else:
                if ending is Ending.CLIENT_CLOSED and self._unread is None:  # it may have left because it was answered
                    self._client_left(group, session)
                said = f"The answer was passed over: {self._unread}." if self._unread is not None else None
                group.end_calls(UNANSWERED if said is None else End(is_error=True, text=said, notes=UNANSWERED.notes))
                if group.is_asked and session.key is not None and not session.is_ended:  # about a task
                    session.detach(group)
                    return
        session.drop(group)

    def _comes_elsewhere(self, session: Session, ending: Ending) -> bool:
        """Whether the answers may come on another exchange of the session."""
        if session.key is None or session.is_ended:
            return False
        if self._unread is not None and ending is not Ending.UPSTREAM_FAILED:  # more likely they have come
            return False
        can_resume = self._events is not None and self._events.has_id
        return session.is_stream or can_resume or (self._response is not None and self._response.status == _ACCEPTED)

    def _client_left(self, group: RequestGroup, session: Session) -> None:
        if self.request.is_alone:
            group.end_calls(_CLIENT_LEFT)
        elif session.key is None:
            self.tap.settle_cancellations(self.identity, group)


def _http_error(response: ResponseHead, text: bytes) -> End:
    said = f"HTTP {response.status}"
    if response.is_text and text:
        said += f": {text.decode('utf-8', 'replace')}"
    return End(is_error=True, text=said, notes={"outcome": Outcome.RPC_ERROR})
