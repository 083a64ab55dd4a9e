"""Where operations go to and come from: an endpoint over HTTP, or a database file through an endpoint in this process.

There is one delivery path: a file, too, is written by the collector, reached through ``httpx.ASGITransport``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeGuard

import click
import httpx
import trio
from platformdirs import user_state_path

from trio_oplog._address import DEFAULT_PATH, check_secret, check_url
from trio_oplog._cli.options import SECRET_FILE_VARIABLE, SECRET_VARIABLE, Origin
from trio_oplog._errors import ConfigError, StoreError
from trio_oplog._listing import ListClient, ReadClient
from trio_oplog._otlp import Otlp
from trio_oplog._reach import make_tls

if TYPE_CHECKING:
    from trio_oplog.collector import Store

Readable: TypeAlias = "Store | ReadClient"
"""Where operations are read from: both have ``page``, ``statistics``, ``workspaces`` and ``export``."""


class Destination(NamedTuple):
    """What a ``Client`` and a ``ListClient`` need to reach it.

    Attributes:
        url: The endpoint.
        http: The way to it; ``None`` for that of the network.
        secret: What it expects; ``""`` for a receiver of OTLP.
        name: What tells it from every other destination, without anything private.
        ca_file: What an ``https`` endpoint is verified with; see ``Client``.
        protocol: What it speaks, where that is OTLP.
    """

    url: str
    http: httpx.AsyncClient | None
    secret: str
    name: str
    ca_file: Path | None = None
    protocol: Otlp | None = None

    def list_client(self) -> ListClient:
        """What asks it for operations."""
        return ListClient(self.url, self.secret, http=self.http, ca_file=self.ca_file)


def default_store() -> str:
    """The store that is used when none is named: a file in the user's state folder, which is made for the user alone."""
    folder = user_state_path("trio-oplog", appauthor=False)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'operations.sqlite3'}"


def has_secret(secret_file: Path | None) -> bool:
    """Whether a secret is named anywhere."""
    return bool(secret_file or os.environ.get(SECRET_VARIABLE) or os.environ.get(SECRET_FILE_VARIABLE))


def read_secret(secret_file: Path | None) -> str:
    """The secret of an endpoint, from the file named, else the environment.

    Raises:
        click.UsageError: There is none, or none that a header can hold.
    """
    named = secret_file or (Path(os.environ[SECRET_FILE_VARIABLE]) if os.environ.get(SECRET_FILE_VARIABLE) else None)
    text = os.environ.get(SECRET_VARIABLE) if secret_file is None else None
    where = SECRET_VARIABLE
    if not text and named is not None:
        where = str(named)
        try:
            text = named.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise click.UsageError(f"The secret cannot be read from {where}: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise click.UsageError(f"The secret in {where} is no text.") from None
    if not text and named is None:
        raise click.UsageError(f"The endpoint's secret is missing: set {SECRET_VARIABLE}, or name its file with --secret-file.")
    try:
        return check_secret(text)
    except ConfigError as error:
        raise click.UsageError(f"The secret in {where} {error.problem}.") from None


@asynccontextmanager
async def open_destination(
    dest: str | None, secret_file: Path | None = None, ca_file: Path | None = None, *, must_exist: bool = False
) -> AsyncIterator[Destination]:
    """Open a destination for as long as the block lasts.

    Args:
        dest: ``http(s)://...`` (without a path it gets the collector's), ``sqlite:///path`` or
            ``postgresql://...``; ``None`` for ``default_store()``.
        secret_file: Where the secret of an HTTP endpoint is; see ``read_secret``.
        ca_file: What an ``https`` endpoint is verified with; see ``Client``.
        must_exist: Whether to refuse to make a database file that is not there.

    Raises:
        click.UsageError: It is none of these, there is no secret for it, or the certificates to trust cannot be read.
        StoreError: The database cannot be opened.
    """
    if _is_http(dest):
        yield await _open_endpoint(dest, secret_file, ca_file)
        return
    from trio_oplog.collector import create_app  # noqa: PLC0415 -- only a file needs all of this

    store = _find_store(dest, must_exist=must_exist)
    async with store:
        secret = secrets.token_hex()
        # Who reads a file of their own is not recorded: they could read it without us.
        app = create_app(store, secret, puts_reads_on_record=False)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), trust_env=False) as http:
            name = f"sqlite:///{store.file.resolve()}" if store.file is not None else store.url
            yield Destination(f"http://in-process{DEFAULT_PATH}", http, secret, name)


@asynccontextmanager
async def open_readable(origin: Origin) -> AsyncIterator[Readable]:
    """Open what is to be read for as long as the block lasts; see ``open_destination``.

    Raises:
        click.UsageError: It is none, there is no secret for it, or the certificates to trust cannot be read.
        StoreError: The database cannot be opened, or is not there.
    """
    if _is_http(origin.dest):
        found = await _open_endpoint(origin.dest, origin.secret_file, origin.ca_file)
        yield ReadClient(found.url, found.secret, ca_file=found.ca_file)
        return
    async with _find_store(origin.dest, must_exist=True) as store:
        yield store


def _is_http(dest: str | None) -> TypeGuard[str]:
    return dest is not None and dest.startswith(("http://", "https://"))


async def _open_endpoint(dest: str, secret_file: Path | None, ca_file: Path | None) -> Destination:
    try:
        url = check_url(dest)
    except ConfigError as error:
        raise click.UsageError(f"The destination {error.problem}.") from None
    secret = read_secret(secret_file)
    await check_trust(url, ca_file)
    url = url if url.path.strip("/") else url.copy_with(path=DEFAULT_PATH)
    return Destination(str(url), None, secret, f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}", ca_file)


def _find_store(dest: str | None, *, must_exist: bool) -> Store:
    from trio_oplog.collector import open_store  # noqa: PLC0415 -- an endpoint needs nothing of it

    try:
        store = open_store(dest or default_store())
    except ConfigError:
        raise click.UsageError("The destination must be http(s)://..., postgresql://... or sqlite:///path.") from None
    if must_exist and store.file is not None and not store.file.exists():
        raise StoreError(f"nothing was recorded in {store.file} yet: there is no such file")
    return store


async def check_trust(url: httpx.URL, ca_file: Path | None) -> None:
    """Refuse certificates that cannot be read now, and not when the first record is to be sent."""
    if url.scheme != "https" or (ca_file is None and not os.environ.get("SSL_CERT_FILE")):
        return
    try:
        await trio.to_thread.run_sync(make_tls, ca_file)
    except ConfigError as error:
        raise click.UsageError(f"The file of certificates {ca_file or os.environ['SSL_CERT_FILE']} {error.problem}.") from None
