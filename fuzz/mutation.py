"""Changes the sans-IO half in small ways, and says which changes no test notices: ``python fuzz/mutation.py``.

mutmut (configured in pyproject.toml) switches each change on in a process that has imported the package before, so that a change
in what runs at import time has no effect there.  Whatever survives is therefore tried again in a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

MUTANTS = Path("mutants")
# Each module's own tests find a survivor, if anything does, sooner than all of them.
TESTS = ("test_json", "test_envelope", "test_limits", "test_operation", "test_wire", "test_interceptor", "test_captures")
LONGEST = 300
GOAL = 0.90


def main() -> int:
    subprocess.run(["mutmut", "run", *sys.argv[1:]], check=True)
    every = _results("--all", "true")
    survivors = [name for name, fate in every.items() if fate not in {"killed", "timeout", "segfault"}]
    left = [name for name in survivors if _survives(name)]
    killed = len(every) - len(left)
    for name in left:
        print(f"survived: {name}")
    print(f"{killed} of {len(every)} killed: {killed / len(every):.1%}")
    return killed / len(every) < GOAL


def _results(*options: str) -> dict[str, str]:
    printed = subprocess.run(["mutmut", "results", *options], check=True, capture_output=True, text=True).stdout
    return dict(re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", printed, flags=re.MULTILINE))


def _survives(name: str) -> bool:
    tests = [f"tests/{test}.py" for test in TESTS]
    own = f"tests/test{name.removeprefix('trio_oplog.').split('.')[0]}.py"
    command = [sys.executable, "-m", "pytest", "-x", "-q", *sorted(tests, key=lambda test: test != own)]
    try:
        ran = subprocess.run(
            command, cwd=MUTANTS, env={**os.environ, "MUTANT_UNDER_TEST": name}, check=False, capture_output=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return False
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
