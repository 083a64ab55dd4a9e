"""The files of configurations: what is left alone, what stays of a file that is replaced, and what undoing brings back."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client_config.texts import GATEWAYS, PROGRAM
from trio_oplog._client_config import Backups, Done, Fate, Place, UnusableError, adopt_file, undo_file
from trio_oplog._client_config.files import MAX_BYTES, ConfigFile

PLACES = (("mcpServers",),)
TEXT = b'{"mcpServers": {"files": {"command": "npx", "args": ["-y"]}}}\n'
WITH_URL = b'{"mcpServers": {"far": {"url": "https://mcp.example.com/mcp?key=hunter2"}}}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "mcp.json"
    path.parent.mkdir()
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return Backups(tmp_path / "state" / "backups")


def adopt(path: Path, backups: Backups, program: str = PROGRAM, *, dry_run: bool = False) -> Done:
    return adopt_file(Place("", path, PLACES), backups, program, GATEWAYS, dry_run=dry_run)


def undo(path: Path, backups: Backups, *, dry_run: bool = False) -> Done:
    return undo_file(Place("", path, PLACES), backups, dry_run=dry_run)


def test_the_mode_the_owner_and_a_symbolic_link_stay(path: Path, tmp_path: Path, backups: Backups) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    before = path.stat()
    assert adopt(link, backups).is_changed
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert link.is_symlink()
    assert path.read_bytes() != TEXT
    assert undo(link, backups).is_restored
    assert link.is_symlink()
    assert path.read_bytes() == TEXT
    assert list(path.parent.iterdir()) == [path]


def test_a_backup_is_for_the_user_alone_whatever_the_file_is(path: Path, backups: Backups, tmp_path: Path) -> None:
    path.chmod(0o644)
    backup = adopt(path, backups).backup
    assert backup is not None
    assert backup.read_bytes() == TEXT
    kept = [backup.parent, *backup.parent.iterdir()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept if file.is_file()} == {0o600}
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept if file.is_dir()} == {0o700}
    assert backups.files() == [path]


def test_a_dry_run_changes_nothing_either_way(path: Path, backups: Backups) -> None:
    done = adopt(path, backups, dry_run=True)
    assert done.is_changed
    assert (path.read_bytes(), backups.files()) == (TEXT, [])
    adopt(path, backups)
    adopted = path.read_bytes()
    assert undo(path, backups, dry_run=True).is_restored
    assert path.read_bytes() == adopted
    assert backups.files() == [path]


@pytest.mark.parametrize(
    "name", [".mcp.json.swp", ".mcp.json.swo", ".mcp.json.kate-swp", ".#mcp.json", ".~lock.mcp.json#", "mcp.json.lock"]
)
def test_a_file_that_is_being_edited_is_left_alone(name: str, path: Path, backups: Backups, tmp_path: Path) -> None:
    (path.parent / name).symlink_to("ada@host.1234:1")  # what Emacs leaves leads nowhere
    link = tmp_path / "link.json"
    link.symlink_to(path)
    for way in (path, link):
        with pytest.raises(UnusableError, match="is being edited") as caught:
            adopt(way, backups)
        assert name in str(caught.value)
    assert path.read_bytes() == TEXT


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (Path.unlink, "is not there"),
        (make_directory, "is no regular file"),
        (make_fifo, "is no regular file"),
        (make_circle, "cannot be read"),
        (lambda path: path.write_bytes(b" " * (MAX_BYTES + 1)), "has more than 16 MiB"),
        (lambda path: path.with_name("other").hardlink_to(path), "several names"),
        (lambda path: path.write_bytes(b'{"mcpServers": {'), r"lacks a key \(line 1\)"),
        (lambda path: path.write_bytes(b"\xff\xfe{\0}\0"), "is no UTF-8"),
    ],
)
def test_what_is_no_usable_file_is_left_alone_with_a_word(
    spoil: Callable[[Path], object], problem: str, path: Path, backups: Backups
) -> None:
    spoil(path)
    with pytest.raises(UnusableError, match=problem):
        adopt(path, backups)
    assert backups.files() == []


@pytest.mark.parametrize(
    "touch",
    [
        lambda path: path.write_bytes(TEXT.replace(b"npx", b"uvx")),
        lambda path: path.chmod(0o604),
        lambda path: path.with_name("new").write_bytes(TEXT) and path.with_name("new").replace(path),
    ],
    ids=["written", "mode", "replaced"],
)
def test_a_file_that_was_changed_since_it_was_read_is_left_as_it_is(touch: Callable[[Path], object], path: Path) -> None:
    file = ConfigFile(path)
    touch(path)
    now = path.read_bytes()
    with pytest.raises(UnusableError, match="changed by somebody else"):
        file.replace(b"{}")
    assert path.read_bytes() == now
    assert list(path.parent.iterdir()) == [path]


def test_a_change_that_fails_keeps_no_backup(path: Path, backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", deny)
    with pytest.raises(UnusableError, match="belongs to somebody else"):
        adopt(path, backups)
    assert path.read_bytes() == TEXT
    assert backups.all_of(path) == []
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_said(path: Path, backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ConfigFile(path)
    path.parent.rename(path.parent.with_name("elsewhere"))
    with pytest.raises(UnusableError, match="cannot be written: No such file"):
        file.replace(b"{}")


def test_without_a_place_for_the_backup_nothing_is_changed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    with pytest.raises(UnusableError, match="its backup cannot be written"):
        adopt(path, Backups(tmp_path / "state" / "backups"))
    assert path.read_bytes() == TEXT


def test_what_was_edited_after_it_was_adopted_keeps_the_edits_when_it_is_undone(path: Path, backups: Backups) -> None:
    adopt(path, backups)
    edited = path.read_bytes().replace(b"}}}", b'}}, "theme": "dark"}')
    path.write_bytes(edited)
    done = undo(path, backups)
    assert path.read_bytes() == TEXT.replace(b"}}}", b'}}, "theme": "dark"}')
    assert not done.is_restored
    assert [(server.name, server.fate) for server in done.servers] == [("files", Fate.RELEASED)]
    assert backups.files() == []


def test_servers_that_come_later_are_adopted_too_and_all_are_undone(path: Path, backups: Backups) -> None:
    adopt(path, backups)
    path.write_bytes(path.read_bytes().replace(b'"mcpServers": {', b'"mcpServers": {"later": {"command": "x"}, '))
    done = adopt(path, backups)
    assert [(server.name, server.fate) for server in done.servers] == [("later", Fate.ADOPTED), ("files", Fate.KEPT)]
    assert len(backups.all_of(path)) == 2
    done = undo(path, backups)
    assert {server.name for server in done.servers} == {"later", "files"}
    assert path.read_bytes() == TEXT.replace(b'"mcpServers": {', b'"mcpServers": {"later": {"command": "x"}, ')


def test_a_trio_oplog_that_lies_elsewhere_now_takes_over_and_undoing_goes_all_the_way_back(path: Path, backups: Backups) -> None:
    adopt(path, backups, "/old/bin/trio-oplog")
    done = adopt(path, backups)
    assert [server.fate for server in done.servers] == [Fate.MOVED]
    assert PROGRAM.encode() in path.read_bytes()
    assert undo(path, backups).is_restored
    assert path.read_bytes() == TEXT


def test_a_url_comes_back_also_where_the_file_was_edited(path: Path, backups: Backups) -> None:
    path.write_bytes(WITH_URL)
    assert [server.fate for server in adopt(path, backups).servers] == [Fate.ADOPTED]
    assert b'"http://127.0.0.1:8086/mcp?key=hunter2"' in path.read_bytes()
    path.write_bytes(path.read_bytes() + b"\n")
    undo(path, backups)
    assert path.read_bytes() == WITH_URL + b"\n"


@pytest.mark.parametrize("about", [b"{", b"[]", b'{"file": 1, "urls": 2}'])
def test_damaged_notes_cost_no_backup_and_a_damaged_backup_is_not_put_back(about: bytes, path: Path, backups: Backups) -> None:
    backup = adopt(path, backups).backup
    assert backup is not None
    (backup.parent / "about.json").write_bytes(about)
    assert backups.files() == []
    adopted = path.read_bytes()
    backup.write_bytes(b"{}")
    undo(path, backups)
    assert path.read_bytes() == TEXT  # by taking wrap out of the text

    path.write_bytes(adopted)
    assert undo(path, backups).is_changed  # and where there is no backup at all
    assert path.read_bytes() == TEXT


def test_a_file_that_no_format_can_read_any_more_is_still_put_back(path: Path, backups: Backups, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_bytes(b"}")
    with backups.kept(broken, TEXT, b"}", {}):
        pass
    done = undo(broken, backups)
    assert (done.servers, done.is_restored, broken.read_bytes()) == ((), True, TEXT)


def test_two_files_that_come_to_the_same_leave_the_newer_backup(path: Path, backups: Backups) -> None:
    for text in (b'{"mcpServers": {"a": { "command": "x", "args": []}}}', b'{"mcpServers": {"a": { "command": "x"}}}'):
        path.write_bytes(text)
        adopt(path, backups)
    (backup,) = backups.all_of(path)
    assert backup.read_bytes() == b'{"mcpServers": {"a": { "command": "x"}}}'
    undo(path, backups)
    assert path.read_bytes() == b'{"mcpServers": {"a": { "command": "x"}}}'


def test_backups_that_lead_in_a_circle_are_followed_once(path: Path, backups: Backups) -> None:
    other = b'{"mcpServers": {}}'
    for before, after in ((TEXT, other), (other, TEXT)):
        with backups.kept(path, before, after, {}):
            pass
    assert not undo(path, backups).is_changed
