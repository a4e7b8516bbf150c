"""`guestbench systems fetch`: downloads the official image of a system."""

from __future__ import annotations

from pathlib import Path

import click

from guestbench import provision
from guestbench.cli.talk import say
from guestbench.definition.systems import find_system, load_catalogue
from guestbench.errors import Interrupted


@click.command("fetch")
@click.argument("name")
def command(name: str) -> None:
    """Download the official image of system NAME and verify it."""
    system = find_system(name, load_catalogue(), Path.cwd())
    try:
        guest = provision.fetch(system, say)
    except KeyboardInterrupt:
        raise Interrupted("interrupted", f"guestbench systems fetch {name}") from None
    for image in guest.pristine.values():
        click.echo(image.path)
