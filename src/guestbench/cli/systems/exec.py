"""`guestbench systems exec`: one shell command in a guest that has just got ready."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from guestbench import provision
from guestbench.cli.systems.by_hand import find_guest, with_machine_options
from guestbench.cli.talk import say
from guestbench.definition.systems import LIST_SYSTEMS, find_system, load_catalogue
from guestbench.errors import UsageError
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Answer, open_shell
from guestbench.model import Accel, Platform
from guestbench.provision.cache import scratch
from guestbench.vmm import find_vmm

COMMAND_S = 3600.0


@click.command("exec")
@click.argument("name")
@click.argument("line", metavar="COMMAND")
@with_machine_options
def command(name: str, line: str, image: Path | None, accel: str) -> None:
    """Run the shell COMMAND in system NAME and print exactly its output; its exit status is ours."""
    answer = execute(name, line, image, Platform(accel=Accel(accel)))
    click.echo(answer.stdout, nl=False)
    click.echo(answer.stderr, nl=False, err=True)
    sys.exit(answer.status)


def execute(name: str, line: str, image: Path | None, platform: Platform) -> Answer:
    """Run a shell command in a guest, and throw away what it changes.

    The first time the guest is booted and a snapshot kept, from which later calls go on.

    Raises:
        UsageError: there is no such system, it has no login, or its image cannot boot.
        TrialError: it does not get ready, or no shell answers.
        HostError: this host cannot run it.
    """
    system = find_system(name, load_catalogue(), Path.cwd())
    if system.login is None:
        raise UsageError(
            f"system {system.name} has no [login]: nothing says how to get a shell", LIST_SYSTEMS
        )
    guest = provision.settle(find_guest(name, system, image), platform, say)
    snapshot = provision.take_snapshot(guest, platform, say)
    with (
        scratch("exec") as folder,
        find_vmm(platform.vmm).start(snapshot.launch_spec(folder)) as machine,
    ):
        return open_shell(machine, system.login, SerialLog()).run(line, timeout_s=COMMAND_S)
