"""``python -m benchmarks [NAME…]``: print the tables; exit 1 when a promise is not kept."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys

NAMES = ["tap", "delivery", "imports", "gateway"]


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"which of {', '.join(NAMES)}; default all"
    )
    names = parser.parse_args().names or NAMES
    print(f"Python {platform.python_version()} on {platform.machine()}; value, baseline, ratio")
    kept = [importlib.import_module(f"benchmarks.{name}").run() for name in names]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
