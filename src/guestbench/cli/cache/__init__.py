"""`guestbench cache`: what is kept of what was built, and how to have less of it."""

from __future__ import annotations

import click

from guestbench.cli.lazy import LazyGroup


@click.group(
    "cache",
    cls=LazyGroup,
    package=__name__,
    helps={
        "list": "List what the cache holds, those used least recently first.",
        "prune": "Remove what was used least recently until the rest is no larger than --max-size.",
    },
)
def command() -> None:
    """What guestbench keeps: images, programs, snapshots; and how to have less of it."""
