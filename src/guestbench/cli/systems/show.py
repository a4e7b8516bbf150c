"""`guestbench systems show`: a system's definition, and where its images come from."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from guestbench import provision
from guestbench.cli.talk import say
from guestbench.definition.systems import find_system, load_catalogue, system_folder
from guestbench.errors import GuestbenchError


@click.command("show")
@click.argument("name")
def command(name: str) -> None:
    """Show the definition of system NAME and where its images come from."""
    catalogue = load_catalogue()
    system = find_system(name, catalogue, Path.cwd())
    state: dict[str, object] = {"system": system}
    try:
        guest = provision.locate(system, {}, catalogue, folder=system_folder(name), say=say)
    except GuestbenchError as error:
        state["images"] = None
        state["missing"] = {"error": error.message, "hint": error.hint}
    else:
        state["images"] = guest.pristine
        state["origin"] = guest.origin
    click.echo(msgspec.json.format(msgspec.json.encode(state), indent=2))
