"""The rooms of the package keep apart: who may import what.  Read from the source, so that no import hides in a function."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import trio_oplog

PACKAGE = Path(trio_oplog.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PRIVATE_ROOMS = ("_recording", "_delivery", "_otlp", "_metrics", "_listing", "_serving", "_tap", "_client_config")
# What a room must not import, because it is none of its business.
FORBIDDEN = {
    "_recording": ("trio", "httpx", "anyio", "trio_oplog._delivery", "trio_oplog._listing"),
    "_delivery": (
        "trio_oplog._recording.dialects",
        "trio_oplog._otlp",
        "trio_oplog._metrics",
        "trio_oplog._listing",
        "trio_oplog.collector",
    ),
    # The metrics have OTLP's names and attributes; OTLP knows nothing of who uses them.
    "_otlp": ("trio", "trio_oplog._metrics", "trio_oplog._listing", "trio_oplog.collector", "trio_oplog.gateway"),
    "_metrics": ("trio_oplog._listing", "trio_oplog.collector"),
    "_listing": ("trio_oplog._delivery", "trio_oplog.collector"),
    "_serving": (
        *("httpx", "starlette", "anyio", "trio_oplog._operation", "trio_oplog._recording", "trio_oplog._delivery"),
        *("trio_oplog._listing", "trio_oplog.collector", "trio_oplog.gateway"),
    ),
    "_client_config": ("trio", "click", "rich", "trio_oplog._cli", "trio_oplog._tap", "trio_oplog._recording"),
    "collector": ("trio_oplog._delivery", "trio_oplog.Client"),
}


def as_name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(module: str) -> str | None:
    """The room of a dotted module name: the folder below the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else None


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a module imports from, and each name that may be a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=as_name)
def test_a_private_room_is_entered_by_its_front_door_only(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0]
    for name in imports(path):
        room = room_of(name) if name.startswith("trio_oplog.") else None
        if room in PRIVATE_ROOMS and room != own:
            inner = PACKAGE.joinpath(*name.split(".")[1:])
            is_module = inner.with_suffix(".py").exists() or (inner.is_dir() and len(name.split(".")) > 2)
            exported = name.rpartition(".")[2] in vars(importlib.import_module(f"trio_oplog.{room}")).get("__all__", ())
            assert not is_module or exported, f"{as_name(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=as_name)
def test_a_room_imports_nothing_that_is_none_of_its_business(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0]
    for name in imports(path):
        for forbidden in FORBIDDEN.get(own, ()):
            assert name != forbidden, f"{as_name(path)} imports {name}"
            assert not name.startswith(f"{forbidden}."), f"{as_name(path)} imports {name}"


def test_no_room_imports_one_that_imports_it() -> None:
    rooms: dict[str, set[str]] = {}
    for path in MODULES:
        own = path.relative_to(PACKAGE).parts[0]
        if (PACKAGE / own).is_dir():
            found = {room_of(name) for name in imports(path) if name.startswith("trio_oplog.")}
            rooms.setdefault(own, set()).update(room for room in found if room not in (None, own))
    TopologicalSorter(rooms).prepare()  # raises CycleError, which names the rooms


@pytest.mark.parametrize(("module", "allowed"), [("__main__", set()), ("_cli.wrap", {"click"})])
def test_what_starts_a_server_imports_nothing_heavy_before(module: str, allowed: set[str]) -> None:
    program = f"import sys; before = set(sys.modules); import trio_oplog.{module}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert imported - set(sys.stdlib_module_names) - {"trio_oplog"} == allowed
    assert not imported & {"asyncio", "subprocess", "ssl", "json", "http", "email"}


def test_every_public_name_is_there_and_shown_before_it_is_imported() -> None:
    program = (
        "import sys, trio_oplog\n"
        "assert 'trio' not in sys.modules and set(trio_oplog.__all__) <= set(dir(trio_oplog))\n"
        "print(*(name for name in trio_oplog.__all__ if not hasattr(trio_oplog, name)))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert set(trio_oplog.__all__) <= set(dir(trio_oplog))
    with pytest.raises(AttributeError, match="no attribute 'Courier'"):
        _ = trio_oplog.Courier  # type: ignore[attr-defined]


def test_what_makes_operations_knows_neither_trio_nor_http() -> None:
    program = (
        "import sys; sys.modules['trio'] = sys.modules['httpx'] = None\n"
        "import importlib.util, types\n"
        f"package = types.ModuleType('trio_oplog'); package.__path__ = [{str(PACKAGE)!r}]\n"
        "sys.modules['trio_oplog'] = package\n"
        "import trio_oplog._recording as recording\n"
        "print(recording.Interceptor.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("Interceptor", "")
