"""Documents: links lead somewhere, and the page of sites names every site."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from reference.model import Transformer, TransformerConfig
from reference.quantize.graph import trace
from reference.quantize.sites import enumerate_sites

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), link


def test_the_page_of_sites_names_every_site() -> None:
    text = (ROOT / "docs" / "scheme.md").read_text()
    names = re.findall(r"`([a-zA-Z_.*]+)`", text.split("## Sites")[1])
    model = Transformer(TransformerConfig(vocabulary_size=8, d_model=8, n_heads=1, d_head=4, d_ff=8))
    endings = {name.rsplit(".", 1)[-1] for name in names}
    for site in enumerate_sites(trace(model)):
        assert site.rsplit(".", 1)[-1] in endings or any(fnmatchcase(site, name) for name in names), site
