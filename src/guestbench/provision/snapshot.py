"""Boots a guest to ready once and keeps its state for probes that time nothing; it probes nothing itself.

A snapshot is two files in the cache: the machine's state as QEMU's migration writes it, and the layer with
what the guest had written to its disk by then. Both are only read from then on, so that several machines can
go on from one snapshot at the same time; each throws away what it writes. The guest's own clock stands
where it stood. Memory that the guest had touched but left zero is not in the state: do not count a resumed
guest's memory.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path

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


class _Recipe(Frozen):
    """What a state depends on: a state of another machine, or of another QEMU, cannot be resumed."""

    images: dict[Role, str]
    argv: tuple[str, ...]
    qemu_version: str
    settle_s: float


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
    spec = LaunchSpec(
        boot=guest.system.boot, images=guest.images, platform=platform, folder=Path(), tools=tools
    )
    recipe = _Recipe(
        images={role: image.sha256 for role, image in guest.images.items()},
        argv=build_argv(spec),
        qemu_version=qemu_version,
        settle_s=settle_s,
    )
    key = cache.recipe_key(recipe)
    folder = cache.image_folder("snapshot", key)
    with cache.locked(f"snapshot-{key}"):
        if cache.load_manifest(folder) is None:
            _make(guest, platform, recipe, key, say, tools)
    images = dict(guest.images)
    if Role.DISK in images:
        images[Role.DISK] = read_image(folder / _layer_name(guest))
    return Snapshot(
        guest=msgspec.structs.replace(guest, images=images), platform=platform, state=folder / STATE_NAME
    )


def _layer_name(guest: Guest) -> str:
    return f"disk.{disk_format(guest).value}"


def _make(guest: Guest, platform: Platform, recipe: _Recipe, key: str, say: Say, tools: Path | None) -> None:
    name, began = guest.system.name, time.monotonic()
    say(f"booting {name} for a snapshot")
    with cache.workspace("snapshot") as work:
        images, files = dict(guest.images), [STATE_NAME]
        if Role.DISK in images:
            layer = work / _layer_name(guest)
            create_layer(Path(images[Role.DISK].path), layer, disk_format(guest))
            images[Role.DISK] = Image(path=str(layer), size_bytes=0, mtime_ns=0, sha256="")
            files.append(layer.name)
        spec = LaunchSpec(
            boot=guest.system.boot,
            images=images,
            platform=platform,
            folder=work,
            writable=True,
            qmp=True,
            tools=tools,
        )
        with vmm.find_vmm(platform.vmm)(spec) as machine:
            log = SerialLog()
            outcome = watch_boot(machine, guest.system, log).outcome
            if not isinstance(outcome, Ok):
                raise TrialError(
                    f"{name} did not get ready for a snapshot: {outcome.reason}",
                    f"guestbench systems boot {shlex.quote(name)}",
                )
            if recipe.settle_s:
                deadline_ns = machine.now_ns() + round(recipe.settle_s * 1e9)
                watch(machine, log, texts={}, until=None, failures=(), deadline_ns=deadline_ns)
            machine.save_state(work / STATE_NAME)
        manifest = cache.Manifest(
            system="snapshot",
            kind="snapshot",
            key=key,
            builder_version=cache.BUILDER_VERSION,
            created=cache.utc_now(),
            recipe=msgspec.Raw(msgspec.json.encode(recipe)),
            files=tuple(cache.describe_file(work / file) for file in files),
            elapsed_s=round(time.monotonic() - began, 1),
            source=f"{name} when it was ready",
        )
        cache.publish(work, manifest, files)
    say(f"booting {name} for a snapshot: done in {time.monotonic() - began:.0f} s")
