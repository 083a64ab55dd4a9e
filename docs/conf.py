"""How Sphinx builds these pages: ``nox -s docs``."""

from __future__ import annotations

import re
import sys
from enum import Enum
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from trio_oplog._cli import main

sys.path.append(str(Path(__file__).parent))

from command_reference import PLACE, render

project = "trio_oplog"
author = "The trio_oplog authors"
copyright = author  # noqa: A001 - the name that Sphinx reads
release = version_of("trio-oplog")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_display_short_literal_types = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"trio_oplog {release}"
html_theme_options = {"navigation_with_keys": True}
html_show_sourcelink = False
pygments_style = "default"
pygments_dark_style = "monokai"


def adapt_docstring(
    _: Sphinx, what: str, _name: str, _object: object, _options: Any, lines: list[str]
) -> None:
    """Prepare a docstring before napoleon reads it."""
    if what == "module":
        # Written for who reads the source; the page has words of its own.
        lines.clear()
    # Napoleon takes what stands before a colon for a type; the signature has the types.
    if "Returns:" in lines:
        start = lines.index("Returns:")
        lines[start : start + 2] = [":returns:", *lines[start + 1 : start + 2]]


def adapt_signature(
    _app: Sphinx,
    what: str,
    _name: str,
    subject: Any,
    _options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Leave out what nobody calls, and name the functions that are defaults."""
    if what == "class" and (
        getattr(subject, "_is_protocol", False) or issubclass(subject, Enum)
    ):
        return "", None
    name_alone = r"<(?:built-in )?function (\w+)[^>]*>"
    return signature and re.sub(name_alone, r"\1", signature), returns


def write_commands(_: Sphinx, page: str, source: list[str]) -> None:
    """Put the reference of the commands into its page."""
    if page == "commands":
        before, _place, after = source[0].partition(PLACE)
        source[0] = before + render(main) + after


def always_anew(*_: Any) -> list[str]:
    """Name the pages that may have to change although their files have not."""
    return ["commands"]


def setup(app: Sphinx) -> None:
    """Hook into Sphinx, and into autodoc before napoleon does."""
    app.connect("env-get-outdated", always_anew)
    app.connect("source-read", write_commands)
    app.connect("autodoc-process-docstring", adapt_docstring, priority=100)
    app.connect("autodoc-process-signature", adapt_signature)
