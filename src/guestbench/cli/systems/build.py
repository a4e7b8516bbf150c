"""`guestbench systems build`: makes the images of a system."""

from __future__ import annotations

from pathlib import Path

import click

from guestbench import provision
from guestbench.cli.talk import say
from guestbench.definition.systems import find_system, load_catalogue, system_folder
from guestbench.errors import Interrupted


@click.command("build")
@click.argument("name")
def command(name: str) -> None:
    """Build the images of system NAME from Debian packages, official archives or source."""
    catalogue = load_catalogue()
    system = find_system(name, catalogue, Path.cwd())
    try:
        guest = provision.build(system, catalogue, say, folder=system_folder(name))
    except KeyboardInterrupt:
        raise Interrupted("interrupted", f"guestbench systems build {name}") from None
    for image in guest.pristine.values():
        click.echo(image.path)
