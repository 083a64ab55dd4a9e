"""How Sphinx builds these pages: ``nox -s docs``."""

from importlib.metadata import version as version_of

project = "trio_oplog"
author = "The trio_oplog authors"
copyright = author  # noqa: A001 - the name that Sphinx reads
release = version_of("trio-oplog")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_display_short_literal_types = True
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
