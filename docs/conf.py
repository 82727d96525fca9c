"""The site: ``python -m sphinx -W -n docs docs/_build``. It is built offline; warnings are errors."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs/_ext")]

import demos  # noqa: E402
import minigrad  # noqa: E402

project = "minigrad"
author = "the authors of minigrad"
copyright = f"2026, {author}"
version = release = minigrad.__version__

extensions = ["myst_parser", "sphinx_gallery.gen_gallery", "annotated", "public", "gallery", "course", "mathml"]
extensions += ["figures", "notebooks"]
myst_enable_extensions = ["dollarmath", "deflist", "attrs_block"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "chapters", "exercises"]
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
html_search_scorer = str(ROOT / "docs/_static/scorer.js")
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"

demos_not_run = demos.APART  # the build shows them without running them

#: The course: every program of chapters/ is run, and becomes a page of course/.
sphinx_gallery_conf = {
    "examples_dirs": "chapters",
    "gallery_dirs": "course",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": ("__repr__",),
    "ignore_repr_types": r"matplotlib|<class 'list'>",  # what ax.plot and ax.set return
    "image_scrapers": ("figures.scrape",),
    "image_srcset": ["2x"],
    "css": ("sg_gallery",),
    "download_all_examples": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,  # times belong to the machine
    "show_signature": False,
}
