"""Step 10: ``operations/list``, answered inside the gateway: the way back from the store to whoever asks.

The one place where a stranger's request reaches the endpoint that holds the secret, so it takes nothing on trust: the
workspace is the gateway's, the parameters are checked before they are sent, and what the endpoint says in anger stays here.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import httpx
import msgspec
import trio
from msgspec import Raw

from trio_oplog._address import check_secret, check_url
from trio_oplog._errors import ConfigError, ListError, QueryError
from trio_oplog._json import ABSENT, Reader
from trio_oplog._listing.query import ListQuery, read_time, write_parameters
from trio_oplog._listing.room import Holding, Room
from trio_oplog._reach import check_ca_file, make_tls, name_failure
from trio_oplog._recording import Frame, Message, is_utf8, read_key, read_request
from trio_oplog._trio import require_trio

METHOD: Final = "operations/list"

INVALID_PARAMS: Final = -32602
"""JSON-RPC 2.0, section 5.1: the parameters are wrong."""
INTERNAL_ERROR: Final = -32603
"""JSON-RPC 2.0, section 5.1: the list cannot be had, for reasons that are not the caller's."""

OVERLOADED: Final = -32001
"""Too many lists are being answered; ask again later."""

REQUEST_TIMEOUT: Final = 10.0
REPLY_MAX_BYTES: Final = 64 * 1024 * 1024
HELD_MAX_BYTES: Final = 256 * 1024 * 1024

_UNAUTHORIZED: Final = 401

# A longer reply is checked in a thread, so that the frames of other connections do not wait for it.
_INLINE_BYTES: Final = 64 * 1024

_log = logging.getLogger("trio_oplog")


