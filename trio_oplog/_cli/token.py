"""``trio-oplog token``: a bearer token for a client of ``trio-oplog gateway``."""

from __future__ import annotations

import json

import click

from trio_oplog._cli.options import workspace_option
from trio_oplog.gateway import new_token


@click.command("token")
@workspace_option
@click.option("--user", metavar="ID", required=True, help="Who will use it.")
def command(workspace: str, user: str) -> None:
    """Make a bearer token; print its entry for the gateway's file of tokens.

    The token itself goes to standard error, once: it is for the client, and it is not in the file.  So this adds a user:
    trio-oplog token --user alice >> tokens.toml
    """
    token, digest = new_token()
    click.echo("[[token]]")
    for key, value in (("sha256", digest), ("workspace_id", workspace), ("user_id", user)):
        if not value.isprintable() or not value:
            raise click.BadParameter("must be printable text.", param_hint=f"--{key.removesuffix('_id')}")
        click.echo(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    click.echo(f"the token, which is shown only here: {token}", err=True)
