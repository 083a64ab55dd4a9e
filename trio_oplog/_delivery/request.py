"""Step 8: one batch -> HTTP POST -> what came back."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import httpx
import trio

from trio_oplog._delivery.protocol import Content
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.verdict import Reply, name_redirect
from trio_oplog._reach import Body, make_tls, name_failure

ANSWER_MAX_BYTES: Final = 8 * 1024 * 1024


def pack(records: Sequence[Record], count: int, max_bytes: int) -> Iterator[tuple[list[Record], bool]]:
    """Split sealed records into the bodies of requests, in order.

    Args:
        records: What to send.
        count: The most records in one body.
        max_bytes: The most bytes in one body of more than one record.

    Yields:
        The records of one body, and whether they may go as a batch.  A document that holds a newline goes alone, since
        it cannot be a line of one.
    """
    group: list[Record] = []
    total = 0
    for record in records:
        size = len(record.sent) + 1
        alone = record.form is None and b"\n" in record.wire
        if group and (alone or len(group) >= count or total + size > max_bytes):
            yield group, count > 1
            group, total = [], 0
        if alone:
            yield [record], False
        else:
            group.append(record)
            total += size
    if group:
        yield group, count > 1


class Endpoint:
    """Where operations go: one URL, the headers that open it, and the HTTP client that reaches it.

    Without a client of the caller's it makes its own, one for each request at a time: a pool that several tasks share spends more
    on handing connections around than on using them.  The client of a request that was cut off is thrown away, because a
    cancelled request can leave a connection in httpcore's pool that is neither used nor free, for ever.
    """

    def __init__(
        self,
        url: httpx.URL,
        headers: Mapping[str, str],
        http: httpx.AsyncClient | None,
        request_timeout: float,
        ca_file: Path | None = None,
    ) -> None:
        self.name = f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"
        self.requests = 0
        self._url = url
        self._headers = {"Host": url.netloc.decode("ascii"), "User-Agent": "trio-oplog", **headers}
        self._http = http
        self._timeout = request_timeout
        self._ca_file = ca_file
        # Trusts nobody, which is right for plain HTTP; where there is TLS, open() makes a real one.
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._idle: list[httpx.AsyncClient] = []

    async def open(self) -> None:
        """Make the first HTTP client: in a thread, since loading the modules and certificates of it takes a tenth of a second.

        Raises:
            ConfigError: The certificates to trust cannot be read.
        """
        if self._http is None:
            self._idle.append(await trio.to_thread.run_sync(self._make_first_client))
        else:
            await trio.lowlevel.checkpoint()

    def _make_first_client(self) -> httpx.AsyncClient:
        if self._url.scheme == "https":
            self._tls = make_tls(self._ca_file)
        return self._make_client()

    async def post(self, content: Content) -> Reply:
        """Make one request.

        Args:
            content: Its body.

        Returns:
            What came back; no failure of the network, the peer or the HTTP client raises.
        """
        self.requests += 1
        client = self._http or (self._idle.pop() if self._idle else self._make_client())
        reply = Reply(status=None, problem="no answer in time")
        finished = False
        try:
            with trio.move_on_after(self._timeout) as scope:
                reply = await self._exchange(client, content)
            finished = not scope.cancelled_caught
        finally:
            if finished and client is not self._http:
                self._idle.append(client)
            elif client is not self._http:
                await _close(client)
        return reply

    async def _exchange(self, client: httpx.AsyncClient, content: Content) -> Reply:
        headers = httpx.Headers(client.headers)
        headers.update({**self._headers, "Content-Type": content.content_type, "Content-Length": str(len(content.data))})
        if content.content_encoding is not None:
            headers["Content-Encoding"] = content.content_encoding
        try:
            request = httpx.Request("POST", self._url, headers=headers, stream=Body(content.data), extensions={"timeout": {}})
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                answer = await self._read(response, needed=content.needs_answer)
            finally:
                await response.aclose()
        except Exception as error:  # noqa: BLE001 -- whatever a transport raises, the record was not acknowledged
            return Reply(status=None, problem=name_failure(error))
        redirect = name_redirect(self._url, response.headers.get("Location", "")) if 300 <= response.status_code < 400 else ""
        return Reply(
            status=response.status_code,
            retry_after=response.headers.get("Retry-After"),
            content_type=response.headers.get("Content-Type", ""),
            redirect=redirect,
            body=answer,
        )

    async def _read(self, response: httpx.Response, *, needed: bool) -> bytes:
        """Read an answer up to a limit.  Where the status alone says everything, a body that fails to come changes nothing."""
        content = bytearray()
        is_gzip = response.headers.get("Content-Encoding", "").strip().lower() == "gzip"
        # httpx's own decoder holds whatever a few bytes inflate to, and leaves generators behind when it fails.
        gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if is_gzip else None
        is_broken = False
        try:
            with trio.move_on_after(self._timeout if needed else self._timeout / 2) as scope:
                # Not aiter_raw(), which a response that a transport made in one piece refuses.
                async for chunk in cast("httpx.AsyncByteStream", response.stream):
                    try:
                        content += chunk if gzip is None else gzip.decompress(chunk, ANSWER_MAX_BYTES + 1)
                    except zlib.error:
                        is_broken = True
                    if is_broken or len(content) > ANSWER_MAX_BYTES:
                        # Not by leaving the loop: that would abandon the generators inside of it half-way.
                        scope.cancel()
            if needed and is_broken and response.is_success:
                raise httpx.DecodingError("no gzip")
        except httpx.HTTPError:
            if needed and response.is_success:
                raise
        return bytes(content[:ANSWER_MAX_BYTES])

    def _make_client(self) -> httpx.AsyncClient:
        # Neither a proxy nor a .netrc of the environment gets to see the secret.
        return httpx.AsyncClient(trust_env=False, verify=self._tls)

    async def aclose(self) -> None:
        """Close the HTTP clients that are ours; no request may be running."""
        while self._idle:
            await _close(self._idle.pop())


async def _close(client: httpx.AsyncClient) -> None:
    with trio.move_on_after(1, shield=True):  # closing TLS may wait for the peer
        await client.aclose()