class ListClient:
    """Asks an endpoint for operations.

    Every request has a connection of its own: it holds nothing that would have to be closed, and may be used from any
    number of tasks.  Neither a proxy nor a ``.netrc`` of the environment gets to see the secret, and no redirect is followed
    with it.

    Args:
        url: The endpoint, ``http://`` or ``https://``.
        secret: What it expects in ``X-Internal-Secret``; not empty.
        http: A ready client, for proxies, client certificates or an in-process ``httpx.ASGITransport``; it stays open.  ``None``
            for one of the ``ListClient``'s own.
        ca_file: A file of certificates in PEM form that an ``https`` endpoint is verified with, in place of all others.  Without
            one the environment variables ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count, else the package ``certifi``.  Not
            together with ``http``.
        timeout: The most seconds that one request may take in all, above 0.
        max_bytes: The longest reply taken, in bytes, at least 1; 64 MiB by default.
        max_held: The most bytes that all answers together may take until whoever asked has got them, at least 1; 256 MiB by
            default.  While an answer is made it counts four times, and twice while it is sent.  A request for which there is no
            room waits, up to the timeout.

    Raises:
        ConfigError: A value is wrong, or the certificates to trust cannot be read; the error names it.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        http: httpx.AsyncClient | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        timeout: float = REQUEST_TIMEOUT,
        max_bytes: int = REPLY_MAX_BYTES,
        max_held: int = HELD_MAX_BYTES,
    ) -> None:
        self._url = check_url(url)
        self._headers = {"X-Internal-Secret": check_secret(secret), "Accept-Encoding": "identity", "User-Agent": "trio-oplog"}
        if not timeout > 0 or math.isnan(timeout):
            raise ConfigError("timeout", "must be above 0")
        if max_bytes < 1:
            raise ConfigError("max_bytes", "must be at least 1")
        if max_held < 1:
            raise ConfigError("max_held", "must be at least 1")
        if http is not None and not isinstance(http, httpx.AsyncClient):
            raise ConfigError("http", "must be an httpx.AsyncClient")
        trusted = check_ca_file(ca_file, http)
        self._http = http
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._room = Room(max_held)
        # Costs milliseconds, so once; and not at all where it is of no use.
        ours = http is None and self._url.scheme == "https"
        self._tls = make_tls(trusted) if ours else False

    def __repr__(self) -> str:
        return f"<ListClient {self._url.scheme}://{self._url.host}{self._url.path}>"

    async def fetch(self, query: ListQuery) -> bytes:
        """Ask for operations.

        Args:
            query: Which ones.

        Returns:
            The endpoint's answer, byte for byte: a JSON object in UTF-8, with the records in ``operations``.

        Raises:
            ListError: There was no such answer.  What the endpoint said instead is not in the error.
            TrioRequiredError: The program runs under another event loop than Trio's; nothing was asked.
        """
        async with self.holding(query) as body:
            return body

    @asynccontextmanager
    async def holding(self, query: ListQuery) -> AsyncIterator[bytes]:
        """Ask for operations, and count the answer among those in memory for as long as the block lasts.

        Args:
            query: Which ones.

        Yields:
            See ``fetch``.

        Raises:
            ListError: See ``fetch``; or there is no room for the answer.
            TrioRequiredError: The program runs under another event loop than Trio's; nothing was asked.
        """
        require_trio("ListClient")
        holding = Holding(self._room)
        try:
            body = await self._fetch(self._url.copy_merge_params(write_parameters(query)), holding, query.limit)
            if not await _is_json_object(body):
                raise ListError(f"the endpoint's answer of {len(body)} bytes is no JSON object")
            holding.shrink(len(body))
            yield body
        finally:
            holding.end()

    async def _fetch(self, url: httpx.URL, holding: Holding, records: int) -> bytes:
        """The body of an answer that is a success.

        Args:
            url: What is asked for.
            holding: Takes the room for it, which the caller gives back.
            records: For how many records there has to be room before it is asked for.

        Raises:
            ListError: There was no such answer, or there is no room for it.
        """
        body: bytes | None = None
        error: ListError = NoRoomError()
        try:
            with trio.move_on_after(self._timeout):
                await holding.begin(records)
                error = ListError("the endpoint did not answer in time")
                body = await self._get(url, holding)
        except httpx.HTTPError as failure:
            error = ListError(f"the endpoint cannot be reached: {name_failure(failure)}")
        # Outside of the handler: an error of the transport holds the request, and with it the secret.
        if body is None:
            raise error
        return body

    async def _get(self, url: httpx.URL, holding: Holding) -> bytes:
        if self._http is not None:
            return await self._get_through(self._http, url, holding)
        async with httpx.AsyncClient(verify=self._tls, trust_env=False) as http:
            return await self._get_through(http, url, holding)

    async def _get_through(self, http: httpx.AsyncClient, url: httpx.URL, holding: Holding) -> bytes:
        chunks: list[bytes] = []
        size = 0
        error: ListError | None = None
        request = http.build_request("GET", url, headers=self._headers, timeout=None)
        response = await http.send(request, stream=True, follow_redirects=False)
        try:
            if not response.is_success:
                refused = "does not accept the secret" if response.status_code == _UNAUTHORIZED else "refused"
                raise ListError(f"the endpoint {refused}", response.status_code)
            # Breaking out of the loop would leave half a dozen generators of the HTTP stack suspended; cancelling unwinds them.
            with trio.CancelScope() as reading:
                async for chunk in response.aiter_bytes():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > self._max_bytes:
                        error = ListError(f"the endpoint's answer is over {self._max_bytes} bytes")
                    elif not holding.fits(size):
                        error = NoRoomError()
                    if error is not None:
                        reading.cancel()
        finally:
            await response.aclose()
        if error is not None:
            raise error
        return b"".join(chunks)


class NoRoomError(ListError):
    """Too many answers are in memory."""

    def __init__(self) -> None:
        super().__init__("too many answers are waiting to be taken")


async def try_handle_operations_list(list_client: ListClient, workspace_id: str, frame: Frame) -> bytes | None:
    """Answer a client's request ``operations/list`` in the server's stead.

    The answer takes as long as the endpoint does, up to the client's timeout: a gateway awaits it in a task of its own and
    goes on forwarding.

    Args:
        list_client: Where the operations are.
        workspace_id: Whose operations to show, whatever the request says.
        frame: A frame from the client, as it came.

    Returns:
        The JSON-RPC answer to send back to the client.  The endpoint's text stands in it unaltered, with any newlines that it
        has.  ``None`` when the frame is no such request (a notification, a batch, anything else): forward it.

    Raises:
        trio.Cancelled: The task was cancelled.  Nothing else is ever raised.
    """
    request = read_list_request(frame)
    if request is None:
        return None
    async with answering(list_client, workspace_id, request) as answer:
        return answer


def read_list_request(frame: Frame) -> Message | None:
    """The request, when a frame is an ``operations/list`` and nothing else.  Its raw parts share the frame's memory."""
    request = read_request(frame, METHOD)
    return request if request is not None and read_key(request.id) is not None else None


