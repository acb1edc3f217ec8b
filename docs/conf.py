"""Sphinx settings: MyST pages, the paper cards included, the reference made from docstrings."""

import importlib
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import mmseg_papers  # noqa: E402  (from this checkout)

project = "mmseg-papers"
author = "the mmseg-papers authors"
release = version = mmseg_papers.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"mmseg-papers {release}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_typehints = "none"  # the docstrings have types and shapes
autodoc_member_order = "bysource"
napoleon_use_rtype = False
napoleon_use_ivar = True

# The notebook is kept without outputs and run whenever its cells have changed.
nb_execution_mode = "cache"
nb_execution_timeout = 1800  # seconds a cell, for busy machines
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "remove"

#: Packages with a page in the reference.
PACKAGES = (
    "apis",
    "checkpoints",
    "datasets",
    "engine",
    "models.backbones",
    "models.decode_heads",
    "models.layers",
    "models.losses",
    "models.necks",
    "models.segmentors",
    "ops",
)

#: A name in code type, or a call of it -> what it links to. Single plain words stay plain.
TARGETS = {
    shorter: f"mmseg_papers.{package}.{name}"
    for package in PACKAGES
    for name in importlib.import_module(f"mmseg_papers.{package}").__all__
    for shorter in (name, f"{package}.{name}", f"mmseg_papers.{package}.{name}")
    if not re.fullmatch("[a-z]+", shorter)
}
CARD = re.compile(r"\]\((?:\.\./)+(?:configs/)?(\w+)(?:/README\.md)?(#[\w-]+)?\)")


def link_pages_of_papers(*event) -> None:
    """Turn links to a paper's card, right where the card lies, into links to its page here."""

    def to_page(link: re.Match) -> str:
        paper, anchor = link.groups()
        is_card = (ROOT / "configs" / paper / "README.md").is_file()
        return f"](/papers/{paper}.md{anchor or ''})" if is_card else link[0]

    content = event[-1]
    content[0] = CARD.sub(to_page, content[0])


class LinkNames(SphinxTransform):
    """Link names in code type, such as ``CPHead`` or ``ops.affinity_loss``, to the reference."""

    default_priority = 5

    def apply(self, **kwargs) -> None:
        """Put the literals of a document into links."""
        for literal in list(self.document.findall(nodes.literal)):
            name = re.fullmatch(r"([\w.]+)(\(.*\))?", literal.astext())
            is_linked = isinstance(literal.parent, (nodes.reference, addnodes.pending_xref))
            if name is None or is_linked or name[1] not in TARGETS:
                continue
            link = addnodes.pending_xref(
                refdomain="py",
                reftype="obj",
                reftarget=TARGETS[name[1]],
                refdoc=self.env.docname,
                refexplicit=True,
            )
            literal.replace_self(link)
            link += literal


def setup(app: Sphinx) -> None:
    """Register what is above."""
    app.connect("source-read", link_pages_of_papers)
    app.connect("include-read", link_pages_of_papers)
    app.add_transform(LinkNames)
