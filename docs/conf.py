"""Sphinx's settings. `make docs` builds build/docs/index.html; warnings are errors.

TensorFlow is imported, not mocked: the table of the zoo counts real networks.
"""
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


project = "polysed_keras"
author = copyright = "the polysed_keras authors"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser", "sphinx_copybutton",
              "generated"]
smartquotes = False
default_role = "py:obj"  # `name` in a docstring is code, and a link where there is such a name

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True  # NAME, not the value that it has
add_module_names = False
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

copybutton_exclude = ".linenos, .gp, .go"  # prompts and outputs of doctests

myst_heading_anchors = 3
highlight_language = "none"

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["own.css"]
html_copy_source = False
