"""Writes the files that people and programs read of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from guestbench.errors import StoreError

if TYPE_CHECKING:
    from guestbench.report.contents import Contents

MARKDOWN_NAME = "comparison_results.md"
HTML_NAME = "report.html"
JSON_NAME = "results.json"
CSV_NAME = "results.csv"
SCRIPT_NAME = "reproduce.sh"


def write_reports(folder: Path, contents: Contents) -> dict[str, Path]:
    """Write every report into `folder`, replacing older ones; file name to path.

    A report is either there whole or not there: it is written beside its place and then moved.

    Raises:
        StoreError: the folder cannot be written.
    """
    # The command line needs the names of the formats alone.
    from guestbench.report.export import csv, json
    from guestbench.report.html import render_html
    from guestbench.report.markdown import render_markdown
    from guestbench.report.reproduce import render_script

    found = contents.found
    files = {
        MARKDOWN_NAME: render_markdown(contents.page).encode(),
        HTML_NAME: render_html(contents.page).encode(),
        JSON_NAME: json.render_findings(found),
        CSV_NAME: csv.render(found.header, found.records),
        SCRIPT_NAME: render_script(found.header, found.records).encode(),
    }
    return {name: _replace(folder / name, content) for name, content in files.items()}


def _replace(path: Path, content: bytes) -> Path:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}", f"df -h {path.parent}") from error
    return path
