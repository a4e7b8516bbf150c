"""`guestbench cache prune`: removes what was used least recently."""

from __future__ import annotations

import re
from decimal import Decimal

import click

from guestbench.cli.talk import say

UNITS = {"MiB": 1 << 20, "GiB": 1 << 30, "MB": 10**6, "GB": 10**9}
SIZE = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,3}})?) ?({'|'.join(UNITS)})|0", re.ASCII)


def parse_size(_: click.Context, __: click.Parameter, value: str) -> int:
    """A size such as `10GiB` in bytes."""
    match = SIZE.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no size such as 500MiB or 10GiB")
    return int(Decimal(match[1]) * UNITS[match[2]]) if match[1] else 0


@click.command("prune")
@click.option(
    "--max-size",
    "most_bytes",
    default="10GiB",
    show_default=True,
    metavar="SIZE",
    callback=parse_size,
    help="How large the rest may be, such as 500MiB or 10GiB; 0 removes all that is not in use.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be removed, and remove nothing.")
def command(most_bytes: int, dry_run: bool) -> None:
    """Remove what was used least recently until the rest is no larger than --max-size.

    What a running guestbench uses or makes is never removed. An interrupted run goes on only with the images
    that it began with.
    """
    from guestbench.page.numbers import show_bytes
    from guestbench.provision.prune import measure, prune

    pruned = prune(most_bytes, dry=dry_run)
    for entry in pruned.removed:
        click.echo(entry.name)
    said = "would be removed" if dry_run else "removed"
    kept = f" ({show_bytes(pruned.in_use_bytes)} of it in use)" if pruned.in_use_bytes else ""
    say(f"{show_bytes(measure(pruned.removed))} {said}; {show_bytes(pruned.left_bytes)} left{kept}")
