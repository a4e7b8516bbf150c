"""Writes the files that people and programs read of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from guestbench.errors import StoreError, hint_of

if TYPE_CHECKING:
    from guestbench.report.contents import Contents

MARKDOWN_NAME = "comparison_results.md"
HTML_NAME = "report.html"
JSON_NAME = "results.json"
CSV_NAME = "results.csv"
SCRIPT_NAME = "reproduce.sh"


def render_reports(contents: Contents) -> dict[str, bytes]:
    """Every report of a run by the name of its file; the script that makes the run again is none."""
    # The command line needs the names of the formats alone.
    from guestbench.report.export import csv, json
    from guestbench.report.html import render_html
    from guestbench.report.markdown import render_markdown

    found = contents.found
    return {
        MARKDOWN_NAME: render_markdown(contents.page).encode(),
        HTML_NAME: render_html(contents.page).encode(),
        JSON_NAME: json.render_findings(found),
        CSV_NAME: csv.render(found.header, found.records),
    }


def write_reports(folder: Path, contents: Contents) -> dict[str, Path]:
    """Write every report into `folder`, and what makes the run again, replacing older ones; name to path.

    A report is either there whole or not there: it is written beside its place and then moved.

    Raises:
        StoreError: the folder cannot be written.
    """
    from guestbench.report.reproduce import render_script

    found = contents.found
    files = {**render_reports(contents), SCRIPT_NAME: render_script(found.header, found.records).encode()}
    for name, content in files.items():
        try:
            replace_file(folder / name, content)
        except OSError as error:
            raise StoreError(
                f"cannot write {folder / name}: {error.strerror}", hint_of(error, folder)
            ) from error
    return {name: folder / name for name in files}


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there; an OSError says that it stayed as it was."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
