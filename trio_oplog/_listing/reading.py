"""Everything that a collector lets one read, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from typing import Final

import httpx
import msgspec
import trio
from attrs import asdict, fields, frozen
from msgspec import Raw

from trio_oplog._errors import ListError, QueryError
from trio_oplog._json import ABSENT, Reader, elements
from trio_oplog._listing.answering import ListClient
from trio_oplog._listing.pages import Arrivals, Page, Slowest
from trio_oplog._listing.query import ListQuery, read_time, write_parameters
from trio_oplog._listing.room import Holding
from trio_oplog._listing.statistics import Counted, Statistics, StatisticsQuery
from trio_oplog._reach import name_failure

STREAM_TIMEOUT: Final = 60.0
"""How long a stream may be silent, in seconds: four of the heartbeats of a live tail."""
SEARCH_TIMEOUT: Final = 600.0
"""The same of an export that searches, and says nothing until it has found something: that is some ten million records."""

_LIST_AT_ONCE: Final = 256
"""How many records of an export are handed on together."""

# Of these the endpoint has none, or not any more: everything else stays as it is while one waits.
_REFUSALS: Final = {
    401: "the endpoint does not accept the secret",
    403: "the endpoint does not let this token do that",
    404: "the endpoint does not know this request: is it a collector, and one of this version?",
    429: "too many live tails are open with this token: end one, or try again later",
}


class _Reply(msgspec.Struct):
    operations: Raw = ABSENT
    next: str | None = None
    searched_to: str | None = None
    incomplete: bool = False


_reply = Reader(_Reply)


# ``Statistics`` itself cannot be read: JSON does not tell a time from a text.
@frozen(kw_only=True)
class _TimeGroup(Statistics):
    value: datetime


@frozen(kw_only=True)
class _TextGroup(Statistics):
    value: str | None


class _TimeGroups(msgspec.Struct):
    groups: list[_TimeGroup]
    incomplete: bool = False


class _TextGroups(msgspec.Struct):
    groups: list[_TextGroup]
    incomplete: bool = False


class _Workspaces(msgspec.Struct):
    workspaces: list[str]


_read_times = msgspec.json.Decoder(_TimeGroups).decode
_read_texts = msgspec.json.Decoder(_TextGroups).decode
_read_workspaces = msgspec.json.Decoder(_Workspaces).decode


class ReadClient(ListClient):
    """Reads from a collector what a ``Store`` lets one read, with the same methods.  See ``ListClient`` for the parameters."""

    async def page(self, query: ListQuery) -> Page:
        """Look operations up, the newest first.

        Raises:
            ListError: The endpoint did not answer with a list.
        """
        reply, bodies = _read_reply(await self.fetch(query))
        try:
            searched_to = read_time(reply.searched_to) if reply.searched_to else None
        except QueryError:
            searched_to = None
        return Page(bodies, reply.next or None, searched_to)

    async def slowest(self, query: ListQuery) -> Slowest:
        """The records that took longest, the slowest first; at most 100, and not by a text, an id or a thread.

        Raises:
            ListError: The endpoint did not answer with a list.
        """
        reply, bodies = _read_reply(await self._fetch_below("/slowest", write_parameters(query)))
        return Slowest(bodies, not reply.incomplete)

    async def workspaces(self) -> list[str]:
        """The names of the workspaces that ever had a record and may be seen.

        Raises:
            ListError: The endpoint did not answer with them.
        """
        body = await self._fetch_below("/workspaces", {})
        try:
            return _read_workspaces(body).workspaces
        except msgspec.MsgspecError:
            raise ListError("the endpoint's answer is no list of workspaces") from None

    async def statistics(self, query: StatisticsQuery) -> Counted:
        """Count operations.

        Raises:
            ListError: The endpoint did not answer with statistics.
        """
        body = await self._fetch_below("/stats", _statistics_parameters(query))
        read = _read_times if query.by in ("hour", "day") else _read_texts
        try:
            reply = read(body)
        except msgspec.MsgspecError:
            raise ListError("the endpoint's answer holds no statistics") from None
        return Counted([Statistics(**asdict(group)) for group in reply.groups], not reply.incomplete)

    async def export(self, query: ListQuery) -> AsyncGenerator[list[bytes], None]:
        """All records that a query asks for, the newest first, in lists of some.  Its limit does not count.

        Close the generator if you leave it early (``contextlib.aclosing``).

        Raises:
            ListError: The endpoint did not answer, or the connection was lost before the end; what was yielded is right.
        """
        parameters = write_parameters(query)
        del parameters["limit"]
        waiting: list[bytes] = []
        silence = STREAM_TIMEOUT if query.q is None else SEARCH_TIMEOUT
        async with self._lines(self._below("/export", parameters), silence) as lines:
            async for line in lines:
                waiting.append(line)
                if len(waiting) == _LIST_AT_ONCE:
                    yield waiting
                    waiting = []
        if waiting:
            yield waiting

    async def live(self, query: ListQuery, after: str | None = None) -> AsyncGenerator[Arrivals, None]:
        """What arrives from now on, or after a point, as it arrives.  The first of it is empty and says from where on.

        Close the generator when you leave it (``contextlib.aclosing``).

        Args:
            query: Which ones; its times, its cursor and its limit do not count.
            after: ``next`` of what came last.

        Raises:
            ListError: The endpoint did not answer, or the connection was lost; without a ``status`` it is worth
                trying again.
        """
        parameters = write_parameters(query)
        wanted = {name: text for name, text in parameters.items() if name not in ("limit", "since", "until", "cursor")}
        url = self._below("/live", wanted if after is None else {**wanted, "after": after})
        async with self._lines(url, STREAM_TIMEOUT) as lines:
            cursor = after or ""
            record: bytes | None = None
            async for line in lines:
                name, _, value = line.partition(b": ")
                if name == b"id":
                    cursor = value.decode("ascii", "replace")
                elif name == b"data":
                    record = value
                elif not line:
                    yield Arrivals([] if record is None else [(cursor, record)], cursor)
                    record = None

    async def _fetch_below(self, path: str, parameters: Mapping[str, str]) -> bytes:
        holding = Holding(self._room)
        try:
            return await self._fetch(self._below(path, parameters), holding, 1)  # more room is taken as it grows
        finally:
            holding.end()

    def _below(self, path: str, parameters: Mapping[str, str]) -> httpx.URL:
        return self._url.copy_with(path=self._url.path.rstrip("/") + path).copy_merge_params(parameters)

    @asynccontextmanager
    async def _lines(self, url: httpx.URL, silence: float) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The lines of an answer while it comes."""
        async with self._client() as http:
            timeout = httpx.Timeout(self._timeout, read=silence)
            request = http.build_request("GET", url, headers=self._headers, timeout=timeout)
            response, problem = None, ""
            try:
                response = await http.send(request, stream=True, follow_redirects=False)
            except httpx.HTTPError as error:
                problem = f"the endpoint cannot be reached: {name_failure(error)}"
            # Outside of the handler: an error of the transport holds the request, and with it the secret.
            if response is None:
                raise ListError(problem)
            try:
                if not response.is_success:
                    refusal = _REFUSALS.get(response.status_code, "the endpoint refused")
                    raise ListError(refusal, response.status_code)
                async with aclosing(_split(response, self._max_bytes)) as lines:
                    yield lines
            finally:
                await response.aclose()

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        if self._http is not None:
            yield self._http
            return
        async with httpx.AsyncClient(verify=self._tls, trust_env=False) as http:
            yield http


