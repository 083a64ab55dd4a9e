"""Who may connect, and as whom."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from httpx import Headers

from trio_oplog import TokenFileError
from trio_oplog.gateway import Anyone, Identity, TokenFile, new_token

ALICE = Identity(workspace_id="ws-1", user_id="alice")
BOB = Identity(workspace_id="ws-2", user_id="bob")


def entry(token: str, identity: Identity, **more: object) -> dict[str, object]:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return {"sha256": digest, "workspace_id": identity.workspace_id, "user_id": identity.user_id, **more}


TOKENS = TokenFile.parse({"token": [entry("token-a", ALICE), entry("tökën-b", BOB)]})


@pytest.mark.parametrize(
    ("authorization", "identity"),
    [
        (b"Bearer token-a", ALICE),
        (b"bearer   token-a ", ALICE),
        ("Bearer tökën-b".encode(), BOB),
        (b"Bearer token-c", None),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Basic token-a", None),
        (b"token-a", None),
        (b"Bearer token-a, Bearer token-a", None),
        (b"Bearer \xff\xfe", None),
        (b"", None),
    ],
)
async def test_a_token_says_who_it_is(authorization: bytes, identity: Identity | None) -> None:
    assert await TOKENS.authenticate(Headers([(b"Authorization", authorization)])) == identity


async def test_no_token_is_nobody() -> None:
    assert await TOKENS.authenticate(Headers()) is None


async def test_anyone_is_one_identity() -> None:
    assert await Anyone(ALICE).authenticate(Headers()) == ALICE


def test_a_file_of_tokens_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    token, digest = new_token()
    path.write_text(f'[[token]]\nsha256 = "{digest}"\nworkspace_id = "ws-1"\nuser_id = "alice"\n')
    tokens = TokenFile.read(path)
    assert digest not in repr(tokens)
    assert token not in repr(tokens)


async def test_a_new_token_and_its_digest_belong_together() -> None:
    token, digest = new_token()
    tokens = TokenFile.parse({"token": [{"sha256": digest, "workspace_id": "ws-1", "user_id": "alice"}]})
    assert await tokens.authenticate(Headers({"Authorization": f"Bearer {token}"})) == ALICE
    assert new_token()[0] != token


WHOLE = "the token file must hold [[token]] tables and nothing else"
KEYS = "token 1 must have the keys sha256, workspace_id, user_id and no other"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, WHOLE),
        ({"token": []}, WHOLE),
        ({"token": "secret"}, WHOLE),
        ({"token": [entry("a", ALICE)], "tokens": []}, WHOLE),
        ({"token": ["secret"]}, KEYS),
        ({"token": [{"sha256": "secret"}]}, KEYS),
        ({"token": [entry("a", ALICE, admin=True)]}, KEYS),
        ({"token": [entry("a", ALICE, user_id="")]}, "user_id of token 1 must be a non-empty string"),
        ({"token": [entry("a", ALICE, workspace_id=5)]}, "workspace_id of token 1 must be a non-empty string"),
        ({"token": [entry("a", ALICE, sha256="secret")]}, "sha256 of token 1 must be 64 lower-case hex digits"),
        ({"token": [entry("a", ALICE), entry("a", BOB)]}, "token 2 is there twice"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong_in_it(content: dict[str, object], problem: str) -> None:
    with pytest.raises(TokenFileError) as caught:
        TokenFile.parse(content)
    assert str(caught.value) == problem
    assert "secret" not in repr(caught.value)


def test_a_folder_is_no_token_file(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="the token file cannot be read: Is a directory"):
        TokenFile.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"secret = = 5", "is not TOML"), (b"\xffsecret", "is not TOML"), (None, "the token file is missing")],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "tokens.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TokenFileError, match=problem) as caught:
        TokenFile.read(path)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None or "secret" not in str(caught.value.__cause__)
