"""How Sphinx builds these pages: ``nox -s docs``."""

from __future__ import annotations

import re
from enum import Enum
from importlib.metadata import version as version_of
from typing import Any

from sphinx.application import Sphinx

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


def setup(app: Sphinx) -> None:
    """Hook into autodoc, before napoleon does."""
    app.connect("autodoc-process-docstring", adapt_docstring, priority=100)
    app.connect("autodoc-process-signature", adapt_signature)
