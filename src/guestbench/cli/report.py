"""`guestbench report`: the reports of a finished run, from its store alone."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guestbench.cli.talk import say, slowly

if TYPE_CHECKING:
    from guestbench.analysis.findings import Findings
    from guestbench.model import Header, Record
    from guestbench.report.contents import Contents


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of the summary table.")
@click.option("--running", is_flag=True, hidden=True, help="Write what is known while the run goes on.")
@click.option(
    "--update-stack",
    "stack",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write what each layer costs between the markers in FILE.",
)
def command(folder: Path, as_json: bool, running: bool, stack: Path | None) -> None:
    """Write the reports of the run in DIR again, from its store alone."""
    from guestbench.analysis.quality import count_missing
    from guestbench.run.store import read_store

    # All that is made here is needed to the end, and looking for garbage in it takes a tenth of the time.
    gc.disable()
    if running:
        os.nice(19)
    header, records = read_store(folder)
    missing = count_missing(header, records)
    if missing and not running:
        say(f"note: {missing} of {len(header.trials)} trials have not been made")
    found = write(folder, header, records, as_json, running=running)
    if stack is not None:
        from guestbench.report.stack import update_stack

        update_stack(stack, found)


def write(
    folder: Path, header: Header, records: tuple[Record, ...], as_json: bool, *, running: bool = False
) -> Findings:
    """Write the reports of a run into its folder, print its summary or `results.json`, and return it."""
    from guestbench.report.terminal import render_lines

    with slowly(f"working out {len(records)} trials, and writing their report"):
        contents, paths = write_files(folder, header, records, running=running)
    if as_json:
        click.echo(paths["results.json"].read_bytes(), nl=False)
    elif running:
        click.echo(render_lines(contents.so_far, compact=True), nl=False)
    else:
        click.echo(render_lines(contents.summary, compact=True))
        click.echo(str(paths["comparison_results.md"]))
        click.echo(str(paths["report.html"]))
    return contents.found


def write_files(
    folder: Path, header: Header, records: tuple[Record, ...], *, running: bool = False
) -> tuple[Contents, dict[str, Path]]:
    """Write the reports of a run into its folder; what they say, and the path of each by its name.

    One that is `running` goes on while they are made.

    Raises:
        StoreError: the folder cannot be written, or what the store holds is not to be shown.
    """
    from guestbench.analysis.analyse import analyse
    from guestbench.report import write_reports
    from guestbench.report.contents import compose
    from guestbench.report.profile.section import read_profiles
    from guestbench.run.store import showing

    with showing(folder):
        contents = compose(analyse(header, records), read_profiles(folder), running=running)
        return contents, write_reports(folder, contents, running=running)
