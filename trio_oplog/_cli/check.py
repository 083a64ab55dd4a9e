"""``trio-oplog check``: what is configured from where, and whether operations would reach the store."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import click
import trio
from click.core import ParameterSource

from trio_oplog._cli.account import counted
from trio_oplog._cli.config import CONFIG_KEY, Loaded, load, options_of
from trio_oplog._cli.delivery import make_config
from trio_oplog._cli.destination import Destination, default_store, open_destination
from trio_oplog._cli.options import SECRET_FILE_VARIABLE, SECRET_VARIABLE, Recording, recording_options
from trio_oplog._cli.table import read_reply
from trio_oplog._delivery import Client, spool_inspect
from trio_oplog._errors import ListError, OplogError, SpoolError
from trio_oplog._listing import ListQuery
from trio_oplog._operation import CHECK_SOURCE, Operation

_TIMEOUT: Final = 10.0
"""How long the destination may take to store the test record, in seconds."""
# Fixed for ever: that a workspace has one test record a day, and not one for each check, rests on it.
_NAMESPACE: Final = uuid.UUID("6a0c3c0e-6f2e-4b63-9a2b-0d9a7c1f5e42")
_SOURCES: Final = {
    ParameterSource.COMMANDLINE: "option",
    ParameterSource.DEFAULT_MAP: "file",
    ParameterSource.DEFAULT: "default",
}
_REMEDIES: Final = {
    401: "give the secret that the endpoint has, with --secret-file",
    403: "ask who runs the endpoint, or the proxy before it, to let this program in",
    404: "name the whole address of the endpoint with --to",
}
_UNREACHED: Final = "see that a collector runs there, or name another destination with --to"
# What may stand in the URL of a destination besides its address.
_PRIVATE: Final = re.compile(r"(?<=://)[^/@]*@|\?.*", re.DOTALL)


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        what: What was looked at.
        found: What was found.
        source: Where a setting comes from: ``option``, ``environment``, ``file`` or ``default``; ``None`` for what is no setting.
        remedy: What to do about a problem; ``None`` where there is none.
    """

    what: str
    found: str
    source: str | None = None
    remedy: str | None = None


def _look_as(ctx: click.Context, _: click.Parameter, value: str) -> str:
    """Take the defaults that the file gives to that command."""
    loaded: Loaded | None = ctx.meta.get(CONFIG_KEY)
    if loaded is not None:
        # What is wrong with a table is found with its own command: see _file().
        ctx.default_map = load(loaded.file, ctx.command, [value, "check"], ()).defaults
    return value


