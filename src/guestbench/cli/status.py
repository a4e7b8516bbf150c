"""`guestbench status`: how far a run is, from another terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from guestbench.cli.output import print_blocks

if TYPE_CHECKING:
    from guestbench.page.blocks import Block
    from guestbench.run.status import Status


@click.command("status")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "style", flag_value="json", help="Print JSON.")
def command(folder: Path, style: str | None) -> None:
    """Tell how far the run in DIR is: what is made, what runs now, what is to come, and when it may end."""
    from guestbench.run.status import read_status

    status = read_status(folder)
    document = msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n"
    print_blocks(tuple(_describe(folder, status)), style, document)


def _describe(folder: Path, status: Status) -> Iterator[Block]:
    from guestbench.page.blocks import Bullets, Paragraph
    from guestbench.page.numbers import show_duration
    from guestbench.report import HTML_NAME
    from guestbench.report.partial import tabulate_to_come

    lines = [f"{status.run} is {status.state}: {status.made} of {status.planned} planned trials are made."]
    if status.state != "finished":
        bound = "at least " if status.at_least else "about "
        end = datetime.now() + timedelta(seconds=status.seconds)
        known = f"takes {bound}{show_duration(status.seconds)}, from now on until {end:%H:%M}"
        lines.append(f"The rest {known if status.seconds else 'takes nobody knows how long yet'}.")
    if status.state == "stopped":
        lines.append(f"guestbench run --resume {shlex.quote(str(folder))} goes on with it.")
    if (folder / HTML_NAME).exists():
        lines.append(f"Its report: {folder / HTML_NAME}")
    yield Paragraph(tuple(lines))
    now = (f"{each.what}, for {show_duration(each.seconds)}" for each in status.running)
    yield Bullets(tuple(now), "Running now:")
    yield from tabulate_to_come(status.to_come)
