"""Links and anchors of every page lead somewhere, on GitHub as on the site."""

import re

import pytest
from pages import PAGES, ROOT, anchors, folder_of, links


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in links(PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (folder_of(page) / path).resolve() if path else page_file(page)
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def page_file(page: str) -> object:
    """The file of a page."""
    return folder_of(page) / page.rpartition("/")[2]


def test_what_a_link_is() -> None:
    text = (
        "# A [b](c.md) `D.e`\n\n[x](y.md#z) ![p](q.png)\n\n```sh\n[n](o.md)\n```\n[w](https://v)\n"
    )
    assert links(text) == ["c.md", "y.md#z", "q.png"]
    assert anchors(text) == {"a-b-de"}


def test_every_page_is_in_the_navigation() -> None:
    """The site is strict about it, too; here without its tools."""
    named = set()
    for page in ("index.md", "reference/index.md"):
        folder = page.rpartition("/")[0]
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```$", PAGES[page], re.S | re.M):
            rows = [row for row in tree.splitlines() if row and not row.startswith(":")]
            entries = [re.sub(r".*<(.*)>", r"\1", row) for row in rows]
            found = (
                path for entry in entries for path in (ROOT / "docs" / folder).glob(f"{entry}.md")
            )
            named |= {path.relative_to(ROOT / "docs").as_posix() for path in found}
    assert named == set(PAGES) - {"README.md", "CONTRIBUTING.md", "index.md"}
