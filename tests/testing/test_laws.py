"""The laws are written down for people as they are checked."""

from __future__ import annotations

import re
from pathlib import Path

from trio_oplog.testing import Law, LawBroken

PAGE = Path(__file__).parents[2] / "docs" / "laws.md"


def test_the_documentation_has_every_law_in_the_words_of_the_check() -> None:
    written = dict(re.findall(r"^`([A-Z_]+)`\n: (.*)$", PAGE.read_text().replace(r"\*", "*"), flags=re.MULTILINE))
    assert written == {law.name: law.value for law in Law}


def test_an_error_says_which_law_and_what_was_seen() -> None:
    broken = LawBroken(Law.NULL_ERROR, "it was seen")
    assert isinstance(broken, AssertionError)
    assert (broken.law, broken.detail) == (Law.NULL_ERROR, "it was seen")
    assert str(broken) == "broken law NULL_ERROR: an error that is null is no error\nit was seen"
