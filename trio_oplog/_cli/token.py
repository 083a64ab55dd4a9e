"""``trio-oplog token``: a bearer token for a client of ``trio-oplog gateway``, or for a user of ``trio-oplog collect``."""

from __future__ import annotations

import json

import click

from trio_oplog._cli.options import workspace_option
from trio_oplog._tokens import new_token

_ROLES = ("write", "read", "audit", "admin")
_EVERY = "*"


@click.command("token")
@workspace_option
@click.option("--user", metavar="ID", required=True, help="Who will use it.")
@click.option("--role", type=click.Choice(_ROLES), help="Make one for a collector: what its user may do.")
@click.option("--also", metavar="ID", multiple=True, help="With --role, a further workspace.  Repeatable.")
def command(workspace: str, user: str, role: str | None, also: tuple[str, ...]) -> None:
    """Make a bearer token; print its entry for the file of tokens of a gateway or, with --role, of a collector.

    The token itself goes to standard error, once: it is for the client, and it is not in the file.  With --role, --workspace '*'
    stands for all workspaces.  So this adds a user of a gateway, and a reader of a collector:

    trio-oplog token --user alice >> tokens.toml

    trio-oplog token --user grafana --role read --workspace ws-1 >> readers.toml
    """
    for option, text in (("--workspace", workspace), ("--user", user), *(("--also", each) for each in also)):
        if not text.isprintable() or not text:
            raise click.BadParameter("must be printable text.", param_hint=option)
    token, digest = new_token()
    if role is None:
        if also:
            raise click.UsageError("A gateway's token is for one workspace: --also goes with --role.")
        values: dict[str, object] = {"sha256": digest, "workspace_id": workspace, "user_id": user}
    else:
        if workspace == _EVERY and also:
            raise click.UsageError("There are no workspaces besides all of them: leave --also out.")
        values = {
            "sha256": digest,
            "name": user,
            "role": role,
            "workspaces": _EVERY if workspace == _EVERY else [workspace, *also],
        }
    click.echo("[[token]]")
    for key, value in values.items():
        click.echo(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    click.echo(f"the token, which is shown only here: {token}", err=True)
