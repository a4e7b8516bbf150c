"""Boots a guest to ready once and keeps its state for probes that time nothing; it probes nothing itself.

A snapshot is two files in the cache: the machine's state as QEMU's migration writes it, and the layer with
what the guest had written to its disk by then. Both are only read from then on, so that several machines can
go on from one snapshot at the same time; each throws away what it writes. The guest's own clock stands
where it stood. Memory that the guest had touched but left zero is not in the state: do not count a resumed
guest's memory.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from guestbench.errors import HostError, TrialError
from guestbench.guest import programs, shell_protocol
from guestbench.guest.console import watch
from guestbench.guest.programs import open_tools
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.model import Frozen, Guest, Image, Ok, OpenShell, Platform, Role, Say, Start
from guestbench.provision import cache
from guestbench.provision.first_boot import create_layer, disk_format
from guestbench.vmm import Lacking, LaunchSpec, Need, find_vmm

STATE_NAME, SHELL_NAME = "state", "shell.json"
START = Start()
SHELL_SOURCES = {"protocol": Path(shell_protocol.__file__), "programs": Path(programs.__file__)}


class Snapshot(Frozen):
    """A guest that is ready: its state, and the image files that go with it."""

    guest: Guest
    platform: Platform
    state: Path
    shell: OpenShell | None = None

    def launch_spec(self, folder: Path) -> LaunchSpec:
        """How to go on from it; `folder` receives what the VMM prints."""
        return LaunchSpec(
            boot=self.guest.system.boot,
            images=self.guest.images,
            platform=self.platform,
            folder=folder,
            resume=self.state,
        )


def take_snapshot(guest: Guest, platform: Platform, say: Say, start: Start = START) -> Snapshot:
    """The snapshot of a guest in the state `start`, from the cache if it is there.

    Whoever goes on from it must attach the same disk of tools, if it has one.

    Raises:
        TrialError: the guest did not get ready.
        HostError: this host cannot run it, or the cache cannot be written.
    """
    folder = cache.make(_plan(guest, platform, start), say).folder
    images = dict(guest.images)
    if Role.DISK in images:
        images[Role.DISK] = cache.read_image(folder / _name_layer(guest))
    guest = msgspec.structs.replace(guest, images=images)
    shell = (
        msgspec.json.decode((folder / SHELL_NAME).read_bytes(), type=OpenShell) if start.with_shell else None
    )
    return Snapshot(guest=guest, platform=platform, state=folder / STATE_NAME, shell=shell)


def has_snapshot(guest: Guest, platform: Platform, start: Start = START) -> bool:
    """Whether the cache has it."""
    return cache.find(_plan(guest, platform, start)) is not None


def _name_layer(guest: Guest) -> str:
    return f"disk.{disk_format(guest).value}"


def _plan(guest: Guest, platform: Platform, start: Start) -> cache.Plan:
    """How a snapshot comes to be, and what it depends on."""
    name, vmm = guest.system.name, find_vmm(platform.vmm)
    layer, settle_s = _name_layer(guest), start.settle_s
    tools = Path(start.tools.path) if start.tools else None
    spec = LaunchSpec(
        boot=guest.system.boot, images=guest.images, platform=platform, folder=Path(), tools=tools
    )

    def build(work: Path, say: Say) -> cache.Made:
        say("waiting until it is ready")
        images, files = dict(guest.images), [STATE_NAME]
        if Role.DISK in images:
            create_layer(Path(images[Role.DISK].path), work / layer, disk_format(guest))
            images[Role.DISK] = Image(path=str(work / layer), size_bytes=0, mtime_ns=0, sha256="")
            files.append(layer)
        needs = frozenset({Need.SNAPSHOTS})
        to_boot = msgspec.structs.replace(spec, images=images, folder=work, writable=True, needs=needs)
        log = SerialLog()
        with vmm.start(to_boot) as machine:
            outcome = watch_boot(machine, guest.system, log).outcome
            if not isinstance(outcome, Ok):
                raise TrialError(
                    f"{name} did not get ready for a snapshot: {outcome.reason}",
                    f"guestbench systems boot {shlex.quote(name)}",
                )
            if settle_s:
                deadline_ns = machine.now_ns() + round(settle_s * 1e9)
                watch(machine, log, texts={}, until=None, failures=(), deadline_ns=deadline_ns)
            if start.with_shell:
                shell = open_tools(machine, guest.system, log)
                (work / SHELL_NAME).write_bytes(msgspec.json.encode(shell.leave()))
                files.append(SHELL_NAME)
            if isinstance(machine.snapshots, Lacking):
                why = machine.snapshots.reason
                raise HostError(f"no snapshot of {name} can be kept: {why}", "guestbench doctor")
            machine.snapshots.save(work / STATE_NAME)
        return cache.Made(files=tuple(files), source=f"{name} when it was ready")

    digests = {role: image.sha256 for role, image in guest.images.items()}
    # A state of another machine, or of another version of the VMM, cannot be resumed.
    variant = [start.variant] if start.variant else []
    # What is said to an open shell later must be what it was set up for.
    system = guest.system
    waited_for = [system.ready, system.required]
    shell = [system.login, system.work] if start.with_shell else []
    facts = [digests, vmm.describe(spec), vmm.identify().version, settle_s, waited_for, *variant, *shell]
    sources = SHELL_SOURCES if start.with_shell else {}
    return cache.Plan("snapshot", f"booting {name} for a snapshot", build, facts, sources)
