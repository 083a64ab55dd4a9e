"""One Submitter that feeds several."""

from __future__ import annotations

import logging
from typing import Final

from trio_oplog._errors import ConfigError
from trio_oplog._operation import Operation, Submitter

_logger: Final = logging.getLogger("trio_oplog")


class Tee:
    """Hands every operation to several Submitters, in order; one that raises does not touch the others.

    Made by ``tee()``.
    """

    def __init__(self, submitters: tuple[Submitter, ...]) -> None:
        self._submitters = submitters
        self._errors = [0] * len(submitters)

    @property
    def errors(self) -> tuple[int, ...]:
        """How often each Submitter raised, in the order in which they were given."""
        return tuple(self._errors)

    def submit(self, operation: Operation, /) -> None:
        """Hand one operation to each; never raises.

        Args:
            operation: What to hand on.
        """
        for place, submitter in enumerate(self._submitters):
            try:
                submitter.submit(operation)
            except Exception as error:  # noqa: BLE001 -- a Submitter must not raise; one that does pays for it alone
                count = self._errors[place] = self._errors[place] + 1
                if count & (count - 1) == 0:  # at powers of two, as a broken one breaks each time
                    # The message is left out: it may quote the operation.
                    _logger.warning("submitter %d of a tee raised %s (%d times)", place, type(error).__name__, count)


def tee(*submitters: Submitter) -> Tee:
    """Make one Submitter that feeds several.

    Args:
        submitters: At least one.

    Raises:
        ConfigError: There is none, or one of them has no ``submit()``.
    """
    if not submitters or not all(callable(getattr(submitter, "submit", None)) for submitter in submitters):
        raise ConfigError("submitters", "must be one or more objects with a submit() method")
    return Tee(submitters)
