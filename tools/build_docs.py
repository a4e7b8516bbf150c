"""Builds the documentation as a site, strictly: `build_docs.py FOLDER`. It asks nothing of the network.

The pages are the project's documents with their paths as they are, so that a link holds in the site as it
does in the repository. README.md is the front page; the lists of links in docs/README.md say what else there
is, and in which order; the reference is made of what the program says of itself.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from posixpath import normpath

from reference import write_pages
from sphinx.cmd.build import main as run_sphinx

ROOT = Path(__file__).parents[1]
COPIED = ("docs", "examples", "templates", "action.yml", "LICENSE")
"""What documents link to, besides the documents in the project's folder."""
OPTIONS = ("--fail-on-warning", "--keep-going", "--quiet", "--fresh-env", "--builder", "html")


def lay_out(folder: Path) -> None:
    """Put all that Sphinx reads into an empty folder."""
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    for file in ROOT.glob("*.md"):
        shutil.copy(file, folder)
    (folder / "README.md").rename(folder / "index.md")
    with (folder / "index.md").open("a") as front:
        front.write(make_contents((folder / "docs" / "README.md").read_text()))
    pages = write_pages()
    for name, text in pages.items():
        (folder / "docs" / "reference" / f"{name}.md").write_text(text)
    with (folder / "docs" / "reference" / "README.md").open("a") as index:
        index.write(list_pages("", pages))


def make_contents(listing: str) -> str:
    """Contents of the site: each list of links below a heading, as Sphinx wants it told."""
    parts = re.split(r"(?m)^## (.*)$", listing)
    groups = zip(parts[1::2], parts[2::2], strict=True)
    found = {title: re.findall(r"(?m)^- \[.*?\]\((\S+?)\.md\)", links) for title, links in groups}
    found[next(reversed(found))].append("README")
    return "".join(
        list_pages(f":hidden:\n:caption: {title}\n", names, "docs/") for title, names in found.items()
    )


def list_pages(options: str, names: Iterable[str], below: str = "") -> str:
    """Sphinx's list of pages that belong below this one."""
    lines = "\n".join(normpath(f"{below}{name}") for name in names)
    return f"\n```{{toctree}}\n{options}\n{lines}\n```\n"


def run_strictly(source: Path, folder: Path) -> int:
    """Build what is laid out in `source` into `folder`; the exit status of Sphinx, 1 if it warns."""
    doctrees = folder.with_name(f"{folder.name}-doctrees")
    where = ("--conf-dir", str(source / "docs"), "--doctree-dir", str(doctrees), str(source), str(folder))
    status: int = run_sphinx([*OPTIONS, *where])
    return status


def build(folder: Path) -> int:
    """Build the site into `folder`, with what it is made of beside it; the exit status of Sphinx."""
    source = folder.with_name(f"{folder.name}-source")
    for each in (folder, source):
        shutil.rmtree(each, ignore_errors=True)
    source.mkdir(parents=True)
    lay_out(source)
    return run_strictly(source, folder)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    status = build(target)
    print(target / "index.html" if status == 0 else "the site was not built: see above")
    sys.exit(status)
