"""Changes the sans-IO half in small ways, and says which changes no test notices: ``python fuzz/mutation.py``.

mutmut (configured in pyproject.toml) tries each change on the tests that need no Hypothesis, which is soon done and notices most.
It switches a change on in a process that has imported the package before, so that one in what runs at import time has no effect
there.  Whatever survives is therefore tried again in a process of its own, with Hypothesis and its whole budget.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

MUTANTS = Path("mutants")
LONGEST = 300
GOAL = 0.90

CONFIGURATION = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]
TESTS = CONFIGURATION["pytest_add_cli_args_test_selection"]
LEFT_OUT = [option for option in CONFIGURATION["pytest_add_cli_args"] if option.startswith("--deselect=")]


def main() -> int:
    subprocess.run(["mutmut", "run", *sys.argv[1:]], check=True)
    every = _results("--all", "true")
    survivors = [name for name, fate in every.items() if fate not in {"killed", "timeout", "segfault"}]
    print(f"{len(survivors)} of {len(every)} survived so far; each is tried again", flush=True)
    left = []
    for name in survivors:
        if _survives(name):
            left.append(name)
            print(f"survived: {name}", flush=True)
    killed = len(every) - len(left)
    print(f"{killed} of {len(every)} killed: {killed / len(every):.1%}")
    return killed / len(every) < GOAL


def _results(*options: str) -> dict[str, str]:
    printed = subprocess.run(["mutmut", "results", *options], check=True, capture_output=True, text=True).stdout
    return dict(re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", printed, flags=re.MULTILINE))


def _survives(name: str) -> bool:
    # Its module's own tests find a survivor, if anything does, sooner than all of them.
    own = _own_tests(name)
    # What Hypothesis finds for one change it would show to the next, too: so each has a memory of its own.
    with tempfile.TemporaryDirectory() as memory:
        failed = _failed_test(name, memory, *sorted(TESTS, key=lambda test: test != own))
        if failed and _failed_test("", memory, failed):
            sys.exit(f"{failed} fails where nothing is changed, too")
    return failed is None


def _own_tests(name: str) -> str:
    """The test file of a mutant's module: the tests mirror the rooms of the package."""
    module = name.removeprefix("trio_oplog.").rpartition(".")[0]
    *rooms, last = [part.removeprefix("_") for part in module.split(".")]
    return "/".join(["tests", *rooms, f"test_{last}.py"])


def _failed_test(name: str, memory: str, *tests: str) -> str | None:
    """The first test that fails, or the file that does without saying which."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", *tests, *LEFT_OUT]
    variables = {**os.environ, "MUTANT_UNDER_TEST": name, "HYPOTHESIS_STORAGE_DIRECTORY": memory}
    try:
        ran = subprocess.run(command, cwd=MUTANTS, env=variables, check=False, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return tests[0]
    if ran.returncode == 0:
        return None
    named = re.search(r"^(?:FAILED|ERROR) ([^\s\[]+)", ran.stdout, flags=re.MULTILINE)
    return named[1] if named else tests[0]


if __name__ == "__main__":
    sys.exit(main())
