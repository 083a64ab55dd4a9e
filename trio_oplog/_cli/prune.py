"""``trio-oplog prune``: delete old operations from a store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import trio

from trio_oplog._cli.account import counted
from trio_oplog._cli.destination import default_store
from trio_oplog._cli.durations import Duration
from trio_oplog._errors import ConfigError, StoreError
from trio_oplog.collector import Pruned, Store, open_store

_WHO = "trio-oplog prune"


@click.command("prune")
@click.option("--older-than", type=Duration(), metavar="TIME", required=True, help="What goes: such as 90d, 8w or 2y.")
@click.option("--workspace", metavar="ID", help="Only the operations of this one.")
@click.option("--store", "url", metavar="URL", help="sqlite:///path or postgresql://...; else your own store.")
@click.option("--dry-run", is_flag=True, help="Only say how many would go.")
def command(*, older_than: timedelta, workspace: str | None, url: str | None, dry_run: bool) -> None:
    """Delete operations that are older, also while a collector uses the store.

    Whole days (UTC) go, so that an operation may stay for up to a day longer.  Statistics stay.
    """
    try:
        store = open_store(url or default_store())
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}.", param_hint="--store") from None
    if store.file is not None and not store.file.exists():
        raise StoreError(f"nothing was recorded in {store.file} yet: there is no such file")
    pruned = trio.run(_prune, store, datetime.now(UTC) - older_than, workspace, dry_run)
    were = "would be" if dry_run else "was" if pruned.records == 1 else "were"
    subject = counted(pruned.records, "operation") + (f" of the workspace {workspace}" if workspace else "")
    click.echo(f"{subject} from before {pruned.before.date()} {were} deleted", err=True)


async def _prune(store: Store, before: datetime, workspace: str | None, dry_run: bool) -> Pruned:  # noqa: FBT001
    async with store:
        return await store.prune(before, workspace_id=workspace, dry_run=dry_run, who=_WHO)
