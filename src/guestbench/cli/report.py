"""`guestbench report`: the reports of a finished run, from its store alone."""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guestbench.cli.talk import say, slowly
from guestbench.errors import UsageError

if TYPE_CHECKING:
    from guestbench.analysis.findings import Findings
    from guestbench.model import Header, Record
    from guestbench.report.contents import Contents


@click.command("report")
@click.argument("folders", type=click.Path(path_type=Path), metavar="DIR…", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of the summary table.")
@click.option("--running", is_flag=True, hidden=True, help="Write what is known while the run goes on.")
@click.option(
    "--update-stack",
    "stack",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write what each layer costs between the markers in FILE.",
)
@click.option(
    "--merge", is_flag=True, help="Report runs of several hosts, each in its DIR, as one experiment."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="OUT",
    default=Path("merged"),
    show_default=True,
    help="Folder of the report of --merge.",
)
def command(
    folders: tuple[Path, ...], as_json: bool, running: bool, stack: Path | None, merge: bool, output: Path
) -> None:
    """Write the reports of the run in DIR again, from its store alone."""
    from guestbench.analysis.quality import count_missing
    from guestbench.run.store import read_all

    # All that is made here is needed to the end, and looking for garbage in it takes a tenth of the time.
    gc.disable()
    if running:
        os.nice(19)
    if merge:
        write_merged(output, [(folder, *read_all(folder)) for folder in folders], as_json)
        return
    folder, *others = folders
    if others:
        raise UsageError(
            f"{len(folders)} folders are no run",
            shlex.join(["guestbench", "report", "--merge", *map(str, folders)]),
        )
    header, records = read_all(folder)
    missing = count_missing(header, records)
    if missing and not running:
        say(f"note: {missing} of {len(header.trials)} trials have not been made")
    if stack is not None and len(header.hosts) > 1:
        raise UsageError(
            f"{folder} is of several hosts, and {stack} tells of one",
            shlex.join(["guestbench", "report", str(folder)]),
        )
    found = write(folder, header, records, as_json, running=running)
    if stack is not None and found is not None:
        from guestbench.report.stack import update_stack

        update_stack(stack, found)


def write(
    folder: Path, header: Header, records: tuple[Record, ...], as_json: bool, *, running: bool = False
) -> Findings | None:
    """Write the reports of a run into its folder, print its summary or `results.json`, and return it.

    Of a run of several hosts there is a report of each, and one of all; None is returned.
    """
    from guestbench.run.store import HOSTS, split_hosts, write_store

    if len(header.hosts) > 1:
        parts = []
        for own, mine in split_hosts(header, records):
            part = folder / HOSTS / own.host.digest[:16]
            write_store(part, own, mine)
            write_files(part, own, mine)
            parts.append((part, own, mine))
        write_merged(folder, parts, as_json)
        return None
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


def write_merged(
    folder: Path, parts: Sequence[tuple[Path, Header, tuple[Record, ...]]], as_json: bool
) -> None:
    """Write the report of several hosts into a folder; each part is a run, and where it is.

    Raises:
        UsageError: they are no parts of one experiment.
    """
    from guestbench.analysis.hosts import merge, refuse_unlike
    from guestbench.report import hosts
    from guestbench.report.terminal import render_lines
    from guestbench.run.store import split_hosts

    runs, names = [], []
    for part, header, records in parts:
        for own, mine in split_hosts(header, records) if len(header.hosts) > 1 else ((header, records),):
            runs.append((own, mine))
            names.append(str(part))
    refuse_unlike(runs, names)
    with slowly(f"working out {len(runs)} hosts, and writing their report"):
        found = merge(runs)
        paths = hosts.write_merged(folder, found)
    if as_json:
        click.echo(paths["results.json"].read_bytes(), nl=False)
        return
    click.echo(render_lines(hosts.summarise_hosts(found), compact=True))
    click.echo(str(paths["comparison_results.md"]))
    click.echo(str(paths["report.html"]))


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
