"""The options that several commands have, each written once.

Nothing here imports more than click: ``wrap`` reads its options before anything heavy is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from trio_oplog._cli.config import CONFIG_KEY, Loaded

SECRET_VARIABLE: Final = "TRIO_OPLOG_SECRET"  # noqa: S105 -- the name of one
SECRET_FILE_VARIABLE: Final = "TRIO_OPLOG_SECRET_FILE"  # noqa: S105

_STORE_OR_RECEIVER: Final = re.compile(r"(?:(?:otlp\+)?https?|(?:sqlite|postgresql)(?:\+\w+)?)://", re.ASCII)
_RECEIVER: Final = "otlp+"
_OF_METRICS: Final = re.compile(r"/v1/metrics/?", re.ASCII)
_SCHEME: Final = re.compile(r"(?:https?|(?:sqlite|postgresql)(?:\+\w+)?)://", re.ASCII)
# Of an option and its opposite the one that was said closer to the user counts.
_NEARNESS: Final = {ParameterSource.DEFAULT: 0, ParameterSource.DEFAULT_MAP: 1}
_NEAREST: Final = 2

F = TypeVar("F", bound=Callable[..., Any])


class Recording(NamedTuple):
    """What ``wrap`` and ``gateway`` are told about recording.

    Attributes:
        dest: The store; ``None`` for the user's own one.
        receivers: Where operations and metrics go as OTLP.
        otlp_headers: The file with the headers of requests to them, where one was named.
        otlp_payloads: Whether they get payloads.
        secret_file: The file with the endpoint's secret, where one was named.
        ca_file: What an ``https`` endpoint is verified with, where that was named.
        workspace: Whose operations these are.
        user: Who calls, where that was said.
        source: What kind of client calls.
        env: The environment of a call that names none.
        redact: Further keys whose values are redacted.
        redact_none: Whether the values of the usual keys are kept.
        args_max: Longest arguments that are kept, in bytes; ``None`` for the library's default.
        result_max: Longest summary of a result, in bytes; ``None`` for the library's default.
        spool: The folder of spools; ``None`` to keep undelivered operations in memory only.
        capture: Where every frame is written to, where that was asked for.
        is_off: Whether the configuration file is so broken that nothing may be recorded.
    """

    dest: str | None
    receivers: tuple[str, ...]
    otlp_headers: Path | None
    otlp_payloads: bool
    secret_file: Path | None
    ca_file: Path | None
    workspace: str
    user: str | None
    source: str
    env: str
    redact: tuple[str, ...]
    redact_none: bool
    args_max: int | None
    result_max: int | None
    spool: Path | None
    capture: Path | None
    is_off: bool = False

    @property
    def uses_store(self) -> bool:
        """Whether operations go to a store: unless they go to receivers of OTLP only."""
        takers = [receiver for receiver in self.receivers if not _OF_METRICS.search(receiver)]
        return self.dest is not None or not takers


class Origin(NamedTuple):
    """Where a command reads from, as ``--from`` and what goes with it say.

    Attributes:
        dest: The store or the endpoint; ``None`` for the user's own store.
        secret_file: The file with the endpoint's secret, where one was named.
        ca_file: What an ``https`` endpoint is verified with, where that was named.
    """

    dest: str | None
    secret_file: Path | None
    ca_file: Path | None


class UpstreamServer(NamedTuple):
    """The server that has a URL, as ``--upstream`` and what goes with it say.

    Attributes:
        url: The server; ``None`` where a command is one.
        header_file: The file with the headers that it gets in every request, where one was named.
        ca_file: What an ``https`` server is verified with, where that was named.
    """

    url: str | None
    header_file: Path | None
    ca_file: Path | None

    @property
    def files(self) -> tuple[str, ...]:
        """The options that name a file, of those that were given: they are for a server that has an http URL."""
        given = {"--upstream-header-file": self.header_file, "--upstream-ca-file": self.ca_file}
        return tuple(name for name, file in given.items() if file is not None)


def destination(text: str) -> str:
    """A destination; only its scheme is looked at.

    Raises:
        click.BadParameter: It is none.
    """
    if not _SCHEME.match(text):
        raise click.BadParameter("The destination must be http(s)://..., postgresql://... or sqlite:///path.")
    return text


def store_or_receiver(text: str) -> str:
    """A destination of what is recorded; only its scheme is looked at.

    Raises:
        click.BadParameter: It is none.
    """
    if not _STORE_OR_RECEIVER.match(text):
        raise click.BadParameter("The destination must be http(s)://..., otlp+http(s)://..., postgresql://... or sqlite:///path.")
    return text


_FILE: Final = click.Path(path_type=Path)


def _secret_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """The environment goes before the configuration file."""
    from_file = ctx.get_parameter_source(param.name or "") is ParameterSource.DEFAULT_MAP
    in_environment = os.environ.get(SECRET_VARIABLE) or os.environ.get(SECRET_FILE_VARIABLE)
    return None if from_file and in_environment else value


def secret_option(command: F) -> F:
    """The option ``--secret-file``.  There is none for the secret itself: every user of the machine can see arguments."""
    return click.option(
        "--secret-file",
        metavar="FILE",
        type=_FILE,
        callback=_secret_file,
        help=f"Where the endpoint's secret is; else {SECRET_VARIABLE}, else the file named by {SECRET_FILE_VARIABLE}.",
    )(command)


def ca_file_option(command: F) -> F:
    """The option ``--ca-file``, for every command that may speak to an ``https`` endpoint."""
    return click.option(
        "--ca-file",
        metavar="FILE",
        type=_FILE,
        help="Certificates in PEM form to verify the endpoint with; else SSL_CERT_FILE or SSL_CERT_DIR, else the usual ones.",
    )(command)


def workspace_option(command: F) -> F:
    """The option ``--workspace``, with one default for all commands, so that they see the same operations."""
    return click.option("--workspace", metavar="ID", default="local", show_default=True, help="Whose operations.")(command)


def from_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--from``, with what opens the way there; the command gets them as ``origin``, which is an ``Origin``."""

    @wraps(command)
    def run(*, source_of: str | None, secret_file: Path | None, ca_file: Path | None, **values: Any) -> Any:
        return command(origin=Origin(source_of, secret_file, ca_file), **values)

    where = click.option(
        "--from",
        "source_of",
        metavar="DEST",
        type=destination,
        help="http(s)://..., sqlite:///path or postgresql://...; else your own store.",
    )
    return where(secret_option(ca_file_option(run)))


