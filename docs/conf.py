"""How the documentation is built: `make docs`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
# Tutorials run in processes of their own, which inherit these.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# DGL imports a progress bar for notebooks, which asks for widgets.
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))

from dgl_mutual.version import __version__  # noqa: E402  # after the path is set

project = "dgl_mutual"
author = "the dgl_mutual contributors"
project_copyright = "the dgl_mutual contributors; MIT licence"
version = release = __version__

extensions = [
    "generated_pages",
    "maths",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_ext", "README.md", "maths"]
default_role = "code"

html_theme = "furo"
html_title = f"dgl_mutual {version}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Without the converter a script from the network shows the formulas.
html_math_renderer = "mathml" if find_spec("latex2mathml") else "mathjax"

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3

# Tutorials are executed when the site is built. Outputs are kept in docs/_build until a tutorial changes; remove
# that folder to execute all of them again.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "jupyter_cache")
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 600  # seconds a cell: a guard against one that hangs, also on a busy machine
nb_merge_streams = True

toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
# These are shown as they are written.
autodoc_type_aliases = {name: name for name in ("FloatArray", "IntArray", "FeatureKind", "StudentLike", "TaskName", "Trust")}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Class attributes", "Attributes")]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
