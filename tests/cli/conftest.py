"""Every program runs for a user whose folders are empty."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("TRIO_OPLOG_SECRET", "TRIO_OPLOG_SECRET_FILE", "TRIO_OPLOG_CONFIG"):
        monkeypatch.delenv(name, raising=False)
