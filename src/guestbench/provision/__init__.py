"""Provides guests: systems with their image files, found, built, downloaded or taken from another's.

Nothing here measures. Images are made in the cache and never changed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from guestbench.errors import ImageError
from guestbench.images.check import check_bootable
from guestbench.model import Guest, Role, Say, ShellWork, System
from guestbench.provision import cache
from guestbench.provision.download import read_sums
from guestbench.provision.first_boot import find_settled, needs_settling, settle
from guestbench.provision.kit import add_drivers, prepare_kit
from guestbench.provision.locate import find_guest, find_owner, missing, share_disk
from guestbench.provision.snapshot import has_snapshot, take_snapshot
from guestbench.provision.system_images import official_source, plan_build, plan_fetch, plan_taking


def locate(
    system: System,
    given: Mapping[str, Path],
    catalogue: Mapping[str, System],
    *,
    folder: Path | None = None,
    say: Say = lambda _: None,
) -> Guest:
    """The system with its image files, making nothing. `folder` holds its sources if not the catalogue's.

    Raises:
        ImageError: there is no image yet, or one that the user gave is missing.
    """
    guest = find_guest(system, given, catalogue, folder, say)
    if guest is None:
        raise missing(system, folder)
    return guest


def prepare(
    system: System,
    given: Mapping[str, Path],
    catalogue: Mapping[str, System],
    *,
    say: Say,
    build: bool = True,
    folder: Path | None = None,
) -> Guest:
    """The system with its image files; they are built first if they are missing and `build` allows it.

    Raises:
        ImageError: there is no image and none can be built; or one that the user gave is missing.
        HostError: this host cannot build it.
    """
    guest = find_guest(system, given, catalogue, folder, say)
    if guest is None and system.provision.share:
        owner = find_owner(system, given, catalogue, say)
        if owner is None:
            owner = prepare(catalogue[system.provision.share], given, catalogue, say=say, build=build)
        if Role.DISK not in owner.pristine:
            raise ImageError(
                f"system {system.name} shares the disk of {owner.system.name}, which has none",
                "guestbench systems list",
            )
        cache.make(plan_taking(system, owner.pristine[Role.DISK]), say)
        guest = share_disk(system, owner)
    if guest is None and build and _builds(system):
        cache.make(plan_build(system, folder), say)
        guest = find_guest(system, given, catalogue, folder, say)
    if guest is None:
        raise missing(system, folder)
    return guest


def is_to_build(
    system: System, given: Mapping[str, Path], catalogue: Mapping[str, System], *, folder: Path | None = None
) -> bool:
    """Whether `prepare` would build the system's own images. Raises as `locate` does."""
    return _builds(system) and find_guest(system, given, catalogue, folder) is None


def _builds(system: System) -> bool:
    """Whether images of the system that are missing are built without being asked for."""
    on_request = system.provision.on_request or cache.read_choice(system.name) == "fetched"
    return bool(system.provision.build) and not on_request


def with_drivers(guest: Guest) -> Guest:
    """The guest with the drivers of a tools disk in its initial ramdisk, where its system asks for that."""
    work = guest.system.work
    if not (isinstance(work, ShellWork) and work.drivers and Role.INITRD in guest.images):
        return guest
    initrd = add_drivers(guest.images[Role.INITRD], lambda _: None)
    if initrd is None:
        return guest
    return msgspec.structs.replace(guest, images={**guest.images, Role.INITRD: initrd})


def check(guest: Guest) -> None:
    """Refuse image files that QEMU or a firmware cannot boot, before any time is spent on booting them.

    Raises:
        ImageError: a file is missing, empty, truncated, not bootable, or for another architecture.
    """
    for role, image in guest.pristine.items():
        check_bootable(guest.system, role, Path(image.path))


def build(system: System, catalogue: Mapping[str, System], say: Say, *, folder: Path | None = None) -> Guest:
    """Build the system's images, and from now on use them rather than the official one.

    Raises:
        UsageError: the system has no recipe.
        HostError: this host cannot build it.
    """
    if system.provision.share:
        return prepare(system, {}, catalogue, say=say)
    cache.make(plan_build(system, folder), say)
    cache.write_choice(system.name, "built")
    return prepare(system, {}, catalogue, say=say, folder=folder)


def fetch(system: System, say: Say) -> Guest:
    """Download the system's official image, and from now on use it rather than a built one.

    Raises:
        UsageError: the system has no official image.
        HostError: the server cannot be reached, refuses or breaks off; or the disk is full.
        ImageError: what came is not what the publisher's checksum list says.
    """
    published = read_sums(official_source(system), system.name)
    plan = plan_fetch(system, published)
    there = cache.find(plan)
    if there is not None and published.line in there.made.source:
        say(f"fetching {system.name}: the published image is in the cache")
    cache.make(plan, say, renew=lambda made: published.line not in made.source)
    cache.write_choice(system.name, "fetched")
    return locate(system, {}, {}, say=say)
