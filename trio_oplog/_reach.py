"""How others are reached over HTTP: whose certificates are trusted, what is sent, and a name for what went wrong on the way."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import httpx

from trio_oplog._errors import ConfigError

_CHAIN_MAX: Final = 64
"""How many exceptions below one are looked at; those of a hostile transport may go round in circles."""

# OpenSSL's X509_V_ERR_* codes, which are the same in every version.
_CERTIFICATES: Final = {
    9: "certificate is not valid yet",
    10: "certificate has expired",
    18: "self-signed certificate",
    19: "unknown authority",
    20: "unknown authority",
    21: "unknown authority",
    23: "certificate has been revoked",
    62: "certificate is for another name",
    64: "certificate is for another address",
}
_ERRORS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (socket.gaierror, "name not found"),
    (ConnectionRefusedError, "connection refused"),
    (httpx.RemoteProtocolError, "no valid HTTP answer"),
    (ConnectionError, "connection lost"),
    (httpx.ReadError, "connection lost"),
    (httpx.WriteError, "connection lost"),
)


def check_ca_file(ca_file: object, http: object) -> Path | None:
    """Read the parameter ``ca_file`` of a constructor that has a parameter ``http``, too; ``make_tls`` reads the file itself.

    Raises:
        ConfigError: It is no path, or the HTTP client that was handed in has trusted somebody already.
    """
    if ca_file is None:
        return None
    if http is not None:
        raise ConfigError("ca_file", "cannot be used together with http")
    if not isinstance(ca_file, str | os.PathLike) or not str(ca_file):
        raise ConfigError("ca_file", "must be the path of a file")
    return Path(ca_file)


def make_tls(ca_file: Path | None) -> ssl.SSLContext:
    """What an ``https`` endpoint is verified with.  Takes a few dozen milliseconds of disk and processor.

    Args:
        ca_file: Certificates in PEM form, which are trusted in place of all others.  ``None`` for those that the environment
            variable ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` names, else those of the package ``certifi``.

    Raises:
        ConfigError: The file cannot be read, or holds no certificate; ``field`` says whether the parameter or the environment
            named it.
    """
    try:
        if ca_file is not None:
            return ssl.create_default_context(cafile=str(ca_file))
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        field = "ca_file" if ca_file is not None else "SSL_CERT_FILE"
        reason = "holds no certificates in PEM form" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
    raise ConfigError(field, reason)


def name_failure(error: BaseException) -> str:
    """Say in a few words why a request got no answer.

    Returns:
        Such as ``TLS: unknown authority`` or ``connection refused``; the name of the exception's type where nothing better is
        known.  Never anything of its message, which may quote what was sent or received.
    """
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"TLS: {_CERTIFICATES.get(one.verify_code, 'certificate is not trusted')}"
    if any(isinstance(one, ssl.SSLError) for one in chain):
        return "TLS: the handshake failed"
    # From the inside out: the innermost exception is the cause, and those around it name what was being done.
    for one in reversed(chain):
        for kind, name in _ERRORS:
            if isinstance(one, kind):
                return name
    return type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that led to it, each once, the outermost first."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _CHAIN_MAX:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


class Body(httpx.AsyncByteStream):
    """A request's body in one piece.  httpx's own is a generator, which it abandons half-way when a request is cut off."""

    def __init__(self, data: bytes) -> None:
        self._left = [data]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()
