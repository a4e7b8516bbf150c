"""Boots a disk once before it is measured, on a layer of its own, so that no measured boot is a first one.

A first boot makes the machine id, grows the file system and writes caches. The pristine image is never
changed: what the first boot writes is kept in a layer above it, in the cache.
"""

from __future__ import annotations

import shlex
import shutil
import time
from pathlib import Path

import msgspec

from guestbench.errors import HostError, TrialError
from guestbench.guest.idle import IDLE_SHARE
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.host import process
from guestbench.model import Disk, DiskFormat, Guest, Image, Kernel, Ok, Platform, Role, Say
from guestbench.provision import cache
from guestbench.vmm import Lacking, LaunchSpec, Machine, Need, find_vmm

FIRST_BOOT_FACTOR = 2.0
"""A first boot may take this many times the system's own limit: it does more, once."""
IDLE_FOR_S = 5.0
SETTLE_LIMIT_S = 180.0
POWER_OFF_S = 120.0


def settle(guest: Guest, platform: Platform, say: Say) -> Guest:
    """The guest with its disk replaced by one that has been booted; as it is where it needs none.

    Raises:
        TrialError: the guest did not get ready in its first boot, or did not power off.
        HostError: this host cannot run it.
    """
    if not needs_settling(guest, platform):
        return guest
    return _boot_from(guest, cache.make(_plan(guest, platform), say).folder)


def find_settled(guest: Guest, platform: Platform) -> Guest | None:
    """As `settle`, but None where the cache has no such disk."""
    if not needs_settling(guest, platform):
        return guest
    kept = cache.find(_plan(guest, platform))
    return _boot_from(guest, kept.folder) if kept else None


def needs_settling(guest: Guest, platform: Platform) -> bool:
    """Whether its disk is to be replaced by one that has been booted."""
    wanted, disk = guest.system.provision, guest.pristine.get(Role.DISK)
    if disk is None or not (wanted.settle or wanted.share) or find_vmm(platform.vmm).TRAITS.replays:
        return False
    return guest.images[Role.DISK] == disk


def _plan(guest: Guest, platform: Platform) -> cache.Plan:
    disk, name = guest.pristine[Role.DISK], _name_layer(guest)

    def build(work: Path, say: Say) -> cache.Made:
        create_layer(Path(disk.path), work / name, disk_format(guest))
        say("first boot")
        _boot_once(guest, platform, work / name, work, say)
        return cache.Made(files=(name,), source=f"first boot of {guest.system.name}")

    # The path is part of it: an overlay names its backing file. Systems that share the disk share the layer.
    facts = [disk.path, disk.sha256, platform.machine]
    return cache.Plan("settled", f"settling {guest.system.name}", build, facts)


def _boot_from(guest: Guest, folder: Path) -> Guest:
    images = guest.images | {Role.DISK: cache.read_image(folder / _name_layer(guest))}
    origin = msgspec.structs.replace(guest.origin, settled=True)
    return msgspec.structs.replace(guest, images=images, origin=origin)


def _name_layer(guest: Guest) -> str:
    return f"disk.{disk_format(guest).value}"


def disk_format(guest: Guest) -> DiskFormat:
    """The format of the disk that the guest boots with."""
    match guest.system.boot:
        case Disk(format=kind) | Kernel(disk=DiskFormat() as kind):
            return kind
    return DiskFormat.QCOW2


def create_layer(disk: Path, layer: Path, kind: DiskFormat) -> None:
    """A writable disk with the contents of `disk`: an overlay, or a copy where the format has no overlays."""
    if kind is DiskFormat.QCOW2:
        process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "qcow2", layer])
    else:
        process.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", disk, layer])


def move_layer(layer: Path, base: Path, there: Path) -> None:
    """Copy an overlay to `there`, where the disk that it lies on is `base`: a path is all that changes."""
    shutil.copyfile(layer, there)
    process.run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", base, there])


def _boot_once(guest: Guest, platform: Platform, layer: Path, work: Path, say: Say) -> None:
    system = guest.system
    hint = f"guestbench systems boot {shlex.quote(system.name)}"
    images = guest.pristine | {Role.DISK: Image(path=str(layer), size_bytes=0, mtime_ns=0, sha256="")}
    spec = LaunchSpec(
        boot=system.boot,
        images=images,
        platform=platform,
        folder=work,
        writable=True,
        needs=frozenset({Need.POWER_BUTTON}),
    )
    patient = msgspec.structs.replace(system, timeout_s=system.timeout_s * FIRST_BOOT_FACTOR)
    with find_vmm(platform.vmm).start(spec) as machine:
        button = machine.power_button
        outcome = watch_boot(machine, patient, SerialLog()).outcome
        if not isinstance(outcome, Ok):
            raise TrialError(f"{system.name} did not get ready in its first boot: {outcome.reason}", hint)
        say("waiting until it is idle")
        _wait_until_idle(machine)
        say("powering off")
        if isinstance(button, Lacking):
            raise HostError(f"{system.name} cannot be asked to power off: {button.reason}", hint)
        button.press()
        if not _wait_for_exit(machine, POWER_OFF_S):
            raise TrialError(f"{system.name} did not power off within {POWER_OFF_S:g} s", hint)


def _wait_until_idle(machine: Machine) -> None:
    """Wait until the VM has used little CPU time for some seconds, or the limit is reached."""
    end = time.monotonic() + SETTLE_LIMIT_S
    quiet_since = last = time.monotonic()
    used = machine.cpu_ns() or 0
    while (now := time.monotonic()) < end and now - quiet_since < IDLE_FOR_S:
        # Reading goes on all the while: a guest whose console is not drained stops.
        machine.read_serial(1.0)
        if (elapsed := time.monotonic() - last) < 1.0:
            continue
        used_now = machine.cpu_ns() or used
        if (used_now - used) / 1e9 > IDLE_SHARE * elapsed:
            quiet_since = time.monotonic()
        last, used = time.monotonic(), used_now


def _wait_for_exit(machine: Machine, timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while (left := end - time.monotonic()) > 0 and machine.exit_status() is None:
        chunk = machine.read_serial(min(left, 1.0))
        if chunk is not None and not chunk.data:
            return machine.wait(max(end - time.monotonic(), 1.0)) is not None
    return machine.exit_status() is not None
