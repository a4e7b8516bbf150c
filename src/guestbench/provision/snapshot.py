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
from typing import NamedTuple

import msgspec

from guestbench import vmm
from guestbench.errors import TrialError
from guestbench.guest.console import watch
from guestbench.guest.watch import watch_boot
from guestbench.model import (
    Frozen,
    Guest,
    Image,
    Ok,
    Platform,
    Role,
    Say,
)
from guestbench.provision import cache
from guestbench.provision.digest import read_image
from guestbench.provision.first_boot import create_layer, disk_format
from guestbench.vmm import LaunchSpec
from guestbench.vmm.qemu.machine import build_argv
from guestbench.vmm.serial import SerialLog

STATE_NAME = "state"


class Snapshot(Frozen):
    """A guest that is ready: its state, and the image files that go with it."""

    guest: Guest
    platform: Platform
    state: Path

    def launch_spec(self, folder: Path) -> LaunchSpec:
        """How to go on from it; `folder` receives what the VMM prints."""
        return LaunchSpec(
            boot=self.guest.system.boot,
            images=self.guest.images,
            platform=self.platform,
            folder=folder,
            qmp=True,
            resume=self.state,
        )


def take_snapshot(
    guest: Guest,
    platform: Platform,
    qemu_version: str,
    say: Say,
    *,
    tools: Path | None = None,
    settle_s: float = 0.0,
) -> Snapshot:
    """The snapshot of a guest `settle_s` seconds after it was ready, from the cache if it is there.

    `tools` is a disk of tools that the guest has, and that whoever goes on from it must attach as well.

    Raises:
        TrialError: the guest did not get ready.
        HostError: this host cannot run it, or the cache cannot be written.
    """
    plan = _Plan(guest, platform, qemu_version, settle_s, tools)
    folder = cache.make(plan, say).folder
    images = dict(guest.images)
    if Role.DISK in images:
        images[Role.DISK] = read_image(folder / plan.layer)
    return Snapshot(
        guest=msgspec.structs.replace(guest, images=images), platform=platform, state=folder / STATE_NAME
    )


class _Plan(NamedTuple):
    """A snapshot to be taken: a state of another machine, or of another QEMU, cannot be resumed."""

    guest: Guest
    platform: Platform
    qemu_version: str
    settle_s: float
    tools: Path | None
    name: str = "snapshot"

    @property
    def doing(self) -> str:
        return f"booting {self.guest.system.name} for a snapshot"

    @property
    def layer(self) -> str:
        return f"disk.{disk_format(self.guest).value}"

    def ingredients(self) -> cache.Ingredients:
        images = {role: image.sha256 for role, image in self.guest.images.items()}
        argv = build_argv(self._spec(Path(), self.guest.images))
        return cache.Ingredients([images, argv, self.qemu_version, self.settle_s])

    def build(self, work: Path, say: Say) -> cache.Made:
        system = self.guest.system
        say("waiting until it is ready")
        images, files = dict(self.guest.images), [STATE_NAME]
        if Role.DISK in images:
            create_layer(Path(images[Role.DISK].path), work / self.layer, disk_format(self.guest))
            images[Role.DISK] = Image(path=str(work / self.layer), size_bytes=0, mtime_ns=0, sha256="")
            files.append(self.layer)
        spec = msgspec.structs.replace(self._spec(work, images), writable=True, qmp=True)
        with vmm.find_vmm(self.platform.vmm)(spec) as machine:
            log = SerialLog()
            outcome = watch_boot(machine, system, log).outcome
            if not isinstance(outcome, Ok):
                raise TrialError(
                    f"{system.name} did not get ready for a snapshot: {outcome.reason}",
                    f"guestbench systems boot {shlex.quote(system.name)}",
                )
            if self.settle_s:
                deadline_ns = machine.now_ns() + round(self.settle_s * 1e9)
                watch(machine, log, texts={}, until=None, failures=(), deadline_ns=deadline_ns)
            machine.save_state(work / STATE_NAME)
        return cache.Made(files=tuple(files), source=f"{system.name} when it was ready")

    def _spec(self, folder: Path, images: dict[Role, Image]) -> LaunchSpec:
        boot = self.guest.system.boot
        return LaunchSpec(boot=boot, images=images, platform=self.platform, folder=folder, tools=self.tools)
