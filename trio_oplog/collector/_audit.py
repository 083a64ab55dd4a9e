"""What the collector puts on record about itself: who read payloads, and what was pruned."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from trio_oplog._operation import Operation
from trio_oplog.collector._retention import Pruned

AUDIT_WORKSPACE: Final = "trio-oplog"
"""The workspace of these records.  Nobody else can write there over HTTP."""
READ_TOOL: Final = "audit/read"
PRUNE_TOOL: Final = "audit/prune"

_SOURCE: Final = "trio-oplog-collector"


def read_record(who: str, route: str, parameters: Mapping[str, str], found: int | None = None) -> Operation:
    """The record of a read of payloads.

    Args:
        who: The name of the token that was shown.
        route: What was asked.
        parameters: What for, as it was spelled.
        found: How many operations are in the answer, where that is known before it begins.
    """
    summary = None if found is None else _counted(found)
    return _record(READ_TOOL, who, {"route": route, **parameters}, summary)


def prune_record(who: str, pruned: Pruned, workspace_id: str | None = None) -> Operation:
    """The record of operations that are going to be deleted: before, so that nothing goes without one.

    Args:
        who: Who had them deleted.
        pruned: What is to go.
        workspace_id: Whose; ``None`` where everybody's did.
    """
    arguments = {"before": pruned.before.date().isoformat(), **({} if workspace_id is None else {"workspace_id": workspace_id})}
    return _record(PRUNE_TOOL, who, arguments, f"{_counted(pruned.records)} to delete")


def _counted(count: int) -> str:
    return "1 operation" if count == 1 else f"{count} operations"


def _record(tool: str, who: str, arguments: Mapping[str, str], summary: str | None) -> Operation:
    now = datetime.now(UTC)
    return Operation(
        id=str(uuid.uuid4()),
        workspace_id=AUDIT_WORKSPACE,
        source=_SOURCE,
        env_id="collector",
        tool=tool,
        is_error=False,
        started_at=now,
        completed_at=now,
        duration_ms=0,
        user_id=who,
        arguments=msgspec.json.encode(arguments),
        result_summary=summary,
    )
