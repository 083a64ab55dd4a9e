"""``python -m benchmarks [NAME…]``: print the tables.  A goal that is missed is marked, and fails nothing: machines are busy."""

from __future__ import annotations

import argparse
import importlib
import platform

NAMES = ["tap", "delivery", "otlp", "imports", "gateway", "http", "start", "store", "page"]


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"which of {', '.join(NAMES)}; default all"
    )
    names = parser.parse_args().names or NAMES
    print(f"Python {platform.python_version()} on {platform.machine()}; value, baseline, ratio")
    for name in names:
        importlib.import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
