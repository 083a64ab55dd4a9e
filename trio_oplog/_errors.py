"""Every exception of the package.

::

    OplogError
    ├── ConfigError(ValueError)   a value handed to a constructor is wrong
    └── WireError(ValueError)     bytes that are no Operation

The part that was wrong is in typed fields; the sentence is in ``__str__``.  No error carries a payload, an argument or a
secret: each may be shown in a log.
"""

from __future__ import annotations


class OplogError(Exception):
    """The root of every exception that ``trio_oplog`` raises on purpose."""


class ConfigError(OplogError, ValueError):
    """A value handed to a constructor is wrong; nothing was made.

    Attributes:
        field: The name of the parameter.
        problem: What is wrong with it, as the end of a sentence.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field} {self.problem}"


class WireError(OplogError, ValueError):
    """Bytes that should hold an Operation do not; nothing of them is kept.

    Attributes:
        field: The path of the wrong field, such as ``result_meta.outcome``; ``""`` when it is the whole document.
        problem: What is wrong with it, as the end of a sentence.  Never quotes the value.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field} {self.problem}" if self.field else f"the document {self.problem}"
