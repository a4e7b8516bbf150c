"""How Sphinx makes a site of the documents; `tools/build_docs.py` calls it, and lays out what it reads."""

from guestbench import __version__

project = "guestbench"
version = release = __version__
html_title = f"guestbench {__version__}"

extensions = ["myst_parser"]
root_doc = "index"
# Every link to a heading is checked.
myst_heading_anchors = 4
nitpicky = True
# Options begin with two hyphens, and quotes may have to be typed.
smartquotes = False

html_theme = "furo"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
