"""Finds the image files of a system: given by the user, in the cache, or shared; it never makes any."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec

from guestbench.errors import ImageError
from guestbench.images.formats.disk import find_format
from guestbench.model import (
    AlpineInitramfs,
    Assembly,
    Build,
    DebianDisk,
    DebianInitramfs,
    Disk,
    DiskFormat,
    Guest,
    Kernel,
    LibraryOs,
    Mirage,
    Origin,
    Role,
    System,
)
from guestbench.provision import (
    cache,
    library_os,
    mirage,
    shared,
)
from guestbench.provision.digest import read_image
from guestbench.provision.programs import program_sources

Given = Mapping[str, Path]
Catalogue = Mapping[str, System]

SYSTEMS = Path(__file__).parent.parent / "systems"
CUSTOMIZE = Path(__file__).parent / "customize.sh"

FETCHED_FILES = {Role.DISK: "disk.qcow2"}
_BUILT_FILES: dict[type, dict[Role, str]] = {
    DebianDisk: {Role.DISK: "disk.qcow2"},
    DebianInitramfs: {Role.KERNEL: "vmlinuz", Role.INITRD: "initrd.gz"},
    Assembly: {Role.KERNEL: "kernel.elf"},
    AlpineInitramfs: {Role.KERNEL: "vmlinuz", Role.INITRD: "initrd.gz"},
    Mirage: {Role.KERNEL: mirage.KERNEL},
    LibraryOs: {Role.KERNEL: library_os.KERNEL, Role.INITRD: library_os.PROGRAM},
}
FOLDER_NAMES = {Role.KERNEL: "vmlinuz", Role.INITRD: "initrd.gz", Role.DISK: "disk.qcow2"}
"""How the files are called in a folder that the user gives for a system of several images."""


def system_folder(system: System) -> Path:
    """Where the sources of a system of the catalogue lie."""
    return SYSTEMS / system.name


def built_files(build: Build) -> dict[Role, str]:
    """What a builder leaves in an image folder."""
    return _BUILT_FILES[type(build)]


def build_sources(build: Build, folder: Path) -> dict[str, Path]:
    """The files that a recipe refers to, besides the recipe itself; `folder` is the system's own.

    Raises:
        ImageError: one is missing.
    """
    match build:
        case Assembly():
            sources = {build.source: folder / build.source}
        case DebianInitramfs() | AlpineInitramfs() if build.tree:
            tree = folder / build.tree
            sources = {str(path.relative_to(tree)): path for path in tree.rglob("*") if path.is_file()}
            if not sources:
                raise ImageError(f"{tree} holds no files to build from", "guestbench systems list")
        case DebianInitramfs() | AlpineInitramfs():
            sources = {}
        case Mirage():
            sources = mirage.sources(folder)
        case DebianDisk():
            sources = {CUSTOMIZE.name: CUSTOMIZE}
        case LibraryOs():
            sources = library_os.sources(build, folder)
    for program in build.programs if isinstance(build, DebianInitramfs) else ():
        sources |= {f"{program}/{name}": path for name, path in program_sources(program).items()}
    for path in sources.values():
        if not path.is_file():
            raise ImageError(f"{path} is missing", "guestbench systems list")
    return sources


def find_built(system: System, folder: Path) -> tuple[Path, cache.Manifest] | None:
    """The image that this recipe made, if the cache has it."""
    build = system.provision.build
    if build is None:
        return None
    key = cache.recipe_key(build, build_sources(build, folder))
    return _in_cache(system.name, key)


def find_fetched(system: System) -> tuple[Path, cache.Manifest] | None:
    """The official image, if the cache has it."""
    source = system.provision.fetch
    return _in_cache(system.name, cache.recipe_key(source)) if source else None


def _in_cache(name: str, key: str) -> tuple[Path, cache.Manifest] | None:
    folder = cache.image_folder(name, key)
    manifest = cache.load_manifest(folder)
    if manifest is None:
        return None
    for file in manifest.files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return None
    return folder, manifest


def find_guest(system: System, given: Given, catalogue: Catalogue, folder: Path) -> Guest | None:
    """The system with its image files; None if they have not been provisioned.

    In this order: the path the user gave; the file that the definition looks for below the working folder;
    the official image or the built one, whichever of `systems fetch` and `systems build` was used last,
    and the official one where neither was. A system that shares has what was taken out of the other's disk.

    Raises:
        ImageError: a file that the user gave is missing, or of a format that QEMU is not to boot here.
    """
    name = system.name
    if system.provision.share:
        owner = find_owner(system, given, catalogue)
        return share_disk(system, owner) if owner else None
    path = given.get(name) or Path(system.provision.path or "/dev/null")
    if name in given or path.is_file():
        return _from_user(system, path)
    built, fetched = find_built(system, folder), find_fetched(system)
    way = cache.read_choice(name) or ("fetched" if fetched else "built")
    if way == "fetched" and fetched:
        return _from_cache(system, *fetched, FETCHED_FILES)
    if way == "built" and built and system.provision.build:
        return _from_cache(system, *built, built_files(system.provision.build))
    return None


def find_owner(system: System, given: Given, catalogue: Catalogue) -> Guest | None:
    """The guest whose disk this system shares; a path given for this system stands for that guest's disk."""
    owner = catalogue[system.provision.share]
    if system.name in given:
        return _from_user(owner, given[system.name])
    return find_guest(owner, given, catalogue, system_folder(owner))


