"""Who is at the other end: the identity that a gateway pins into every operation of a connection."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tomllib
from pathlib import Path
from typing import Any, Final, Protocol, Self

from attrs import frozen
from httpx import Headers

from trio_oplog._errors import TokenFileError

_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
_KEYS: Final = ("sha256", "workspace_id", "user_id")


@frozen(kw_only=True)
class Identity:
    """Who a client is.

    Attributes:
        workspace_id: Whose operations these are, and which it may list; not empty.
        user_id: The user, who is then on every record.  ``None`` leaves it to the client to claim one.
    """

    workspace_id: str
    user_id: str | None = None


class Authenticator(Protocol):
    """Decides who may connect.  ``TokenFile`` and ``Anyone`` are two; write another for those who verify elsewhere."""

    async def authenticate(self, headers: Headers, /) -> Identity | None:
        """Look at one handshake, before it is answered.

        Args:
            headers: The headers of its HTTP request: case-insensitive, repeated ones joined with a comma.

        Returns:
            Who it is, or ``None`` to refuse with 401.  An exception refuses with 503; its text is shown to nobody.
        """


@frozen
class Anyone:
    """Lets everyone in as one identity: for a gateway that only this machine can reach.

    Attributes:
        identity: Who they all are.
    """

    identity: Identity

    async def authenticate(self, headers: Headers, /) -> Identity | None:  # noqa: ARG002 - the interface's
        """See ``Authenticator.authenticate``."""
        return self.identity


class TokenFile:
    """Bearer tokens from a TOML file that holds their digests, not the tokens.

    ::

        [[token]]
        sha256 = "…"            # 64 lower-case hex digits: SHA-256 of the token's UTF-8 bytes
        workspace_id = "ws-1"
        user_id = "alice"

    A digest without salt is only safe for tokens that nobody can guess: 128 random bits or more, as ``new_token`` makes.

    Source: RFC 6750, section 2.1.
    """

    def __init__(self, entries: dict[bytes, Identity]) -> None:
        self._entries = tuple(entries.items())

    def replace(self, other: TokenFile) -> None:
        """Take over the tokens of another one, as after a change of the file.  Open connections stay as they are.

        Args:
            other: What was read.
        """
        self._entries = other._entries

    def __repr__(self) -> str:
        return f"<TokenFile of {len(self._entries)} tokens>"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file of tokens.

        Args:
            path: The file.

        Returns:
            Its tokens.

        Raises:
            TokenFileError: The file cannot be read or holds no tokens; nothing was made.
        """
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise TokenFileError("", "is missing") from error
        except OSError as error:
            raise TokenFileError("", f"cannot be read: {error.strerror or type(error).__name__}") from error
        except ValueError:  # the parser's sentence would quote the file
            raise TokenFileError("", "is not TOML") from None
        return cls.parse(content)

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Self:
        """Make it from the content of such a file.

        Args:
            content: The parsed TOML.

        Returns:
            Its tokens.

        Raises:
            TokenFileError: Something in it is wrong; nothing was made.
        """
        tables = content.get("token")
        if not isinstance(tables, list) or not tables or content.keys() != {"token"}:
            raise TokenFileError("", "must hold [[token]] tables and nothing else")
        entries: dict[bytes, Identity] = {}
        for number, table in enumerate(tables, 1):
            digest, identity = _entry(f"token {number}", table)
            if digest in entries:
                raise TokenFileError(f"token {number}", "is there twice")
            entries[digest] = identity
        return cls(entries)

    async def authenticate(self, headers: Headers, /) -> Identity | None:
        """See ``Authenticator.authenticate``.  Takes the same time whichever token matches, and when none does."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(token.strip(" ").encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, identity in self._entries:
            if hmac.compare_digest(known, digest):
                found = identity
        return found if scheme.lower() == "bearer" else None


def _entry(where: str, table: object) -> tuple[bytes, Identity]:
    if not isinstance(table, dict) or table.keys() != set(_KEYS):
        raise TokenFileError(where, f"must have the keys {', '.join(_KEYS)} and no other")
    for key in _KEYS:
        if not isinstance(table[key], str) or not table[key]:
            raise TokenFileError(f"{key} of {where}", "must be a non-empty string")
    if _SHA256_HEX.fullmatch(table["sha256"]) is None:
        raise TokenFileError(f"sha256 of {where}", "must be 64 lower-case hex digits")
    return bytes.fromhex(table["sha256"]), Identity(workspace_id=table["workspace_id"], user_id=table["user_id"])


def new_token() -> tuple[str, str]:
    """Make a token that nobody can guess.

    Returns:
        The token (256 random bits, for the client) and its digest (for the file).
    """
    token = secrets.token_urlsafe(32)
    return token, hashlib.sha256(token.encode()).hexdigest()