def json_option(command: F) -> F:
    """The option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for jq and other programs.")(command)


def utc_option(command: F) -> F:
    """The option ``--utc``."""
    return click.option("--utc", is_flag=True, help="Show and read times in UTC, and not in the local time zone.")(command)


def upstream_options(url_help: str, header_help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--upstream``, with what goes with it; the command gets them as ``upstream``, which is an ``UpstreamServer``.

    Args:
        url_help: What ``--upstream`` is.
        header_help: Who gets the headers of ``--upstream-header-file``.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def run(*, upstream: str | None, upstream_header_file: Path | None, upstream_ca_file: Path | None, **values: Any) -> Any:
            return command(upstream=UpstreamServer(upstream, upstream_header_file, upstream_ca_file), **values)

        url = click.option("--upstream", metavar="URL", help=url_help)
        headers = click.option("--upstream-header-file", metavar="FILE", type=_FILE, help=header_help)
        trusted = click.option(
            "--upstream-ca-file",
            metavar="FILE",
            type=_FILE,
            help="Certificates in PEM form to verify an https server with; else as for --ca-file.",
        )
        return url(headers(trusted(run)))

    return decorate


def to_option(command: F) -> F:
    """The option ``--to``."""
    return click.option(
        "--to",
        "dest",
        metavar="DEST",
        type=destination,
        help="http(s)://..., sqlite:///path or postgresql://...; else your own store.",
    )(command)


def spool_options(command: F) -> F:
    """The options ``--spool`` and ``--no-spool``."""
    where = click.option(
        "--spool",
        metavar="DIR",
        type=_FILE,
        help="Folder in which operations wait until they are stored; else one in your state folder.",
    )
    return where(click.option("--no-spool", is_flag=True, help="Let operations wait in memory only.")(command))


def recording_options(source: str, *, tells_problems: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options about recording; the command gets them as ``recording``, which is a ``Recording``.

    Args:
        source: The default of ``--source``.
        tells_problems: Whether to say what is wrong with the configuration file.
    """
    size = click.IntRange(min=1)
    options = [
        click.option(
            "--to",
            "dests",
            metavar="DEST",
            multiple=True,
            type=store_or_receiver,
            help="http(s)://..., sqlite:///path or postgresql://..., else your own store; and otlp+http(s)://....  Repeatable.",
        ),
        workspace_option,
        secret_option,
        ca_file_option,
        click.option("--user", metavar="ID", help="Who calls; else whom a token names or the client claims to be."),
        click.option("--source", metavar="NAME", default=source, show_default=True, help="What kind of client calls."),
        click.option("--env", metavar="NAME", default="local", show_default=True, help="Where a call ran that does not say so."),
        click.option("--redact", metavar="KEY", multiple=True, help="Redact the values of this key, too.  Repeatable."),
        click.option("--redact-none", is_flag=True, help="Keep the values of password, token, api_key and other usual keys."),
        click.option("--args-max", metavar="BYTES", type=size, help="Longest arguments that are kept.  [default: 65536]"),
        click.option("--result-max", metavar="BYTES", type=size, help="How much of a result's text is kept.  [default: 4096]"),
        click.option(
            "--otlp-headers",
            metavar="FILE",
            type=_FILE,
            help="Headers for receivers of OTLP, one 'Name: value' a line; else OTEL_EXPORTER_OTLP_HEADERS.",
        ),
        click.option("--otlp-payloads", is_flag=True, help="Send arguments and results as OTLP, too."),
        spool_options,
        click.option(
            "--capture",
            metavar="FILE",
            type=_FILE,
            help="Write every frame to a file for 'trio-oplog replay', with all secrets in it: nothing is redacted there.",
        ),
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def run(*, dests: tuple[str, ...], no_spool: bool, **values: Any) -> Any:
            context = click.get_current_context()
            stores = [dest for dest in dests if not dest.startswith(_RECEIVER)]
            if len(stores) > 1:
                raise click.UsageError("Only one of the destinations may be a store.")
            values["dest"] = stores[0] if stores else None
            values["receivers"] = tuple(dest for dest in dests if dest.startswith(_RECEIVER))
            values["spool"] = None if no_spool and _is_off(context, "no_spool", "spool") else values["spool"] or default_spool()
            known = {name: values.pop(name) for name in Recording._fields if name in values}
            return command(recording=Recording(**known, is_off=_is_broken(context, tells=tells_problems)), **values)

        for option in reversed(options):
            run = option(run)
        return run

    return decorate


def default_spool() -> Path:
    """The folder of spools that is used when none is named; it need not exist."""
    from platformdirs import user_state_path  # noqa: PLC0415 -- not every command needs it

    return user_state_path("trio-oplog", appauthor=False) / "spool"


def _is_off(context: click.Context, negative: str, positive: str) -> bool:
    """Whether an option's opposite counts: it does unless the option was said closer to the user."""
    nearness = [_NEARNESS.get(context.get_parameter_source(name), _NEAREST) for name in (negative, positive)]  # type: ignore[arg-type]
    return nearness[0] >= nearness[1]


def _is_broken(context: click.Context, *, tells: bool) -> bool:
    """Whether nothing may be recorded for what is wrong with the configuration file; says what that is, in one line."""
    loaded: Loaded | None = context.meta.get(CONFIG_KEY)
    if loaded is None or not loaded.problems:
        return False
    if tells:
        end = "the server runs, and nothing is recorded" if loaded.is_off else "the rest of the file stands"
        click.echo(f"trio-oplog: {loaded.sentence}; {end}", err=True)
    return loaded.is_off
