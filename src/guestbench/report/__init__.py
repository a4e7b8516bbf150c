"""Writes the files that people and programs read of a run."""

from __future__ import annotations

import os
import time
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
STAMP_NAME = "report.stamp.js"
"""Beside a page that is made again while its run goes on: what the newest one is called."""


def render_reports(contents: Contents, stamp: str = "") -> dict[str, bytes]:
    """Every report of a run by the name of its file; the script that makes the run again is none.

    The page of a run that goes on has a `stamp`.
    """
    # The command line needs the names of the formats alone.
    from guestbench.report.export import csv, json
    from guestbench.report.html import render_html
    from guestbench.report.markdown import render_markdown

    found = contents.found
    return {
        MARKDOWN_NAME: render_markdown(contents.page).encode(),
        HTML_NAME: render_html(contents.page, stamp).encode(),
        JSON_NAME: json.render_findings(found),
        CSV_NAME: csv.render(found.header, found.records),
    }


def write_reports(folder: Path, contents: Contents, *, running: bool = False) -> dict[str, Path]:
    """Write every report into `folder`, and what makes the run again, replacing older ones; name to path.

    A report is either there whole or not there: it is written beside its place and then moved. The page of a
    `running` run reloads itself when the next one is there.

    Raises:
        StoreError: the folder cannot be written.
    """
    from guestbench.report.reproduce import render_script

    found, stamp = contents.found, str(time.time_ns()) if running else ""
    files = render_reports(contents, stamp)
    files[SCRIPT_NAME] = render_script(found.header, found.records).encode()
    if stamp:
        # The last one, so that the page which it announces is there.
        files[STAMP_NAME] = f'globalThis.guestbenchStamp = "{stamp}";\n'.encode()
    for name, content in files.items():
        try:
            _remove_left(folder / name)
            replace_file(folder / name, content)
        except OSError as error:
            raise StoreError(
                f"cannot write {folder / name}: {error.strerror}", hint_of(error, folder)
            ) from error
    if not stamp:
        (folder / STAMP_NAME).unlink(missing_ok=True)
    return {name: folder / name for name in files}


def _remove_left(path: Path) -> None:
    """Remove what a process that was killed has left of a report beside its place."""
    for left in path.parent.glob(f".{path.name}.*"):
        if not Path("/proc", left.suffix[1:]).exists():
            left.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there; an OSError says that it stayed as it was."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
