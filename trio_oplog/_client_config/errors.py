"""Why a file is left alone."""

from __future__ import annotations


class UnusableError(Exception):
    """A file is left as it is; the message says why, as the end of a sentence, and quotes nothing of what is in it."""