@asynccontextmanager
async def answering(list_client: ListClient, workspace_id: str, request: Message) -> AsyncIterator[bytes]:
    """Answer what ``read_list_request`` found; see ``try_handle_operations_list``.

    Yields:
        The answer.  It counts among those in memory for as long as the block lasts, which should be until it is sent.
    """
    async with AsyncExitStack() as stack:
        try:
            body = await stack.enter_async_context(list_client.holding(_read_query(workspace_id, request.params)))
            answer = _answer(request.id, b"result", body)
            del body  # it would be in memory while the answer is sent
        except Exception as error:  # noqa: BLE001 -- the caller is owed an answer, whatever a transport of the gateway's own does
            answer = _refusal(request.id, error)
        yield answer


def _refusal(request_id: Raw, error: Exception) -> bytes:
    """The answer to a request that could not be fulfilled.  What the endpoint said, or a transport, is not in it."""
    match error:
        case QueryError() if error.field != "workspace_id":  # that one is the gateway's own mistake
            return _error(request_id, INVALID_PARAMS, f"Invalid params: {error}")
        case QueryError():
            _log.error("operations/list failed: %s", error)
        case NoRoomError():
            _log.warning("operations/list failed: %s", error)
            return _error(request_id, OVERLOADED, "overloaded")
        case ListError():
            _log.warning("operations/list failed: %s", error)
        case _:
            _log.warning("operations/list failed: %s", type(error).__name__)
    return _error(request_id, INTERNAL_ERROR, "The operation log is not available")


class _Params(msgspec.Struct):
    env_id: Raw = ABSENT
    tool: Raw = ABSENT
    source: Raw = ABSENT
    is_error: Raw = ABSENT
    since: Raw = ABSENT
    id: Raw = ABSENT
    limit: Raw = ABSENT
    until: Raw = ABSENT
    user_id: Raw = ABSENT
    thread_id: Raw = ABSENT
    outcome: Raw = ABSENT
    client: Raw = ABSENT
    approval: Raw = ABSENT
    q: Raw = ABSENT
    cursor: Raw = ABSENT
    id_prefix: Raw = ABSENT


_params = Reader(_Params)

_WANTED: Final[dict[str, tuple[type, str]]] = {
    "env_id": (str, "a string"),
    "tool": (str, "a string"),
    "source": (str, "a string"),
    "is_error": (bool, "true or false"),
    "since": (str, "a string"),
    "id": (str, "a string"),
    "limit": (int, "a whole number"),
    **dict.fromkeys(
        ("until", "user_id", "thread_id", "outcome", "client", "approval", "q", "cursor", "id_prefix"), (str, "a string")
    ),
}
_TIMES: Final = frozenset({"since", "until"})


def _read_query(workspace_id: str, raw: Raw) -> ListQuery:
    """The query of a request's ``params``.  ``null`` and the empty string count as not given, as the predecessor has it."""
    given: dict[str, Any] = {}
    if bytes(raw) not in (b"", b"null"):
        params = _params.read(raw)
        if params is None:
            raise QueryError("params", "must be an object")
        for name, (kind, description) in _WANTED.items():
            value = _value(getattr(params, name))
            if value is None or value == "":
                continue
            if type(value) is not kind:
                raise QueryError(name, f"must be {description}")
            given[name] = read_time(str(value), name) if name in _TIMES else value
    return ListQuery(workspace_id=workspace_id, **given)


def _value(raw: Raw) -> Any:
    """A parameter's value; of an array or object only that it is none of the wanted."""
    spelling = bytes(raw)
    if not spelling:
        return None
    if spelling[:1] in b"[{" or (len(spelling) > _DIGITS_MAX and spelling[:1] != b'"'):
        return spelling
    return json.loads(spelling)


# No number that is wanted has more, and Python refuses to read one of thousands.
_DIGITS_MAX: Final = 100


def _answer(request_id: Raw, member: bytes, value: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"%b":%b}' % (bytes(request_id), member, value)


def _error(request_id: Raw, code: int, message: str) -> bytes:
    return _answer(request_id, b"error", msgspec.json.encode({"code": code, "message": message}))


_read_object = msgspec.json.Decoder(dict[str, Raw]).decode


async def _is_json_object(body: bytes) -> bool:
    if len(body) > _INLINE_BYTES:
        return await trio.to_thread.run_sync(_holds_object, body)
    return _holds_object(body)


def _holds_object(body: bytes) -> bool:
    # What msgspec refuses may be an escape that means a lone surrogate, which the grammar of JSON allows.
    return is_utf8(body) and (_reads_object(body) or _reads_object(_SURROGATE.sub(_ANY_ESCAPE, body)))


def _reads_object(body: bytes) -> bool:
    try:
        _read_object(body)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ANY_ESCAPE: Final = rb"\\u0041"