def share_disk(system: System, owner: Guest) -> Guest | None:
    """A guest of the files taken out of the owner's disk; None if that has not been done."""
    disk = owner.pristine[Role.DISK]
    files = shared.find_extracted(system.name, disk)
    if files is None:
        return None
    images = {role: read_image(path) for role, path in files.items()} | {Role.DISK: disk}
    kept = {role: images[role] for role in system.boot.roles}
    origin = Origin(
        kind="shared",
        detail=f"kernel and initial ramdisk of the disk of {owner.system.name} ({owner.origin.detail})",
        differences=owner.origin.differences,
    )
    kind = owner.system.boot.format if isinstance(owner.system.boot, Disk) else DiskFormat.QCOW2
    return Guest(system=_with_format(system, kind), images=kept, pristine=kept, origin=origin)


def _from_cache(system: System, folder: Path, manifest: cache.Manifest, files: dict[Role, str]) -> Guest:
    images = {role: read_image(folder / name) for role, name in files.items()}
    if manifest.kind == "fetched":
        origin = Origin(
            kind="fetched",
            detail=f"official image, fetched on {manifest.date} and verified: {manifest.source}",
        )
    else:
        origin = Origin(
            kind="built",
            detail=f"from {_ingredients(manifest, system.provision.build)}, on {manifest.date}",
            differences=(*system.provision.differences, *filter(None, (manifest.lacks,))),
        )
    return Guest(
        system=system, images=images, pristine=images, origin=origin, programs=dict(manifest.programs)
    )


def _ingredients(manifest: cache.Manifest, build: Build | None) -> str:
    """What an image was built from, in words."""
    if manifest.source:
        return f"official archives, verified: {manifest.source}"
    if isinstance(build, Mirage):
        pinned = ", ".join(f"{package.name} {package.version}" for package in manifest.packages)
        return f"opam packages, of which pinned: {pinned}"
    if isinstance(build, LibraryOs):
        stack = [f" and Debian's {package.name} {package.version}" for package in manifest.packages]
        return f"source{''.join(stack)}"
    count = len(manifest.packages)
    return f"Debian packages ({count} in all)" if count else "source"


def _from_user(system: System, path: Path) -> Guest:
    roles = system.boot.roles
    path = path.expanduser().absolute()
    recipe = system.provision.build
    # A unikernel's files are no vmlinuz and no initrd.gz.
    names = built_files(recipe) if isinstance(recipe, LibraryOs) else FOLDER_NAMES
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
    images = {role: read_image(file) for role, file in files.items()}
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
    own = folder is not None and folder != system_folder(system)
    name = shlex.quote(str(folder) if own else system.name)
    if (provision.build and not provision.on_request) or provision.share:
        hint = f"guestbench systems build {name}"
    elif provision.fetch:
        hint = f"guestbench systems fetch {name}"
    else:
        hint = _how_to_give(system)
    looked = f": {provision.path} does not exist" if provision.path else ""
    return ImageError(f"system {system.name} has no image{looked}", hint)


def _how_to_give(system: System) -> str:
    return system.provision.hint or f"guestbench run --system {shlex.quote(system.name)}=PATH"
