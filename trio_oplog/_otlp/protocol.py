"""``Otlp``: the second thing that a Client speaks.  Operations become spans or log records; answers are read as OTLP wants it.

Source: the OTLP specification, "OTLP/HTTP".
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import httpx
from attrs import Attribute, field, frozen

from trio_oplog._delivery import Answer, Content, Record, Reply, Verdict, is_page, name_status
from trio_oplog._errors import ConfigError
from trio_oplog._otlp.environment import check_headers

if TYPE_CHECKING:  # it needs the extra, and takes time
    from trio_oplog._otlp.encoding import Encoder

PROTOBUF: Final = "application/x-protobuf"
PATHS: Final = {"traces": "/v1/traces", "logs": "/v1/logs"}
SERVICE: Final = {"service.name": "trio-oplog"}
ANSWER_MAX_BYTES: Final = 4 * 1024 * 1024
"""A longer answer is none, says the specification."""

# "All other 4xx or 5xx response status codes MUST NOT be retried."
_RETRYABLE: Final = frozenset({429, 502, 503, 504})
# No server of OTLP says these: a proxy does, or the network, of a server that it cannot reach.
_ON_THE_WAY: Final = frozenset({511, *range(520, 528), 530})
# What the endpoint has against the data, so that a part of it may fare better.
_OF_THE_DATA: Final = frozenset({400, 415, 422})
# What is about the credentials or the path, and says nothing of the data.
_WRONG_PATH: Final = frozenset({401, 403, 404, 405, 407, 410, 421, 426, *range(300, 400)})
_REMARK_MAX: Final = 200
_SIGNAL_PATH: Final = re.compile(r"/v1/(traces|logs|metrics)/?", re.ASCII)


def signal_of(path: str) -> str | None:
    """Which signal a path is for: ``traces``, ``logs`` or ``metrics``; None for any other path."""
    found = _SIGNAL_PATH.search(path)
    return found[1] if found and path.endswith(found[0]) else None


def signal_address(url: httpx.URL, signal: str) -> httpx.URL:
    """Where a signal goes: a path that is already for it stays, and to any other ``/v1/{signal}`` is added.

    Raises:
        ConfigError: The path is for another signal.
    """
    found = signal_of(url.path)
    if found == signal:
        return url
    if found is not None:
        raise ConfigError("url", f"has a path for {found}, and is to take {signal}")
    return url.copy_with(path=f"{url.path.rstrip('/')}/v1/{signal}")


def _one_of(*choices: str | None) -> Any:
    def check(_: Any, attribute: Attribute[Any], value: object) -> None:
        if value not in choices:
            raise ConfigError(attribute.name, f"must be one of {', '.join(str(choice) for choice in choices)}")

    return check


def _yes_or_no(_: Any, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(attribute.name, "must be True or False")


def _headers(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigError("headers", "must be a mapping of names to values")
    return check_headers(value)


def _resource(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise ConfigError("resource", "must be a mapping of names to texts")
    return {**SERVICE, **value}


@frozen(kw_only=True)
class Otlp:
    """OTLP over HTTP in protobuf, for ``Client(url, protocol=Otlp())``.  Needs the extra ``otlp``.

    ::

        async with Client("http://127.0.0.1:4318", protocol=Otlp()) as client:
            client.submit(operation)

    Each operation is one span, or one log record.  Where the URL's path does not end in ``/v1/traces`` or ``/v1/logs``, that is
    added.  Queue, batches, spool, retries and the account are the Client's, with these differences, which OTLP's specification
    wants: only 429, 502, 503 and 504 are tried again, whatever ``Retry.statuses`` says, and what an endpoint says to have
    rejected of a batch is counted as rejected, without ``on_drop``, since it does not say which records these are.

    Attributes:
        signal: ``"traces"`` or ``"logs"``.
        kind: Which kind the spans have: ``"client"`` where the calls are seen beside the client, ``"server"`` where they are seen
            in front of the server.
        payloads: Whether arguments, results, titles and reasons are sent, too; they are as ``Config.redact`` left them.
        headers: Sent with each request, for an endpoint that wants a key.  They are in no log line and no repr.
        compression: ``"gzip"``, or ``None`` for none.
        resource: Attributes of the sender; ``service.name`` is ``trio-oplog`` unless it is named here.

    Raises:
        ConfigError: A value is wrong, or the extra is not installed; the error names the field.
    """

    signal: str = field(default="traces", validator=_one_of(*PATHS))
    kind: str = field(default="server", validator=_one_of("client", "server"))
    payloads: bool = field(default=False, validator=_yes_or_no)
    headers: Mapping[str, str] = field(factory=dict, converter=_headers, repr=False)
    compression: str | None = field(default="gzip", validator=_one_of("gzip", None))
    resource: Mapping[str, str] = field(factory=dict, converter=_resource)
    _encoder: Encoder = field(init=False, repr=False, eq=False)

    @_encoder.default
    def _make_encoder(self) -> Encoder:
        encoding = load_encoding()
        made: Encoder
        if self.signal == "traces":
            made = encoding.SpanEncoder(self.kind, self.resource, payloads=self.payloads)
        else:
            made = encoding.LogEncoder(self.resource, payloads=self.payloads)
        return made

    def address(self, url: httpx.URL) -> httpx.URL:
        """Where requests go, given what the user named.  For the Client."""
        return signal_address(url, self.signal)

    def request_headers(self, secret: str | None) -> Mapping[str, str]:
        """The headers that every request has.  For the Client."""
        if secret is not None:
            raise ConfigError("secret", "is not sent with OTLP; name a header in Otlp(headers=...)")
        return {"Accept-Encoding": "gzip", **self.headers}

    def prepare(self, record: Record) -> None:
        """Make the span or log record of a record.  For the Client."""
        record.form = self._encoder.piece(record.restored())

    def body(self, records: Sequence[Record], *, as_batch: bool) -> Content:  # noqa: ARG002 -- a batch looks like a single one
        """The body of one request.  For the Client."""
        for record in records:
            if record.form is None:  # it was shrunk
                self.prepare(record)
        data = self._encoder.body(record.sent for record in records)
        if self.compression is None:
            return Content(data=data, content_type=PROTOBUF)
        return Content(data=gzip.compress(data, 1, mtime=0), content_type=PROTOBUF, content_encoding="gzip")

    def judge(self, reply: Reply, ids: Sequence[str], outages: Collection[int], *, batch: bool) -> Answer:  # noqa: ARG002
        """Read an answer.  For the Client."""
        status = reply.status
        if status is None:
            return Answer(Verdict.OUTAGE, reply.problem)
        if 200 <= status < 300:
            return self._read(reply, status, len(ids))
        problem = name_status(reply)
        if status in _RETRYABLE or status in _ON_THE_WAY:
            return Answer(Verdict.OUTAGE, problem)
        if status == 413:
            return Answer(Verdict.TOO_LARGE, problem)
        if status in _WRONG_PATH:
            return Answer(Verdict.WRONG_PATH, problem)
        if status in _OF_THE_DATA and len(ids) > 1:
            return Answer(Verdict.BATCH_REFUSED, problem)
        return Answer(Verdict.REFUSED, problem)

    def _read(self, reply: Reply, status: int, count: int) -> Answer:
        if is_page(reply):
            return Answer(Verdict.WRONG_PATH, f"HTTP {status} with text/html: something else answers")
        if len(reply.body) > ANSWER_MAX_BYTES:
            return Answer(Verdict.REFUSED, f"HTTP {status} with an endless answer")
        is_json = reply.content_type.partition(";")[0].strip().lower() == "application/json"
        try:
            rejected, message = load_encoding().rejected_in_json(reply.body) if is_json else self._encoder.rejected(reply.body)
        except ValueError:
            return Answer(Verdict.STORED)  # in words of its own, but it said yes
        remark = self._remark(message)
        if rejected <= 0:
            return Answer(Verdict.STORED, remark)
        problem = f"HTTP {status} with a partial success{remark and ': '}{remark}"
        if rejected >= count:
            return Answer(Verdict.REFUSED, problem)
        return Answer(Verdict.PARTLY_STORED, problem, rejected=rejected)

    def _remark(self, message: str) -> str:
        """What of an endpoint's message may be logged: it may quote what it was sent."""
        if not message or self.payloads:
            return ""
        for value in self.headers.values():
            message = message.replace(value, "…") if value else message
        return ascii(message[:_REMARK_MAX])[1:-1]


def load_encoding() -> Any:
    """The module that needs the extra.

    Raises:
        ConfigError: The extra is not installed.
    """
    try:
        return import_module("trio_oplog._otlp.encoding")
    except ModuleNotFoundError:
        raise ConfigError("protocol", "needs opentelemetry-proto: pip install 'trio-oplog[otlp]'") from None
