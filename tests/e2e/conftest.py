"""Programs from npm, the newest there are, installed once into pytest's cache; ``--cache-clear`` brings newer ones.

These tests are run by ``nox -s e2e`` (``pytest tests/e2e``); a plain ``pytest`` leaves them out, for they need npm.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = ("@modelcontextprotocol/server-everything", "@openai/codex", "@zed-industries/codex-acp")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked_for = any("e2e" in argument for argument in config.args)
    return None if asked_for else True


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Path:
    """The folder of the installed programs."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("the end-to-end tests need npm, and there is none on PATH")
    folder = Path(str(pytestconfig.cache.mkdir("npm")))  # type: ignore[union-attr]
    binaries = folder / "node_modules" / ".bin"
    if not all((folder / "node_modules" / package).exists() for package in PACKAGES):
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"npm could not install {', '.join(PACKAGES)}:\n{done.stderr}")
    return binaries
