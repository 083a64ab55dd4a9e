"""Step 8: what the endpoint speaks: how records become the body of a request, and what its answer means for them.

There are two: the collector's own, here, and OTLP (``trio_oplog.Otlp``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

import httpx
from attrs import field, frozen

from trio_oplog._address import check_secret
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.verdict import Answer, Reply, judge

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"


@frozen(kw_only=True)
class Content:
    """The body of one request.

    Attributes:
        data: The body.
        content_type: The header of that name.
        content_encoding: The header of that name; ``None`` for none.
        needs_answer: Whether the body of the answer counts, and not its status alone.
    """

    data: bytes = field(repr=False)
    content_type: str
    content_encoding: str | None = None
    needs_answer: bool = True


class EndpointProtocol(Protocol):
    """What an endpoint speaks."""

    def address(self, url: httpx.URL) -> httpx.URL:
        """Where requests go, given what the user named.

        Raises:
            ConfigError: Nothing of this protocol can be there.
        """
        ...

    def request_headers(self, secret: str | None) -> Mapping[str, str]:
        """The headers that every request has.

        Raises:
            ConfigError: This is no secret that the protocol can send, or there must not be one.
        """
        ...

    def prepare(self, record: Record) -> None:
        """Make what a body holds of a sealed record, its ``form``, where that is not the document itself.

        Raises:
            Exception: It cannot be made of this record; only one made by hand is so.
        """
        ...

    def body(self, records: Sequence[Record], *, as_batch: bool) -> Content:
        """The body of one request: all of these records as a batch, or the only one."""
        ...

    def judge(self, reply: Reply, ids: Sequence[str], outages: Collection[int], *, batch: bool) -> Answer:
        """Read an answer.

        Args:
            reply: What came back.
            ids: The operation ids of the request, in its order.
            outages: The HTTP statuses that ``Retry`` names.
            batch: Whether the request was a batch.
        """
        ...


class CollectorProtocol:
    """What ``trio_oplog.collector`` and its predecessor's endpoint speak: JSON, and NDJSON for batches."""

    def address(self, url: httpx.URL) -> httpx.URL:
        """What was named."""
        return url

    def request_headers(self, secret: str | None) -> Mapping[str, str]:
        """The secret, which there must be."""
        return {"X-Internal-Secret": check_secret(secret), "Accept-Encoding": "identity"}

    def prepare(self, record: Record) -> None:
        """The document is what is sent."""

    def body(self, records: Sequence[Record], *, as_batch: bool) -> Content:
        """A document a line, or the one document."""
        if as_batch:
            return Content(data=b"\n".join([record.wire for record in records]) + b"\n", content_type=NDJSON)
        return Content(data=records[0].wire, content_type=JSON, needs_answer=False)

    def judge(self, reply: Reply, ids: Sequence[str], outages: Collection[int], *, batch: bool) -> Answer:
        """See ``verdict.judge``."""
        return judge(reply, ids, outages, batch=batch)
