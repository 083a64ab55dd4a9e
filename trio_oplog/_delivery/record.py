"""Step 7: a record: one Operation on its way through queue, spool and delivery."""

from __future__ import annotations

from typing import Final, cast

import attrs

from trio_oplog._operation import Operation, shrink
from trio_oplog._wire import decode, encode

OVERHEAD: Final = 1024
"""What a queued record costs besides its payload: the objects that hold it, rounded up."""


@attrs.define(eq=False)
class Record:
    """One operation and how far it has come.

    Attributes:
        number: Its place in the order of submission; 0 for one that an earlier run left in the spool.
        operation: ``None`` once the record lives in a spool: ``body`` says it all.
        size: The bytes it is charged with while it waits: an estimate until it is sealed.
        since: When it was submitted, on the monotonic clock.
        body: The encoded document; ``None`` until it is sealed.
        id: The operation's id, once it is sealed.
        settled: Whether it was delivered or dropped.
        workspace: Whose it is.
        row: Its number in the spool's file, unique there for ever; 0 while it is not in it.
        form: What a request's body holds of it, where the endpoint's protocol wants another form than the document; ``None``
            until that is made.
    """

    number: int
    operation: Operation | None = attrs.field(repr=False)
    size: int
    since: float
    body: bytes | None = attrs.field(default=None, repr=False)
    id: str = attrs.field(default="", repr=False)
    settled: bool = False
    workspace: str = attrs.field(default="", repr=False)
    row: int = 0
    form: bytes | None = attrs.field(default=None, repr=False)

    @property
    def wire(self) -> bytes:
        """The encoded document of a sealed record."""
        return cast("bytes", self.body)

    @property
    def sent(self) -> bytes:
        """What a request's body holds of a sealed record."""
        return self.wire if self.form is None else self.form

    def seal(self, max_bytes: int) -> bool:
        """Encode it, shrunk if it is larger than that.

        Returns:
            Whether it fits; a record that does not is sealed all the same.

        Raises:
            WireError: It cannot be encoded.
        """
        if self.body is None:
            operation = cast("Operation", self.operation)  # a record without one comes sealed
            self.body = encode(operation)
            self.id = operation.id
        return len(self.body) <= max_bytes or (self.shrink() and len(self.body) <= max_bytes)

    def shrink(self) -> bool:
        """Replace the payload by its size and digest.

        Returns:
            Whether that made it smaller.

        Raises:
            WireError: Its body does not decode.
        """
        operation = self.restored()
        smaller = shrink(operation)
        if smaller is operation:
            return False
        if self.operation is not None:
            self.operation = smaller
        self.body = encode(smaller)
        self.form = None
        return True

    def restored(self) -> Operation:
        """The operation itself, read back from the body where need be.

        Raises:
            WireError: The body does not decode.
        """
        return self.operation if self.operation is not None else decode(self.wire)


def payload_size(operation: Operation) -> int:
    """What an operation's payload weighs; characters count as bytes, which is near enough for a budget."""
    return len(operation.arguments or b"") + len(operation.result_summary or "")
