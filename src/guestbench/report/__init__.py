"""Writes the files that people and programs read of a run; never measures and never starts a process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guestbench.errors import StoreError
from guestbench.model import Header, Record

if TYPE_CHECKING:
    from guestbench.page.blocks import Page
    from guestbench.report.findings import Findings

MARKDOWN_NAME = "comparison_results.md"
HTML_NAME = "report.html"
JSON_NAME = "results.json"
CSV_NAME = "results.csv"
SCRIPT_NAME = "reproduce.sh"


def write_reports(
    folder: Path,
    header: Header,
    records: Sequence[Record],
    findings: Findings | None = None,
    page: Page | None = None,
) -> dict[str, Path]:
    """Write every report into `folder`, replacing older ones; file name to path.

    `findings` are those of `analyse` and `page` that of `compose`, where the caller has them.

    A report is either there whole or not there: it is written beside its place and then moved.

    Raises:
        StoreError: the folder cannot be written.
    """
    from guestbench.analysis.summary import add_derived
    from guestbench.report.contents import compose
    from guestbench.report.export import csv, json
    from guestbench.report.findings import analyse
    from guestbench.report.html import render_html
    from guestbench.report.markdown import render_markdown
    from guestbench.report.reproduce import render_script

    records = add_derived(header, records)
    findings = findings or analyse(header, records)
    page = page or compose(header, records, findings).page
    contents = {
        MARKDOWN_NAME: render_markdown(page).encode(),
        HTML_NAME: render_html(page).encode(),
        JSON_NAME: json.render(header, records, findings),
        CSV_NAME: csv.render(header, records),
        SCRIPT_NAME: render_script(header, records).encode(),
    }
    return {name: _replace(folder / name, content) for name, content in contents.items()}


def _replace(path: Path, content: bytes) -> Path:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}", f"df -h {path.parent}") from error
    return path
