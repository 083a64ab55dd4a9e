"""Step 8: what an answer means for the records of its request.

An answer is a verdict on a record only if it can be one.  Whatever else is no success is an outage: of the endpoint, or of the
way to it, which then has a name (a wrong secret, a login page).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Final

import attrs
import httpx
import msgspec
from attrs import field, frozen

from trio_oplog._operation import Approval, ArgumentsMeta, Context, Operation, ResultMeta

OUTAGES: Final = frozenset({408, 425, 429, *range(500, 600)} - {501, 505})
"""The statuses that say: not now."""


class Verdict(Enum):
    """What an answer means for the records of its request."""

    STORED = auto()
    """Every one is stored."""
    ACCOUNT = auto()
    """The answer says which are stored and which are refused."""
    REFUSED = auto()
    """The endpoint will never store this one, which was sent alone, or any of these."""
    BATCH_REFUSED = auto()
    """The endpoint takes one of these records, or batches, for wrong."""
    NO_BATCHES = auto()
    """The endpoint does not know batches."""
    PARTLY_STORED = auto()
    """All but so many are stored, and the answer does not say which."""
    TOO_LARGE = auto()
    """The body was too large."""
    OUTAGE = auto()
    """Nothing is stored; the same request may succeed later."""
    WRONG_PATH = auto()
    """What answered is not the endpoint, or does not let this client in; it says nothing of the records."""
    BLOCKED = auto()
    """The same, or a filter on the way that dislikes one of these records."""


@frozen(kw_only=True)
class Reply:
    """What came back from one request.

    Attributes:
        status: The HTTP status; ``None`` when no answer came.
        retry_after: The header of that name.
        content_type: The header of that name.
        redirect: For a redirect in a few words where to; names nothing of the address.
        body: The answer, cut where it is longer than anything that an endpoint has to say.
        problem: In a few words why no answer came, fit for a log.
    """

    status: int | None
    retry_after: str | None = None
    content_type: str = ""
    redirect: str = ""
    body: bytes = field(default=b"", repr=False)
    problem: str = ""


@frozen
class Answer:
    """A verdict and its reasons.

    Attributes:
        verdict: What the answer means.
        problem: Why there is no good answer, in a few words that are fit for a log; where everything is stored, what the endpoint
            remarked, or ``""``.
        stored: With ``ACCOUNT``, the records that are stored, by their place in the request.
        refused: With ``ACCOUNT``, the records that are refused, with what is known of the reason.
        rejected: With ``PARTLY_STORED``, how many are not; more than 0 and fewer than the request had.
        is_format: Whether an endpoint that does not know batches may say this to one.
    """

    verdict: Verdict
    problem: str = ""
    stored: Collection[int] = ()
    refused: Mapping[int, str] = field(factory=dict)
    is_format: bool = False
    rejected: int = 0


# Statuses that are about the secret, the route or the method: no filter says them of a record.
_WRONG_PATH: Final = frozenset({401, 404, 405, 407, 410, 421, 426, 501, 505, *range(300, 400)})
# What an endpoint that does not know batches may say to one, and to which of them it says it of its records.
_FORMAT: Final = frozenset({400, 404, 405, 406, 422, 501})
_OF_THE_RECORD: Final = frozenset({400, 415, 422})
_NAMES: Final[dict[int | None, str]] = {
    401: "the secret is wrong",
    403: "access is refused",
    404: "there is no such path",
    405: "the path does not take POST",
    407: "a proxy asks for credentials",
    410: "the path is gone",
    501: "the path does not take POST",
    511: "the network asks for a login",
    **dict.fromkeys((*range(520, 528), 530), "a proxy cannot reach the endpoint"),
}


def name_redirect(url: httpx.URL, location: str) -> str:
    """Say where a redirect leads, without a word of the address, which may hold anything."""
    try:
        target = url.join(location)
    except httpx.InvalidURL:
        return "redirected to what is no address"
    if target.host != url.host:
        return "redirected to another host"
    if target.scheme != url.scheme:
        return f"redirected to {target.scheme}" if target.scheme in ("http", "https") else "redirected to another protocol"
    return "redirected to another path"


def judge(reply: Reply, ids: Sequence[str], outages: Collection[int], *, batch: bool) -> Answer:
    """Read an answer.

    Args:
        reply: What came back.
        ids: The operation ids of the request, in its order.
        outages: The HTTP statuses that ask for another attempt.
        batch: Whether the request was ``application/x-ndjson``.
    """
    status = reply.status
    if status is None:
        return Answer(Verdict.OUTAGE, reply.problem)
    page = is_page(reply)
    if 200 <= status < 300:
        if page:
            return Answer(Verdict.BLOCKED, f"HTTP {status} with text/html: something else answers")
        return _read(reply, ids) if batch else Answer(Verdict.STORED)
    problem = name_status(reply)
    is_format = batch and status in _FORMAT
    if status in outages:
        return Answer(Verdict.OUTAGE, problem)
    if status == 413:
        return Answer(Verdict.TOO_LARGE, problem)
    if batch and status == 415:
        return Answer(Verdict.NO_BATCHES, problem)
    if status in _OF_THE_RECORD and not page:
        verdict = Verdict.BATCH_REFUSED if batch else Verdict.REFUSED
        return Answer(verdict, _naming(problem, _read_field(reply.body)), is_format=is_format)
    verdict = Verdict.WRONG_PATH if status in _WRONG_PATH else Verdict.BLOCKED
    return Answer(verdict, problem, is_format=is_format)


def name_status(reply: Reply) -> str:
    """The status of an answer, and what it means for whoever reads the log."""
    name = reply.redirect or _NAMES.get(reply.status, "")
    return f"HTTP {reply.status}: {name}" if name else f"HTTP {reply.status}"


def is_page(reply: Reply) -> bool:
    """Whether a person was meant to read it: a login page, a captive portal, an error page of a proxy."""
    kind = reply.content_type.partition(";")[0].strip().lower()
    start = reply.body[:256].lstrip().lower()
    return kind in ("text/html", "application/xhtml+xml") or start.startswith((b"<!doctype html", b"<html"))


class _RefusedLine(msgspec.Struct):
    line: int = 0
    id: str | None = None
    field: str | None = None


class _Account(msgspec.Struct):
    stored: list[str]
    refused: list[_RefusedLine] = []


class _Refusal(msgspec.Struct):
    field: str | None = None


_read_account = msgspec.json.Decoder(_Account).decode
_read_refusal = msgspec.json.Decoder(_Refusal).decode


def _read(reply: Reply, ids: Sequence[str]) -> Answer:
    try:
        account = _read_account(reply.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # It said yes to something it gives no account of: it took the batch for one operation.
        return Answer(Verdict.NO_BATCHES, f"HTTP {reply.status} without an account")
    if len(account.stored) == len(ids) and account.stored == list(ids):
        return Answer(Verdict.STORED)
    names = set(account.stored)
    stored = {place for place, name in enumerate(ids) if name in names}
    problem = f"HTTP {reply.status} with an account"
    refused = {line.line - 1: _naming(problem, line.field) for line in account.refused if 0 < line.line <= len(ids)}
    refused = {place: reason for place, reason in refused.items() if place not in stored}
    return Answer(Verdict.ACCOUNT, f"{problem} that leaves records out", stored, refused)


def _paths() -> Iterator[str]:
    parts = {"result_meta": ResultMeta, "approval": Approval, "context": Context, "arguments_meta": ArgumentsMeta}
    for name in (part.name for part in attrs.fields(Operation)):
        yield name
        yield from (f"{name}.{part.name}" for part in attrs.fields(parts[name])) if name in parts else ()


_FIELDS: Final = frozenset(_paths())


def _read_field(body: bytes) -> str | None:
    try:
        return _read_refusal(body).field
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _naming(problem: str, name: str | None) -> str:
    """Add the field that the endpoint named.  Only the fields of an Operation are named, so that nothing else gets into a log."""
    return f"{problem}: {name} is wrong" if name in _FIELDS else problem
