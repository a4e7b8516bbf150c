"""The pictures of the documents, and what README.md says was found, are made of a run by one command."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import make_pictures
import pytest
from documents import ROOT
from report_pages import compared_run

from guestbench.analysis.analyse import analyse
from guestbench.errors import UsageError
from guestbench.report.contents import compose

HEADER, RECORDS = compared_run()
FOUND = analyse(HEADER, RECORDS)
PAGE = compose(FOUND).page


def test_every_plot_becomes_a_picture_that_needs_no_other_file(tmp_path: Path) -> None:
    """A paper's figure would be empty, or would load something from where it is shown."""
    make_pictures.write_plots(PAGE, make_pictures.tell_run(FOUND), tmp_path)
    files = sorted(tmp_path.iterdir())
    assert {"boot-time-1.svg", "front-1.svg", "milestones-1.svg"} <= {file.name for file in files}
    for file in files:
        text = file.read_text()
        tree = ElementTree.fromstring(text)
        width, height = float(tree.attrib["width"]), float(tree.attrib["height"])
        assert width > 500 and 100 < height < 10_000
        told = [each.text for each in tree.iter()]
        assert make_pictures.tell_run(FOUND) in told
        # Everything lies above the lower edge, so that nothing is cut off.
        tops = [float(each.attrib["y"]) for each in tree if each.tag.endswith("svg") and "y" in each.attrib]
        assert max(tops) < height
        assert not re.search(r"""(href|src)=|url\((?!#)|@import""", text)
        # Its colours are defined in it, those of the dark scheme too.
        assert set(re.findall(r"var\((--\w+)\)", text)) <= {*re.findall(r"(--\w+):", text)}
        assert "prefers-color-scheme: dark" in text


def test_readme_gets_what_was_found_and_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The front page would tell figures of another run, or lose what is written by hand."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{make_pictures.BEGIN}\nold\n{make_pictures.END}\n\nafter\n")
    monkeypatch.setattr(make_pictures, "README", readme)
    for _ in range(2):
        text = make_pictures.tell_found(FOUND).decode()
        readme.write_text(text)
        assert text.startswith(f"before\n\n{make_pictures.BEGIN}\n") and text.endswith("\n\nafter\n")
        assert "old" not in text
        rows = [line for line in text.splitlines() if line.startswith("| `")]
        assert [row.split("`")[1] for row in rows] == list(FOUND.names)
        assert sum("times faster" in row for row in rows) == 2
        assert HEADER.run in text and f"guestbench {HEADER.tool}" in text


@pytest.mark.parametrize("text", ["no marks", f"{make_pictures.BEGIN} alone"])
def test_readme_without_marks_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file could be cut off at a mark that somebody removed."""
    readme = tmp_path / "README.md"
    readme.write_text(text)
    monkeypatch.setattr(make_pictures, "README", readme)
    with pytest.raises(UsageError):
        make_pictures.tell_found(FOUND)


def test_readme_and_its_pictures_are_of_one_run() -> None:
    """The figures beside a picture would be others than those it shows."""
    text = (ROOT / "README.md").read_text()
    (run,) = re.findall(r"(?m)^Run `([^`]+)`", text)
    assert make_pictures.BEGIN in text and make_pictures.END in text
    for name in make_pictures.WANTED:
        assert f">{run}:" in (ROOT / "docs" / "pictures" / f"{name}.svg").read_text()
    assert len(text.splitlines()) <= 50


def test_pictures_that_documents_show_are_those_that_are_made() -> None:
    """A picture would stay as it was when all others are made anew."""
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {name for file in documents for name in re.findall(r"pictures/([\w.-]+)\)", file.read_text())}
    made = {f"{name}.svg" for name in make_pictures.WANTED} | {"report.png"}
    assert shown == made == {file.name for file in (ROOT / "docs" / "pictures").iterdir()}
