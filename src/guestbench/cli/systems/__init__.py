"""`guestbench systems`: the guests of the catalogue, and what can be done with one by hand."""

from __future__ import annotations

import click

from guestbench.cli.lazy import LazyGroup


@click.group(
    "systems",
    cls=LazyGroup,
    package=__name__,
    helps={
        "boot": "Boot system NAME with its serial console on this terminal; Ctrl-A X leaves.",
        "build": "Build the images of system NAME from Debian packages, official archives or source.",
        "exec": "Run the shell COMMAND in system NAME and print exactly its output; its exit status is ours.",
        "fetch": "Download the official image of system NAME and verify it.",
        "list": "List the systems of the catalogue and whether their images are there.",
        "show": "Show the definition of system NAME and where its images come from.",
    },
)
def command() -> None:
    """The guests: what there is, and their images."""
