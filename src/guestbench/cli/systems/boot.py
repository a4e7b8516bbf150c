"""`guestbench systems boot`: a guest with its serial console on the user's terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from guestbench.cli.systems.by_hand import find_guest, with_machine_options
from guestbench.cli.talk import say
from guestbench.definition.systems import find_system, load_catalogue
from guestbench.host import process
from guestbench.model import Accel, Platform
from guestbench.provision.cache import scratch
from guestbench.vmm import LaunchSpec, find_vmm


@click.command("boot")
@click.argument("name")
@with_machine_options
def command(name: str, image: Path | None, accel: str) -> None:
    """Boot system NAME with its serial console on this terminal; Ctrl-A X leaves."""
    guest = find_guest(name, find_system(name, load_catalogue(), Path.cwd()), image)
    platform = Platform(accel=Accel(accel))
    # What the guest writes to its disk is thrown away with the folder.
    with scratch("boot") as folder:
        spec = LaunchSpec(boot=guest.system.boot, images=guest.images, platform=platform, folder=folder)
        say(f"booting {guest.system.name}; Ctrl-A X leaves")
        sys.exit(process.run_in_foreground(find_vmm(spec.platform.vmm).describe_interactive(spec)))
