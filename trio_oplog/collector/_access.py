"""Who may do what: the shared secret, and tokens with a role for some workspaces."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, Self

from attrs import frozen

from trio_oplog._address import check_secret
from trio_oplog._errors import ConfigError, TokenFileError
from trio_oplog._tokens import digest_of_token, read_file, read_tables, required_string
from trio_oplog.collector._rows import key

_KEYS: Final = ("sha256", "name", "role", "workspaces")
_EVERY: Final = "*"


class Role(StrEnum):
    """What a token is for.

    Attributes:
        WRITE: Store operations, and nothing else.
        READ: See everything but arguments and results.
        AUDIT: See everything.  What it reads is put on record.
        ADMIN: All of these, and delete old operations.
    """

    WRITE = "write"
    READ = "read"
    AUDIT = "audit"
    ADMIN = "admin"


class Right(StrEnum):
    """Something that a request needs."""

    WRITE = "write"
    READ = "read"
    PAYLOADS = "payloads"
    PRUNE = "prune"


_RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    Role.WRITE: frozenset({Right.WRITE}),
    Role.READ: frozenset({Right.READ}),
    Role.AUDIT: frozenset({Right.READ, Right.PAYLOADS}),
    Role.ADMIN: frozenset(Right),
}


@frozen(kw_only=True)
class Grant:
    """What somebody may do.

    Attributes:
        name: Who that is, for the log and for what is put on record.
        role: What they may do.
        workspaces: Where they may; ``None`` for everywhere.
        is_shared: Whether it is for the shared secret, which may be everybody's.
    """

    name: str
    role: Role
    workspaces: frozenset[str] | None = None
    is_shared: bool = False

    def has(self, right: Right) -> bool:
        """Whether the role has a right."""
        return right in _RIGHTS[self.role]

    def covers(self, workspace_id: str) -> bool:
        """Whether it counts in a workspace."""
        return self.workspaces is None or workspace_id in self.workspaces

    def covered(self, names: list[str]) -> list[str]:
        """Those of the workspaces in which it counts, by what the store calls them; see ``Store.workspaces``."""
        if self.workspaces is None:
            return names
        mine = set(map(key, self.workspaces))
        return [name for name in names if name in mine]


class Access:
    """Who may use a collector.

    ::

        [[token]]
        sha256 = "…"                # 64 lower-case hex digits: SHA-256 of the token's bytes
        name = "grafana"            # who uses it, for the log and for what is put on record
        role = "read"               # write, read, audit or admin
        workspaces = ["ws-1"]       # or "*" for all

    Args:
        secrets: The secrets that give all rights, as ``Client`` and ``ListClient`` send them: one, or two while it is changed.
        tokens: What each token may do, by the SHA-256 of its bytes.

    Raises:
        ConfigError: A secret is empty or none that a header can hold, or there is neither a secret nor a token, which would
            let nobody in.
    """

    def __init__(self, secrets: Iterable[str] = (), tokens: Mapping[bytes, Grant] | None = None) -> None:
        everything = Grant(name="shared secret", role=Role.ADMIN, is_shared=True)
        # By their digests: so nothing here can be shown, and all are compared alike.
        entries = {digest_of_token(check_secret(secret).encode()): everything for secret in secrets}
        self._entries = tuple({**entries, **(tokens or {})}.items())
        if not self._entries:
            raise ConfigError("secrets", "must hold one where there are no tokens")

    def __repr__(self) -> str:
        return f"<Access for {len(self._entries)} secrets and tokens>"

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, secrets: Iterable[str] = ()) -> Self:
        """Read a file of tokens.

        Args:
            path: The file.
            secrets: Secrets that let in as well.

        Raises:
            ConfigError: A secret is wrong.
            TokenFileError: The file cannot be read or holds no tokens; nothing was made.
        """
        content = read_file(path)
        return cls(secrets, {digest: _grant(where, table) for where, digest, table in read_tables(content, _KEYS)})

    def replace(self, other: Access) -> None:
        """Take over the secrets and tokens of another one, as after a change of the file.

        What was begun with a token that is gone is finished, but for what would go on for ever.

        Args:
            other: What was read.
        """
        self._entries = other._entries

    def find(self, credential: bytes) -> Grant | None:
        """What somebody may do who shows this; ``None`` where it is no secret and no token.

        Takes the same time whichever matches, and when none does.
        """
        digest = digest_of_token(credential)
        found = None
        for known, grant in self._entries:
            if hmac.compare_digest(known, digest):
                found = grant
        return found


def credential(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The secret or token that a request shows: in ``X-Internal-Secret``, or in ``Authorization`` as RFC 6750 has it.

    Args:
        headers: Its headers, as ASGI has them.

    Returns:
        What it is; ``None`` where there is none, or more than one.
    """
    shown = []
    for name, value in headers:
        scheme, _, token = value.partition(b" ")
        if name == b"x-internal-secret":
            shown.append(value)
        elif name == b"authorization" and scheme.lower() == b"bearer":
            shown.append(token.strip(b" "))
    return shown[0] if len(shown) == 1 else None


def _grant(where: str, table: dict[str, Any]) -> Grant:
    name, role = (required_string(where, table, key) for key in ("name", "role"))
    if not name.isprintable():
        raise TokenFileError(f"name of {where}", "must be printable text")
    if role not in list(Role):
        raise TokenFileError(f"role of {where}", f"must be one of {', '.join(Role)}")
    wanted = table["workspaces"]
    if wanted == _EVERY:
        return Grant(name=name, role=Role(role))
    if not isinstance(wanted, list) or not wanted or not all(isinstance(each, str) and each for each in wanted):
        raise TokenFileError(f"workspaces of {where}", f'must be "{_EVERY}" or a list of non-empty strings')
    return Grant(name=name, role=Role(role), workspaces=frozenset(wanted))
