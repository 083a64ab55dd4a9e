"""A Submitter that keeps what it is given."""

from __future__ import annotations

from trio_oplog._operation import Operation


class RecordingSubmitter:
    """Keeps every operation, in order.

    Attributes:
        operations: What was submitted.  Yours to change.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def submit(self, operation: Operation, /) -> None:
        """Keep it."""
        self.operations.append(operation)

    def take(self) -> list[Operation]:
        """Hand over what was submitted since the last time.

        Returns:
            The operations, in order; ``operations`` is empty after this.
        """
        taken, self.operations = self.operations, []
        return taken

    def __repr__(self) -> str:
        return f"<RecordingSubmitter of {len(self.operations)} operations>"
