"""What `systems boot` and `systems exec` share: their options, and a guest that is ready to boot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from guestbench import provision
from guestbench.cli.talk import say
from guestbench.definition.systems import load_catalogue, system_folder
from guestbench.model import Accel, Guest, System

Function = Callable[..., Any]


def with_machine_options(function: Function) -> Function:
    """Give a command the options that say what is booted, and how."""
    image = click.option(
        "--system", "image", type=click.Path(path_type=Path), metavar="PATH", help="Boot this image file."
    )
    accel = click.option(
        "--accel",
        type=click.Choice([Accel.KVM.value, Accel.TCG.value]),
        default=Accel.TCG.value,
        show_default=True,
    )
    return image(accel(function))


def find_guest(name: str, system: System, image: Path | None) -> Guest:
    """The guest `name` with its images, which are there already.

    Raises:
        ImageError: an image is missing or cannot boot.
    """
    guest = provision.prepare(
        system,
        {system.name: image} if image else {},
        load_catalogue(),
        say=say,
        build=False,
        folder=system_folder(name),
    )
    provision.check(guest)
    return guest
