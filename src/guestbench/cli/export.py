"""`guestbench export`: a finished run in the formats of other programs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from guestbench.cli.output import write_file
from guestbench.cli.talk import say, slowly
from guestbench.errors import UsageError
from guestbench.report.export import AXIS
from guestbench.text import visible


@click.command("export")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--format",
    "kind",
    required=True,
    type=click.Choice(AXIS.names()),
    help="What to write.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE."
)
@click.option(
    "--bigger-is-better",
    "bigger",
    is_flag=True,
    help="Of github-action-benchmark: the rates, for its other tool.",
)
def command(folder: Path, kind: str, output: Path | None, bigger: bool) -> None:
    """Print the run in DIR in a format that other programs read."""
    from guestbench.run.store import read_store, showing

    wanted = AXIS.load(kind)
    if output is None and "BINARY" in vars(wanted) and sys.stdout.isatty():
        words = ["guestbench", "export", str(folder), "--format", kind, "-o", f"results.{kind}"]
        raise UsageError(f"{kind} is no text that a terminal could show", shlex.join(words))
    if bigger and not hasattr(wanted, "render_bigger"):
        again = shlex.join(["guestbench", "export", str(folder), "--format", kind])
        raise UsageError(
            f"--bigger-is-better says nothing of the format {kind}, which holds all metrics", again
        )
    with slowly(f"working out {visible(folder)}"):
        header, records = read_store(folder)
        with showing(folder):
            content = (wanted.render_bigger if bigger else wanted.render)(header, records)
            lost = wanted.tell_lost(records) if hasattr(wanted, "tell_lost") else ""
    if lost:
        say(f"note: {lost}")
    if output is None:
        click.echo(content, nl=False)
    else:
        write_file(output, content)
