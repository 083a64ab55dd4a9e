"""Bearer tokens that nobody can guess, and the TOML files of their digests."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from trio_oplog._errors import TokenFileError

_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")


def new_token() -> tuple[str, str]:
    """Make a token that nobody can guess.

    Returns:
        The token (256 random bits, for the client) and its digest (for the file).
    """
    token = secrets.token_urlsafe(32)
    return token, hashlib.sha256(token.encode()).hexdigest()


def digest_of_token(token: bytes) -> bytes:
    """What a file holds of a token: its SHA-256, here as bytes."""
    return hashlib.sha256(token).digest()


def read_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a file of tokens.

    Args:
        path: The file.

    Raises:
        TokenFileError: It cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TokenFileError("", "is missing") from error
    except OSError as error:
        raise TokenFileError("", f"cannot be read: {error.strerror or type(error).__name__}") from error
    except (ValueError, RecursionError):  # the parser's sentence would quote the file
        raise TokenFileError("", "is not TOML") from None


def read_tables(content: dict[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """The ``[[token]]`` tables of a file.

    Args:
        content: The parsed TOML.
        keys: The keys that each table must have; ``sha256`` is one of them.

    Yields:
        What to call a table in an error, the digest of its token, and the table.

    Raises:
        TokenFileError: There are none, a table has other keys, or a digest is none or there twice.
    """
    tables = content.get("token")
    if not isinstance(tables, list) or not tables or content.keys() != {"token"}:
        raise TokenFileError("", "must hold [[token]] tables and nothing else")
    seen: set[str] = set()
    for number, table in enumerate(tables, 1):
        where = f"token {number}"
        if not isinstance(table, dict) or table.keys() != set(keys):
            raise TokenFileError(where, f"must have the keys {', '.join(keys)} and no other")
        digest = required_string(where, table, "sha256")
        if _SHA256_HEX.fullmatch(digest) is None:
            raise TokenFileError(f"sha256 of {where}", "must be 64 lower-case hex digits")
        if digest in seen:
            raise TokenFileError(where, "is there twice")
        seen.add(digest)
        yield where, bytes.fromhex(digest), table


def required_string(where: str, table: dict[str, Any], key: str) -> str:
    """A string of a table that must not be empty.

    Raises:
        TokenFileError: It is none, or empty.
    """
    value = table[key]
    if not isinstance(value, str) or not value:
        raise TokenFileError(f"{key} of {where}", "must be a non-empty string")
    return value
