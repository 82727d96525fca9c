"""The site: ``python -m sphinx -W -n docs docs/_build``. It is built offline; warnings are errors."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs/_ext")]

import minigrad  # noqa: E402

project = "minigrad"
author = "the authors of minigrad"
copyright = f"2026, {author}"
version = release = minigrad.__version__

extensions = ["myst_parser", "annotated", "public", "gallery", "mathml"]
myst_enable_extensions = ["dollarmath", "deflist", "attrs_block"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "literal"  # numpydoc writes `name` for a parameter
nitpicky = True
smartquotes = False  # they would mend w', --quick and (..., c)

autodoc_typehints = "none"  # docstrings say it with shapes
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "minigrad"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"

#: Demos that the build shows without running them, and why.
demos_not_run = {
    "cifar10": "it needs CIFAR-10, which is fetched first",
    "gpu": "it needs a GPU",
    "classify_photo": "it needs the weights of a trained net, which are fetched first",
}