def _read_reply(body: bytes) -> tuple[_Reply, list[bytes]]:
    """An answer that is a list, and the records in it.

    Raises:
        ListError: It is none.
    """
    reply = _reply.read(body)
    records = None if reply is None else elements(reply.operations)
    if reply is None or records is None:
        raise ListError("the endpoint's answer is no list of operations")
    return reply, [record.encode("utf-8", "surrogatepass") for record in records]


async def _split(response: httpx.Response, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The lines of a body.

    Raises:
        ListError: It broke off, or a line is longer than it may be.
    """
    rest = bytearray()
    problem = ""
    chunks = response.aiter_bytes()
    try:
        async for chunk in chunks:
            *lines, end = chunk.split(b"\n")
            for line in lines:
                yield bytes(rest + line)
                rest.clear()
            rest += end
            if len(rest) > max_bytes:
                problem = f"the endpoint sent a line of over {max_bytes} bytes"
                break
    except httpx.HTTPError as error:
        problem = f"the endpoint broke off: {name_failure(error)}"
    finally:
        # Left early, half a dozen generators of the HTTP stack would stay suspended; cancelling unwinds them.
        with suppress(httpx.HTTPError), trio.CancelScope() as leaving:
            leaving.cancel()
            async for _ in chunks:
                pass
    if problem or rest:
        raise ListError(problem or "the endpoint broke off in the middle of a line")


def _statistics_parameters(query: StatisticsQuery) -> dict[str, str]:
    """As ``write_parameters``: what both have is spelled alike."""
    names = {attribute.name for attribute in fields(ListQuery)}
    common = {attribute.name: getattr(query, attribute.name) for attribute in fields(StatisticsQuery) if attribute.name in names}
    return {**write_parameters(ListQuery(**common)), "by": query.by}
