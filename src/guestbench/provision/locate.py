"""Finds the image files of a system: given by the user, in the cache, or shared; it never makes any."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec

from guestbench.definition.systems import SYSTEMS
from guestbench.errors import ImageError
from guestbench.images.formats.disk import find_format
from guestbench.model import Disk, DiskFormat, Guest, Kernel, Origin, Role, Say, System
from guestbench.provision import cache
from guestbench.provision.system_images import (
    FETCHED_FILES,
    TAKEN_FILES,
    plan_build,
    plan_fetch,
    plan_taking,
    recipe_of,
)

Given = Mapping[str, Path]
Catalogue = Mapping[str, System]

FOLDER_NAMES = {Role.KERNEL: "vmlinuz", Role.INITRD: "initrd.gz", Role.DISK: "disk.qcow2"}
"""How files are called in a folder that the user gives, where the system's recipe has no names for them."""


def find_guest(
    system: System, given: Given, catalogue: Catalogue, folder: Path | None = None, say: Say = lambda _: None
) -> Guest | None:
    """The system with its image files; None if they have not been provisioned.

    In this order: the path the user gave; the file that the definition looks for below the working folder;
    the official image or the built one, whichever of `systems fetch` and `systems build` was used last,
    and the official one where neither was. A system that shares has what was taken out of the other's disk.

    Raises:
        ImageError: a file that the user gave is missing, or of a format that QEMU is not to boot here.
    """
    name = system.name
    if system.provision.share:
        owner = find_owner(system, given, catalogue, say)
        return share_disk(system, owner) if owner else None
    path = given.get(name) or Path(system.provision.path or "/dev/null")
    if name in given or path.is_file():
        return _from_user(system, path, say)
    provision = system.provision
    built = cache.find(plan_build(system, folder)) if provision.build else None
    fetched = cache.find(plan_fetch(system)) if provision.fetch else None
    way = cache.read_choice(name) or ("fetched" if fetched else "built")
    if way == "fetched" and fetched:
        detail = f"official image, fetched on {fetched.date} and verified: {fetched.made.source}"
        return _from_cache(system, fetched, FETCHED_FILES, Origin(kind="fetched", detail=detail), say)
    if way == "built" and built:
        recipe = recipe_of(system)
        detail = f"from {recipe.describe(built.made)}, on {built.date}"
        differences = (*provision.differences, *filter(None, (built.made.lacks,)))
        origin = Origin(kind="built", detail=detail, differences=differences)
        return _from_cache(system, built, recipe.images, origin, say)
    return None


def find_owner(system: System, given: Given, catalogue: Catalogue, say: Say = lambda _: None) -> Guest | None:
    """The guest whose disk this system shares; a path given for this system stands for that guest's disk."""
    owner = catalogue[system.provision.share]
    if system.name in given:
        return _from_user(owner, given[system.name], say)
    return find_guest(owner, given, catalogue, say=say)


def share_disk(system: System, owner: Guest) -> Guest | None:
    """A guest of the files taken out of the owner's disk; None if that has not been done."""
    disk = owner.pristine[Role.DISK]
    taken = cache.find(plan_taking(system, disk))
    if taken is None:
        return None
    images = {role: cache.read_image(taken.folder / name) for role, name in TAKEN_FILES.items()}
    images |= {Role.DISK: disk}
    kept = {role: images[role] for role in system.boot.roles}
    origin = Origin(
        kind="shared",
        detail=f"kernel and initial ramdisk of the disk of {owner.system.name} ({owner.origin.detail})",
        differences=owner.origin.differences,
    )
    kind = owner.system.boot.format if isinstance(owner.system.boot, Disk) else DiskFormat.QCOW2
    return Guest(system=_with_format(system, kind), images=kept, pristine=kept, origin=origin)


def _from_cache(
    system: System, kept: cache.Kept, files: Mapping[Role, str], origin: Origin, say: Say
) -> Guest:
    images = {role: cache.read_image(kept.folder / name, say) for role, name in files.items()}
    programs = dict(kept.made.programs)
    return Guest(system=system, images=images, pristine=images, origin=origin, programs=programs)


def _from_user(system: System, path: Path, say: Say) -> Guest:
    roles = system.boot.roles
    path = path.expanduser().absolute()
    names = {**FOLDER_NAMES, **(recipe_of(system).images if system.provision.build else {})}
    if len(roles) > 1 and path.exists() and not path.is_dir():
        listed = ", ".join(names[role] for role in roles)
        raise ImageError(
            f"system {system.name} boots from {len(roles)} files: give a folder that holds {listed}",
            f"guestbench run --system {shlex.quote(system.name)}=FOLDER",
        )
    files = {role: path / names[role] if len(roles) > 1 else path for role in roles}
    for file in files.values():
        if not file.exists():
            raise ImageError(
                f"system {system.name}: {file} does not exist", _how_to_give(system) or f"ls {file.parent}"
            )
    if Role.DISK in files:
        system = _with_format(system, find_format(files[Role.DISK]))
    images = {role: cache.read_image(file, say) for role, file in files.items()}
    return Guest(system=system, images=images, pristine=images, origin=Origin(kind="given", detail=str(path)))


def _with_format(system: System, kind: DiskFormat) -> System:
    match system.boot:
        case Disk():
            return msgspec.structs.replace(system, boot=Disk(format=kind))
        case Kernel(disk=None):
            return system
        case Kernel():
            return msgspec.structs.replace(system, boot=msgspec.structs.replace(system.boot, disk=kind))


def missing(system: System, folder: Path | None = None) -> ImageError:
    """The error about a system without images, and how to come by them; `folder` is where it is defined."""
    provision = system.provision
    # A system that is not of the catalogue is known by its folder only.
    own = folder is not None and folder != SYSTEMS / system.name
    name = shlex.quote(str(folder) if own else system.name)
    if provision.fetch and cache.read_choice(system.name) == "fetched":
        hint = f"guestbench systems fetch {name}"
    elif (provision.build and not provision.on_request) or provision.share:
        hint = f"guestbench systems build {name}"
    elif provision.fetch:
        hint = f"guestbench systems fetch {name}"
    else:
        hint = _how_to_give(system)
    looked = f": {provision.path} does not exist" if provision.path else ""
    return ImageError(f"system {system.name} has no image{looked}", hint)


def _how_to_give(system: System) -> str:
    return system.provision.hint or f"guestbench run --system {shlex.quote(system.name)}=PATH"
