"""How the reading copy is built; ``workflow/book.py`` sets what differs from study to study."""

project = "Are pretrained audio representations any good for recommending music?"
author = ""
html_show_copyright = False
html_show_sphinx = False
language = "en"

extensions = ["myst_nb", "sphinxcontrib.bibtex"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_mode = "off"  # the copies were executed by the workflow
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # outputs hold tables
nb_ipywidgets_js = {}  # it would be loaded from the network
myst_enable_extensions = []  # no formulas between dollar signs: MathJax would be loaded from the network
myst_heading_anchors = 4
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

html_theme = "sphinx_book_theme"
html_css_files = ["book.css"]
html_favicon = "static/mark.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "home_page_in_toc": False,
    "navbar_persistent": [],  # the sidebar has the search field
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "toc_title": "On this page",
    "use_fullscreen_button": False,
    "use_sidenotes": False,
}
html_domain_indices = False
html_use_index = False
