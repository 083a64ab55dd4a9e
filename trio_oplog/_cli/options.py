"""Options that several commands have.  Nothing heavy is imported here: ``wrap`` starts its server first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

SECRET_VARIABLE = "TRIO_OPLOG_SECRET"  # noqa: S105 -- the name of one
SECRET_FILE_VARIABLE = "TRIO_OPLOG_SECRET_FILE"  # noqa: S105

F = TypeVar("F", bound=Callable[..., Any])


def secret_option(command: F) -> F:
    """The option ``--secret-file``.  There is none for the secret itself: every user of the machine can see arguments."""
    return click.option(
        "--secret-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help=f"Where the endpoint's secret is; else {SECRET_VARIABLE}, else the file named by {SECRET_FILE_VARIABLE}.",
    )(command)


def workspace_option(command: F) -> F:
    """The option ``--workspace``, with one default for all commands, so that they see the same operations."""
    return click.option("--workspace", metavar="ID", default="local", show_default=True, help="Whose operations.")(command)
