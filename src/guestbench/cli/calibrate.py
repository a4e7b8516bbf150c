"""`guestbench calibrate`: measures what this host and its instruments can tell apart."""

from __future__ import annotations

from pathlib import Path

import click

from guestbench.cli.run import measure
from guestbench.model.experiment import MOST_BOOTS

EXPERIMENT = "calibrate"


@click.command("calibrate")
@click.option(
    "--blocks", type=click.IntRange(1, MOST_BOOTS), metavar="N", help="Blocks of boots [default: 10]."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder of this run's results."
)
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of the summary table.")
def command(blocks: int | None, output: Path | None, as_json: bool) -> None:
    """Measure what this host can tell apart: planted delays and memory, and guests against themselves."""
    from guestbench.run.request import Request

    request = Request(experiment=EXPERIMENT, cycles=blocks, command=click.get_current_context().obj)
    measure(request, output, as_json)
