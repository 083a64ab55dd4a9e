"""Packages from npm, for the tests that are run only when asked for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest


def install(config: pytest.Config, name: str, *packages: str, options: tuple[str, ...] = ()) -> Path:
    """The folder ``node_modules`` with these packages, installed once into pytest's cache under this name."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("these tests need npm, and there is none on PATH")
    folder = Path(str(config.cache.mkdir(name)))  # type: ignore[union-attr]
    modules = folder / "node_modules"
    if not all((modules / re.sub(r"(?<=.)@.*", "", package)).exists() for package in packages):
        command = [npm, "install", *options, "--no-audit", "--no-fund", "--prefix", str(folder), *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"npm could not install {', '.join(packages)}:\n{done.stderr}")
    return modules
