"""Every exception of the package.

::

    OplogError
    ├── ClientStateError(RuntimeError)    a Client is entered a second time
    ├── ConfigError(ValueError)           a value handed to a constructor is wrong
    ├── ListError                         an endpoint did not answer with a list of operations
    ├── QueryError(ValueError)            a list was asked for in a way that has no answer
    ├── SpoolError                        a spool's file cannot be used
    │   └── SpoolInUseError               another process or client has it
    ├── StoreError                        the collector's store cannot be opened, read or written
    │   └── StoreVersionError             it was written by a later version of this package
    ├── TokenFileError(ValueError)        a gateway's or collector's file of tokens cannot be used
    ├── TrioRequiredError(RuntimeError)   something that needs Trio was used under another event loop
    └── WireError(ValueError)             bytes that are no Operation

The part that was wrong is in typed fields; the sentence is in ``__str__``.  No error carries a payload, an argument or a
secret: each may be shown in a log.
"""

from __future__ import annotations


class OplogError(Exception):
    """The root of every exception that ``trio_oplog`` raises on purpose."""


class _FieldError(OplogError, ValueError):
    """One field of something is wrong: which, and what is wrong with it, as the end of a sentence."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field} {self.problem}"


class ConfigError(_FieldError):
    """A value handed to a constructor is wrong; nothing was made.

    Attributes:
        field: The name of the parameter.
        problem: What is wrong with it, as the end of a sentence.
    """


class WireError(_FieldError):
    """Bytes that should hold an Operation do not; nothing of them is kept.

    Attributes:
        field: The path of the wrong field, such as ``result_meta.outcome``; ``""`` when it is the whole document.
        problem: What is wrong with it, as the end of a sentence.  Never quotes the value.
    """

    def __str__(self) -> str:
        return super().__str__() if self.field else f"the document {self.problem}"


class QueryError(_FieldError):
    """A list of operations was asked for with a value that cannot be; nothing was looked up.

    Attributes:
        field: The name of the parameter.
        problem: What is wrong with it, as the end of a sentence.  Never quotes the value.
    """


class ListError(OplogError):
    """An endpoint did not answer with a list of operations.  Asking again is safe.

    Attributes:
        problem: What happened, as a sentence.  Never quotes what the endpoint said.
        status: The status of its answer; ``None`` when there was none.
    """

    def __init__(self, problem: str, status: int | None = None) -> None:
        super().__init__(problem, status)
        self.problem = problem
        self.status = status

    def __str__(self) -> str:
        return self.problem if self.status is None else f"{self.problem} (status {self.status})"


class StoreError(OplogError):
    """The collector's store cannot be opened, read or written.  What was to be written is not there, none of it.

    Attributes:
        problem: What is wrong with it, as a sentence, with the database's own code for it.  Never quotes a record, a
            password or the database's message, which may hold either.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


class StoreVersionError(StoreError):
    """A store was written by a later version of this package; it was not touched.

    Attributes:
        found: The version of its tables.
        supported: The latest version that this package knows.
    """

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(f"the store has tables of version {found}; this package knows {supported}: update it")
        self.found = found
        self.supported = supported


class TokenFileError(OplogError, ValueError):
    """A gateway's or a collector's file of tokens cannot be used; nobody is let in by it.

    Attributes:
        where: The part that is wrong, such as ``user_id of token 2``; ``""`` when it is the whole file.
        problem: What is wrong with it, as the end of a sentence.  Never quotes the file.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where or 'the token file'} {self.problem}"


class ClientStateError(OplogError, RuntimeError):
    """A Client was entered a second time; nothing changed."""


class TrioRequiredError(OplogError, RuntimeError):
    """Something that needs Trio was used outside of a Trio run, such as under asyncio; nothing was opened, sent or started.

    Attributes:
        what: What needs Trio, such as ``Client``.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f'{self.what} needs Trio: run the program with trio.run(...) or anyio.run(..., backend="trio")'


class SpoolError(OplogError):
    """A spool's file cannot be used; it was left as it is.

    Attributes:
        path: Which file.
        problem: What is wrong with it, as the end of a sentence.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"the spool {self.path} {self.problem}"


class SpoolInUseError(SpoolError):
    """Another process or client has the spool open; this one changed nothing."""
