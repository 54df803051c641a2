"""How Sphinx builds the site: ``make site``."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import gallery  # noqa: E402

project = "numbarank"
copyright = "the numbarank developers, MIT licence"
release = version = re.search(r'__version__ = "(.+)"', (ROOT / "numbarank/__init__.py").read_text())[1]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
myst_enable_extensions = ["dollarmath", "fieldlist"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

# signatures without types: these stand in the lists of parameters, and a phone has little room
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autosummary_generate = False
numpydoc_show_class_members = False
nitpick_ignore_regex = [("py:.*", r"(torch|numpy|dask)\..*")]  # other packages' pages are not looked up in a build

html_theme = "furo"
html_title = f"numbarank {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = html_copy_source = html_show_sourcelink = html_use_index = html_domain_indices = False
smartquotes = False  # names of settings are in quotes
templates_path, exclude_patterns = [], ["_static", "*.py"]
source_suffix = {".md": "markdown", ".py": "markdown"}  # examples/*.py: gallery.py makes Markdown of them
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"

QUOTE = re.compile(r"^See \[(\w+\.md)\]\(\.\./\1\)(?:: (.+))?\.$", re.MULTILINE)
LINKS = {
    "](docs/": "](",
    "](../README.md": "](install.md",
    "](CONTRIBUTING.md": "](contributing.md",
    "](CHANGELOG.md": "](changelog.md",
    "](SECURITY.md": "](security.md",
    "](CITATION.cff": "](../CITATION.cff",
    "](LICENSE": "](../LICENSE",
    "](../tests/": "](path:../tests/",  # not a page, although a script
}


def setup(app):
    app.connect("source-read", read_source)
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def read_source(app, name, source):
    """Put the files that stand above docs/, or sections of them, where a line points to them; turn links to pages."""
    path = app.env.doc2path(name)
    if path.suffix == ".py":
        for file in (ROOT / "numbarank").rglob("*.py"):
            app.env.note_dependency(str(file))
        source[0] = gallery.page(path, app.doctreedir / "examples-run")
    if path.suffix != ".md":
        return

    def quoted(found):
        app.env.note_dependency(str(ROOT / found[1]))
        text = (ROOT / found[1]).read_text()
        if found[2] is None:
            return text.split("\n", 1)[1]  # the page has a title of its own
        sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", text, re.MULTILINE))
        return "\n".join(f"## {title}\n{sections[title]}" for title in found[2].split(", "))

    text = QUOTE.sub(quoted, source[0])
    for before, after in LINKS.items():
        text = text.replace(before, after)
    source[0] = text.replace("\n\n```\n", "\n```\n")  # the empty line is for doctest


def inline_formula(writer, node):
    formula(writer, node, as_block=False)


def displayed_formula(writer, node):
    formula(writer, node, as_block=True)


def formula(writer, node, as_block):
    """Write MathML: browsers typeset it without a script or a font from elsewhere."""
    from docutils import nodes
    from docutils.utils.math.latex2mathml import tex2mathml

    element = tex2mathml(node.astext(), as_block=as_block)
    writer.body.append(f'<div class="formula">{element}</div>\n' if as_block else element)
    raise nodes.SkipNode
