"""Sphinx configuration. The build needs no network and treats every warning as an error."""

from __future__ import annotations

import crosstile

project = "Crosstile"
author = "The Crosstile developers"
copyright = "the Crosstile developers; Apache-2.0"
version = release = crosstile.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx-mathjax-offline"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Crosstile {release}"
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
