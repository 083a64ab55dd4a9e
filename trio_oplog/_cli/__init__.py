"""The command line: one module a command, imported when it is asked for.

So a missing extra only hurts the command that needs it, and ``--help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import click
from click.core import ParameterSource

import trio_oplog
from trio_oplog._cli.config import CONFIG_KEY, CONFIG_VARIABLE, Loaded, load, read
from trio_oplog._errors import OplogError


class _Command(NamedTuple):
    """Where a command is (the attribute ``command`` of a module), the extra that it needs, and what ``--help`` says of it."""

    module: str
    extra: str
    help: str


# In the order in which --help shows them.
_COMMANDS: Final = {
    "wrap": _Command("trio_oplog._cli.wrap", "cli", "Run a stdio server (MCP) or an agent (ACP) and record every tool call."),
    "adopt": _Command("trio_oplog._cli.adopt", "cli", "Put wrap in front of every server that your MCP clients have configured."),
    "gateway": _Command("trio_oplog._cli.gateway", "cli", "Put HTTP or WebSocket clients through to a server, all on record."),
    "check": _Command("trio_oplog._cli.check", "cli", "Say what is configured, and whether operations reach the store."),
    "token": _Command("trio_oplog._cli.token", "cli", "Make a bearer token for a client of the gateway or the collector."),
    "list": _Command("trio_oplog._cli.listing", "cli", "Show stored operations, the newest first."),
    "show": _Command("trio_oplog._cli.show", "cli", "Show everything that is stored of one operation."),
    "stats": _Command("trio_oplog._cli.stats", "cli", "Count operations by tool, user, hour and so on."),
    "export": _Command("trio_oplog._cli.export", "cli", "Write operations to a file: NDJSON, CSV or Parquet."),
    "workspaces": _Command("trio_oplog._cli.workspaces", "cli", "Show the names of the workspaces."),
    "ui": _Command("trio_oplog._cli.ui", "cli", "Look at your own store on a page in your browser."),
    "spool": _Command("trio_oplog._cli.spool", "cli", "Look into a client's spool, and requeue what was rejected."),
    "collect": _Command("trio_oplog._cli.collect", "cli", "Serve the collector: take operations over HTTP and store them."),
    "prune": _Command("trio_oplog._cli.prune", "cli", "Delete old operations from a store."),
    "replay": _Command("trio_oplog._cli.replay", "cli", "Run recorded sessions through the real path and show the operations."),
}


_TOLERANT: Final = frozenset({"wrap", "check"})
"""A configuration file with mistakes in it does not keep these from running."""


class _Group(click.Group):
    """Finds commands in the table; says what went wrong in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        try:
            command = import_module(entry.module).command
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("trio_oplog"):
                raise
            missing = f"{cmd_name} needs {error.name.partition('.')[0]}: pip install 'trio-oplog[{entry.extra}]'"
        else:
            assert isinstance(command, click.Command)  # noqa: S101 -- for the type checker; the table is ours
            return command
        raise click.ClickException(missing)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and what the configuration file says about it."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None and not ctx.resilient_parsing:
            loaded = load(read(ctx.params.get("config")), command, [name], _COMMANDS)
            ctx.meta[CONFIG_KEY] = loaded
            ctx.default_map = {name: loaded.defaults}
            if loaded.problems and name not in _TOLERANT:
                # A wrong call, and one for help, are that in the first place.
                command.make_context(name, list(rest), parent=ctx)
                raise click.UsageError(f"{loaded.sentence}.", ctx)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in _COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run, and leave with 0, 1 (it failed), 2 (it was called wrongly) or 130 (Ctrl-C)."""
        extra["standalone_mode"] = False
        try:
            sys.exit(super().main(args, prog_name, **extra))
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(0)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "trio-oplog"
            _leave(2, path, f"{_ended(error.format_message())}{_where_it_stands(error)} Try '{path} --help'.")
        except click.ClickException as error:
            _leave(1, "trio-oplog", error.format_message())
        except OplogError as error:
            _leave(1, "trio-oplog", str(error))
        except (click.Abort, KeyboardInterrupt):
            _leave(130, "trio-oplog", "interrupted")
        except OSError as error:  # a reader of our output who has seen enough is click's business
            _leave(1, "trio-oplog", f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))


def _ended(sentence: str) -> str:
    """A sentence with its full stop, which some of click's lack."""
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."


def _where_it_stands(error: click.UsageError) -> str:
    """For a wrong value that is the configuration file's, which one that is."""
    if isinstance(error, click.BadParameter) and error.ctx and error.param and error.param.name:
        loaded: Loaded | None = error.ctx.meta.get(CONFIG_KEY)
        if loaded and error.ctx.get_parameter_source(error.param.name) is ParameterSource.DEFAULT_MAP:
            return f" (It stands in {loaded.file.path}.)"
    return ""


def _leave(status: int, who: str, problem: str) -> NoReturn:
    click.echo(f"{who}: {problem}", err=True)
    sys.exit(status)


@click.command("trio-oplog", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(trio_oplog.__version__, message="trio-oplog %(version)s")
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar=CONFIG_VARIABLE,
    help="A TOML file with defaults for all options; else config.toml in your configuration folder.",
)
def main(config: Path | None) -> None:
    """The operation log for JSON-RPC gateways: who called which tool, where, with what, and what came back."""
