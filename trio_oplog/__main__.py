"""``trio-oplog`` and ``python -m trio_oplog``."""

from __future__ import annotations

import sys

from trio_oplog._tap import launch_early


def main() -> None:
    """Run the command line.  The server of ``trio-oplog wrap`` starts before it is read, where that is simple enough."""
    launched = launch_early(sys.argv[1:])
    try:
        from trio_oplog._cli import main as run  # noqa: PLC0415 -- a server starts first
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("trio_oplog"):
            raise
        sys.exit(f"trio-oplog: the command line needs {error.name.partition('.')[0]}: pip install 'trio-oplog[cli]'")
    run(prog_name="trio-oplog", obj=launched)


if __name__ == "__main__":
    main()
