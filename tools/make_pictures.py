"""Makes what the documents show of a run anew: `make_pictures.py RUN`; `make pictures RUN=…` also STACK.md.

These are the pictures in docs/pictures, one of them the report as Chromium shows it, and what README.md says
was found. `--plots DIR` writes every plot of the report as an SVG file instead, and nothing of the project.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import click

from guestbench.analysis.analyse import analyse
from guestbench.analysis.findings import Findings
from guestbench.cli.talk import fail
from guestbench.errors import GuestbenchError, UsageError
from guestbench.host import process
from guestbench.page.blocks import Block, Code, Details, Figure, Page, Paragraph, Section, Table
from guestbench.page.plots import Icicle
from guestbench.report import replace_file
from guestbench.report.contents import compose
from guestbench.report.front import tabulate_front, tell_marks
from guestbench.report.html import ASSETS, render_html
from guestbench.report.markdown import render_blocks
from guestbench.report.svg import draw_plot, draw_sample, fills
from guestbench.report.tags import Html, tag
from guestbench.run.store import read_store

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PICTURES = ROOT / "docs" / "pictures"
WANTED = {"boots": "boot-time", "ratios": "front"}
"""What a picture of the documents is called, and the section of the report whose first figure it shows."""
CHROMIUM = ("--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu")
COLUMNS = 5
"""Of figures in README.md: images, boots, instructions and memory."""
SCREEN = "1200,1000"
"""The window in which the report is shown."""
BEGIN, END = "<!-- found: begin; tools/make_pictures.py writes it -->", "<!-- found: end -->"
WIDTH, EDGE, LINE, LETTER = 860, 24, 22, 7.5
"""Pixels: of a picture's width, around what it shows, of a line of a legend, and of a letter in it."""
SAMPLE = 32
"""Pixels from the start of a sample of a legend to its name."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
HEADING = "text.heading { font-size: 16px; }"


def find_figures(page: Page) -> Iterator[tuple[str, Figure]]:
    """The figures of a report, each with the id of its section; `front` are those before the first."""

    def walk(name: str, blocks: Iterable[Block]) -> Iterator[tuple[str, Figure]]:
        for block in blocks:
            if isinstance(block, Figure):
                yield name, block
            elif isinstance(block, Details):
                yield from walk(name, block.blocks)

    def walk_sections(sections: Iterable[Section]) -> Iterator[tuple[str, Figure]]:
        for each in sections:
            yield from chain(walk(each.id, each.blocks), walk_sections(each.parts))

    yield from chain(walk("front", page.blocks), walk_sections(page.sections))


def draw_figure(figure: Figure, note: str) -> bytes:
    """The plots of a figure with title and legend, as an SVG file that needs no other; light and dark."""
    parts, top = [tag("text", figure.title, x=EDGE, y=32, class_="name heading")], 44
    for plot in figure.plots:
        drawn, left = draw_plot(plot), EDGE
        for mark, name in plot.legend:
            width = SAMPLE + round(LETTER * len(name)) + 16
            if left + width > WIDTH - EDGE:
                left, top = EDGE, top + LINE
            parts.append(tag("svg", draw_sample(mark), x=left, y=top, width=24, height=14))
            parts.append(tag("text", name, x=left + SAMPLE, y=top + 12))
            left += width
        top += LINE + 4 if plot.legend else 0
        image = Html(drawn[drawn.index("<svg") : drawn.rindex("</svg>") + len("</svg>")])
        height = round(float(re.findall(r'height="([\d.]+)"[^>]* class="plot"', image)[0]))
        parts.append(tag("svg", image, x=EDGE, y=top, width=WIDTH - 2 * EDGE, height=height))
        top += height + 14
    parts.append(tag("text", note, x=EDGE, y=top + 14, class_="note"))
    height = top + 32
    style = Html(f"<style><![CDATA[{(ASSETS / 'report.css').read_text('utf-8')}{HEADING}]]></style>")
    paper = tag("rect", width=WIDTH, height=height, fill="var(--paper)")
    return tag(
        "svg", style, fills(), paper, *parts, xmlns="http://www.w3.org/2000/svg", role="img",
        aria_label=figure.title, width=WIDTH, height=height, viewBox=f"0 0 {WIDTH} {height}",
        font_family=FONT, font_size=13,
    ).encode() + b"\n"  # fmt: skip


def tell_run(found: Findings) -> str:
    """Which run it was, in a line."""
    header = found.header
    boots = f"{header.experiment.cycles} boots of each"
    machine = f"{header.host.cpu_model}, {header.vmm} {header.host.vmm_version.split()[0]}"
    return f"{header.run}: {boots}, {machine}, {header.accel.used.value}, guestbench {header.tool}"


def write_plots(page: Page, note: str, folder: Path) -> None:
    """Every plot that needs no script, as a file that is named by its section."""
    folder.mkdir(parents=True, exist_ok=True)
    counted: dict[str, int] = {}
    for name, figure in find_figures(page):
        if figure.plots and not any(isinstance(plot, Icicle) for plot in figure.plots):
            counted[name] = counted.get(name, 0) + 1
            path = folder / f"{name}-{counted[name]}.svg"
            replace_file(path, draw_figure(figure, note))
            click.echo(path)


def make_pictures(page: Page, note: str) -> dict[Path, bytes]:
    """The pictures of the documents, by their files."""
    figures, made = [*find_figures(page)], {}
    for name, section in WANTED.items():
        figure = next((each for where, each in figures if where == section and each.plots), None)
        if figure is None:
            raise UsageError(f"the run has nothing to show in {name}.svg", "make compare")
        made[PICTURES / f"{name}.svg"] = draw_figure(figure, note)
    return {**made, PICTURES / "report.png": take_picture(page)}


def take_picture(page: Page) -> bytes:
    """The first screen of a report as Chromium shows it, as PNG."""
    with tempfile.TemporaryDirectory() as folder:
        report, picture = Path(folder) / "report.html", Path(folder) / "report.png"
        report.write_text(render_html(page), "utf-8")
        where = (f"--user-data-dir={folder}/profile", f"--screenshot={picture}", f"--window-size={SCREEN}")
        process.run(["chromium", *CHROMIUM, *where, report.as_uri()], timeout_s=300)
        return picture.read_bytes()


def tell_found(found: Findings) -> bytes:
    """README.md with what was found between its two marks.

    Raises:
        UsageError: there are no such marks, or there is nothing to tell.
    """
    text = README.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"README.md has no lines {BEGIN!r} and {END!r}", "grep -n found: README.md")
    front = tabulate_front(found)
    if not found.comparisons:
        raise UsageError("the run compares nothing", "make compare")
    # Without the count of verdicts, and no more than a page shows side by side.
    head, *rows = (tuple(row[:1] + row[2 : 2 + COLUMNS]) for row in (front.head, *front.rows))
    told = Table(head, tuple(rows), 1)
    marks = Paragraph(
        (("Against ", Code(found.header.experiment.baseline or ""), f": {tell_marks(found)}."),)
    )
    about = Paragraph(
        (("Run ", Code(found.header.run), tell_run(found).removeprefix(found.header.run), "."),)
    )
    return f"{before}{BEGIN}\n\n{render_blocks((told, marks, about))}\n\n{END}{after}".encode()


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--plots", type=click.Path(path_type=Path), metavar="DIR", help="Write every plot into DIR instead."
)
def command(folder: Path, plots: Path | None) -> None:
    """Make the pictures of the documents of the run in folder RUN, and what README.md says was found."""
    found = analyse(*read_store(folder))
    page, note = compose(found).page, tell_run(found)
    if plots is not None:
        write_plots(page, note, plots)
        return
    # All is made before any of it is written.
    for path, content in {README: tell_found(found), **make_pictures(page, note)}.items():
        replace_file(path, content)
        click.echo(path)


if __name__ == "__main__":
    try:
        command(standalone_mode=False)
    except click.ClickException as wrong:
        fail([wrong.format_message()], "make help")
        sys.exit(UsageError.exit_code)
    except GuestbenchError as wrong:
        fail(wrong.messages, wrong.hint)
        sys.exit(wrong.exit_code)
