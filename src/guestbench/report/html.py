"""Renders a run as `report.html`: one file with everything in it, which asks for nothing and runs offline.

Its text is that of `comparison_results.md`, converted; plots are put in below the headings they belong to.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from guestbench.model import Header, Record
from guestbench.page.svg import fills
from guestbench.report.blocks import MAIN, Heading, convert
from guestbench.report.findings import Findings
from guestbench.report.plots.boots import boot_timeline, every_boot
from guestbench.report.plots.images import image_sizes
from guestbench.report.plots.memory import least_memory, memory_over_time
from guestbench.report.plots.ratios import ratio_forest
from guestbench.report.tags import EMPTY, Html, tag

TEMPLATES = Path(__file__).parent / "templates"
FORBIDDEN = "default-src 'none'; base-uri 'none'; form-action 'none'"


def render_html(header: Header, records: Sequence[Record], findings: Findings, markdown: str) -> str:
    """The whole report as one page; `markdown` is what `render_markdown` made of the same run."""
    plots = draw_plots(header, records, findings)

    def put_plots(heading: Heading) -> Html:
        # The title of an experiment may begin as any heading does.
        found = [plot for start, plot in plots.items() if heading.text.startswith(start)]
        return found[0] if found and heading.level > 1 else EMPTY

    page = convert(markdown, put_plots)
    style, script = (_read(name) for name in ("report.css", "report.js"))
    policy = f"{FORBIDDEN}; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    head = tag(
        "head",
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        tag("title", header.experiment.title),
        tag("style", Html(style)),
    )
    body = tag(
        "body",
        tag("a", "Skip to the report", href=f"#{MAIN}", class_="skip"),
        fills(),
        tag(
            "div",
            tag("header", Html(page.title)),
            Html("\n"),
            tag("nav", tag("h2", "Contents"), _contents(page.headings), aria_label="Contents"),
            Html("\n"),
            tag("main", Html(page.body), id=MAIN, tabindex="-1"),
            class_="page",
        ),
        Html("\n"),
        tag("script", Html(script)),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def draw_plots(header: Header, records: Sequence[Record], findings: Findings) -> dict[str, Html]:
    """The plots of a run by how the text of their heading begins; those without data are empty."""
    return {
        "Compared with ": _draw_ratios(header, findings),
        "Image size": image_sizes(header, findings.summaries),
        "Boot time": every_boot(header, findings.summaries),
        "Milestones": boot_timeline(header, findings.steps),
        "Least RAM to boot": least_memory(header, records),
        "RAM that the host sees in use": memory_over_time(header, records),
    }


def _draw_ratios(header: Header, findings: Findings) -> Html:
    if not findings.comparisons:
        # Statistics take half a second to load.
        return EMPTY
    from guestbench.analysis.compare import LEAST_EFFECT

    return ratio_forest(header, findings.comparisons, findings.judgements, LEAST_EFFECT)


def _contents(headings: Sequence[Heading]) -> Html:
    items = (
        tag("li", tag("a", Html(heading.content), href=f"#{heading.id}"), class_=f"l{heading.level}")
        for heading in headings
        if heading.level in (2, 3)
    )
    return tag("ol", *items)


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The text's digest as a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