@click.command("check")
@click.option(
    "--for",
    "name",
    type=click.Choice(["wrap", "gateway"]),
    default="wrap",
    show_default=True,
    is_eager=True,
    callback=_look_as,
    help="Whose table of the configuration file to look at.",
)
@recording_options("mcp", tells_problems=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, *, name: str, recording: Recording, as_json: bool) -> int:  # noqa: ARG001 -- see _look_as()
    """Say what is configured from where, and whether operations would reach the store.

    A test record is stored, which no list shows unless it is asked for.  Leaves with 0 only if all is well.
    """
    findings = [*_file(ctx), *_settings(ctx, recording), *trio.run(_reach, recording), *_spools(recording.spool)]
    is_well = not any(finding.remedy for finding in findings)
    if as_json:
        rows = [{key: value for key, value in finding._asdict().items() if value is not None} for finding in findings]
        click.echo(json.dumps({"ok": is_well, "findings": rows}, ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(_line(finding))
    return 0 if is_well else 1


def _line(finding: Finding) -> str:
    mark = "FAIL" if finding.remedy else "    " if finding.source else "ok  "
    end = f": {finding.remedy}" if finding.remedy else f"  ({finding.source})" if finding.source else ""
    return f"{mark} {finding.what:<13} {finding.found}{end}"


def _file(ctx: click.Context) -> Iterator[Finding]:
    """The configuration file, with every mistake in any part of it."""
    loaded: Loaded | None = ctx.meta.get(CONFIG_KEY)
    root = ctx.find_root().command
    if loaded is None or loaded.file.path is None or not isinstance(root, click.Group):
        yield Finding("configuration", "no file")
        return
    file = loaded.file
    names = root.list_commands(ctx)
    texts: dict[str, None] = {}  # in their order, each once
    for name in names:
        command = root.get_command(ctx, name)
        assert command is not None  # noqa: S101 -- it is in the list
        texts |= dict.fromkeys(problem.text for problem in load(file, command, [name], names).problems)
    for text in texts:
        yield Finding("configuration", str(file.path), remedy=text)
    if not texts:
        yield Finding("configuration", str(file.path))


def _settings(ctx: click.Context, recording: Recording) -> Iterator[Finding]:
    """Every option about recording, and where its value comes from.  A secret is not shown."""
    store = [recording.dest or _own_store()] if recording.uses_store else []
    shown = {
        "dests": ", ".join(_PRIVATE.sub("", dest) for dest in [*store, *recording.receivers]),
        "redact": ", ".join([*([] if recording.redact_none else ["the usual keys"]), *recording.redact]) or "nothing",
        "spool": "none" if recording.spool is None else str(recording.spool),
    }
    for name, option in options_of(ctx.command).items():
        if option.name not in {"dests", *Recording._fields} or option.name in ("secret_file", "redact_none"):
            continue
        value = getattr(recording, option.name, None)
        source = _SOURCES.get(ctx.get_parameter_source(option.name) or ParameterSource.DEFAULT, "environment")
        yield Finding(name, shown.get(option.name) or _plain(value), source)
    if recording.dest is None or not recording.dest.startswith(("http://", "https://")):
        return
    if recording.secret_file is not None:
        yield Finding("secret", f"in {recording.secret_file}", _SOURCES.get(ctx.get_parameter_source("secret_file"), "file"))  # type: ignore[arg-type]
    else:
        variable = next((name for name in (SECRET_VARIABLE, SECRET_FILE_VARIABLE) if os.environ.get(name)), None)
        yield Finding("secret", "not set" if variable is None else f"from {variable}", "environment" if variable else "default")


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value is None else str(value)


def _own_store() -> str:
    try:
        return default_store()
    except OSError:
        return "your own store"


async def _reach(recording: Recording) -> list[Finding]:
    """Whether the destination answers, lets us read and write, and stores."""
    try:
        make_config(recording, "stdio")
        async with open_destination(recording.dest, recording.secret_file, recording.ca_file) as destination:
            return await _try_out(destination, recording.workspace)
    except click.UsageError as error:
        return [Finding("destination", "cannot be used", remedy=error.format_message().rstrip("."))]
    except OplogError as error:
        return [Finding("destination", str(error), remedy="mend that, or name another destination with --to")]
    except OSError as error:
        return [Finding("destination", f"{error.filename}: {error.strerror}", remedy="mend that, or name another with --to")]


async def _try_out(destination: Destination, workspace: str) -> list[Finding]:
    list_client = destination.list_client()
    try:
        await list_client.fetch(ListQuery(workspace_id=workspace, limit=1))
    except ListError as error:
        return [Finding("destination", str(error), remedy=_REMEDIES.get(error.status or 0, _UNREACHED))]
    answers = "answers, and takes the secret for reading" if destination.http is None else "can be read"
    findings = [Finding("destination", answers)]
    operation = _test_record(workspace)
    http, ca_file = destination.http, destination.ca_file
    async with Client(destination.url, destination.secret, http=http, ca_file=ca_file, drain_timeout=0) as client:
        client.submit(operation)
        if not await client.flush(_TIMEOUT):
            problem = f"the test record is not stored: {client.last_error or 'no answer in time'}"
            return [
                *findings,
                Finding("test record", problem, remedy="see that this secret may write, and its disk has room"),
            ]
    try:
        found = read_reply(await list_client.fetch(ListQuery(workspace_id=workspace, id=operation.id)))
    except ListError as error:
        return [*findings, Finding("test record", str(error), remedy=_UNREACHED)]
    if not found:
        remedy = "see that reading and writing reach the same store"
        return [*findings, Finding("test record", "was taken, and is not in the store", remedy=remedy)]
    return [*findings, Finding("test record", f"is stored, as {operation.id}")]


def _test_record(workspace: str) -> Operation:
    now = datetime.now(UTC)
    return Operation(
        id=str(uuid.uuid5(_NAMESPACE, f"{workspace}\n{now:%Y-%m-%d}")),
        workspace_id=workspace,
        source=CHECK_SOURCE,
        env_id="local",
        tool="trio-oplog check",
        is_error=False,
        started_at=now,
        completed_at=now,
        duration_ms=0,
    )


def _spools(folder: Path | None) -> Iterator[Finding]:
    """How full the spools are, and what is wrong with them."""
    if folder is None:
        return
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Finding("spools", f"{there} cannot be written", remedy="name another folder with --spool")
        return
    files, waiting, size = 0, 0, 0
    for path in spool_inspect.files(folder) if folder.is_dir() else ():
        try:
            status = spool_inspect.status(path)
        except SpoolError as error:
            yield Finding("spools", str(error), remedy="move the file away")
            continue
        files, waiting, size = files + 1, waiting + status.waiting, size + status.waiting_bytes
        if status.dead:
            remedy = f"see why with 'trio-oplog spool dead {path}', then requeue or remove them"
            yield Finding("spools", f"{counted(status.dead, 'operation')} rejected", remedy=remedy)
    for path in sorted(folder.glob("*.spool.corrupt-*[0-9]Z")):
        yield Finding("spools", f"{path} is damaged", remedy="look into it with sqlite3, then remove it")
    yield Finding("spools", f"{counted(files, 'file')}, {counted(waiting, 'operation')} waiting ({size} bytes)")
