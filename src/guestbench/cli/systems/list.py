"""`guestbench systems list`: the catalogue, and which images are there."""

from __future__ import annotations

import click
import msgspec

from guestbench import provision
from guestbench.cli.output import align
from guestbench.cli.talk import say
from guestbench.definition.systems import Catalogue, load_catalogue
from guestbench.errors import GuestbenchError
from guestbench.model import Frozen


class Entry(Frozen):
    """A system of the catalogue and the state of its images: `images` is empty where there are none."""

    name: str
    family: str
    title: str
    images: str
    missing: str


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the systems of the catalogue and whether their images are there."""
    catalogue = load_catalogue()
    entries = [describe(name, catalogue) for name in catalogue]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(entries), indent=2))
    else:
        click.echo(align([(e.name, e.family, e.images or f"no image: {e.missing}") for e in entries]))


def describe(name: str, catalogue: Catalogue) -> Entry:
    """A system with the state of its images; one whose file is broken says so in `missing`."""
    try:
        system = catalogue[name]
    except GuestbenchError as error:
        return Entry(name=name, family="?", title="?", images="", missing=error.messages[0])
    try:
        guest = provision.locate(system, {}, catalogue, say=say)
    except GuestbenchError as error:
        images, missing = "", f"{error.message}; {error.hint}"
    else:
        images, missing = f"{guest.origin.kind}: {guest.origin.detail}", ""
    return Entry(name=name, family=system.family, title=system.title, images=images, missing=missing)
