"""Programs from npm, the newest there are, installed once into pytest's cache; ``--cache-clear`` brings newer ones.

These tests are run by ``nox -s e2e`` (``pytest tests/e2e``); a plain ``pytest`` leaves them out, for they need npm.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.npm import install

PACKAGES = ("@modelcontextprotocol/server-everything", "@openai/codex", "@zed-industries/codex-acp")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked_for = any("e2e" in argument for argument in config.args)
    return None if asked_for else True


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Path:
    """The folder of the installed programs."""
    return install(pytestconfig, "npm", *PACKAGES) / ".bin"
