"""``trio-oplog`` and ``python -m trio_oplog``."""

from __future__ import annotations

import sys

try:
    from trio_oplog._cli import main
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.startswith("trio_oplog"):
        raise
    sys.exit(f"trio-oplog: the command line needs {_error.name.partition('.')[0]}: pip install 'trio-oplog[cli]'")

__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name="trio-oplog")
