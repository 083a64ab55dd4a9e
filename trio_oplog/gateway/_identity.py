"""Who is at the other end: the identity that a gateway pins into every operation of a connection."""

from __future__ import annotations

import hmac
import os
from typing import Any, Final, Protocol, Self

from attrs import frozen
from httpx import Headers

from trio_oplog._tokens import digest_of_token, read_file, read_tables, required_string

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
        return cls.parse(read_file(path))

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
        entries: dict[bytes, Identity] = {}
        for where, digest, table in read_tables(content, _KEYS):
            workspace_id, user_id = (required_string(where, table, key) for key in _KEYS[1:])
            entries[digest] = Identity(workspace_id=workspace_id, user_id=user_id)
        return cls(entries)

    async def authenticate(self, headers: Headers, /) -> Identity | None:
        """See ``Authenticator.authenticate``.  Takes the same time whichever token matches, and when none does."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        digest = digest_of_token(token.strip(" ").encode("utf-8", "surrogateescape"))
        found = None
        for known, identity in self._entries:
            if hmac.compare_digest(known, digest):
                found = identity
        return found if scheme.lower() == "bearer" else None
