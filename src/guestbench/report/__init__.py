"""Writes the files that people and programs read of a run; never measures and never starts a process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guestbench.errors import StoreError
from guestbench.model import Header, Record

if TYPE_CHECKING:
    from guestbench.report.findings import Findings

MARKDOWN_NAME = "comparison_results.md"
HTML_NAME = "report.html"
JSON_NAME = "results.json"
CSV_NAME = "results.csv"
SCRIPT_NAME = "reproduce.sh"


def write_reports(
    folder: Path, header: Header, records: Sequence[Record], findings: Findings | None = None
) -> dict[str, Path]:
    """Write every report into `folder`, replacing older ones; file name to path.

    `findings` are those of `analyse`, where the caller has them.

    A report is either there whole or not there: it is written beside its place and then moved.

    Raises:
        StoreError: the folder cannot be written.
    """
    # The templates' library is slow to import, and this package also prints the table of a run.
    from guestbench.analysis.summary import add_derived
    from guestbench.report.export import render_csv, render_json
    from guestbench.report.findings import analyse
    from guestbench.report.html import render_html
    from guestbench.report.markdown import render_markdown
    from guestbench.report.reproduce import render_script

    records = add_derived(header, records)
    findings = findings or analyse(header, records)
    markdown = render_markdown(header, records, findings)
    contents = {
        MARKDOWN_NAME: markdown.encode(),
        HTML_NAME: render_html(header, records, findings, markdown).encode(),
        JSON_NAME: render_json(header, records, findings),
        CSV_NAME: render_csv(header, records).encode(),
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
