"""Settings of the site that `make docs` builds: Sphinx, MyST for Markdown, the theme furo.

Whatever is wrong is an error there (-W): a page that no list names, a link or an anchor that leads
nowhere, a name of the reference that is gone. Nothing of the site comes from another host.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from vlp_fast import __version__

project = "vlp_fast"
author = "the authors of vlp_fast"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "building.docstrings"]
exclude_patterns = ["building"]

# Headings get the anchors that they have on GitHub, so that one link serves both.
myst_heading_anchors = 3

# The reference: signatures with the types of the source, members in its order.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
default_role = "code"
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"vlp_fast {release}"
html_static_path = ["building/style"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
