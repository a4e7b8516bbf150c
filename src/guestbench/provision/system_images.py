"""What the cache keeps of systems: images built by recipes, downloaded, or taken out of another's disk."""

from __future__ import annotations

import shlex
from pathlib import Path

from guestbench.definition.systems import SYSTEMS
from guestbench.errors import ImageError, UsageError
from guestbench.images.contents.linux import find_boot_files
from guestbench.images.tree import show
from guestbench.inspect.system import open_system
from guestbench.model import Fetch, Image, Role, Say, System
from guestbench.provision import cache
from guestbench.provision.download import Published
from guestbench.provision.inspector import build_inspector
from guestbench.provision.recipes import Recipe, Site, find_recipe

FETCHED_FILES = {Role.DISK: "disk.qcow2"}
TAKEN_FILES = {Role.KERNEL: "vmlinuz", Role.INITRD: "initrd"}
MAX_TAKEN_BYTES = 1 << 30


def recipe_of(system: System) -> Recipe:
    """The recipe of a system.

    Raises:
        UsageError: it has none, or one of a package that is not installed here.
    """
    if system.provision.build is None:
        raise UsageError(
            f"system {system.name} has no recipe to build it from",
            system.provision.hint or f"guestbench systems fetch {shlex.quote(system.name)}",
        )
    return find_recipe(system.provision.build)


def plan_build(system: System, folder: Path | None = None) -> cache.Plan:
    """The images that its recipe builds for a system, from the sources in `folder` if not the catalogue's.

    Raises:
        UsageError: it has no recipe, or one of a package that is not installed here.
        ImageError: a source file is missing.
    """
    recipe, where = recipe_of(system), folder or SYSTEMS / system.name
    sources = recipe.sources(where)
    for path in sources.values():
        if not path.is_file():
            raise ImageError(f"{path} is missing", "guestbench systems list")

    def build(work: Path, say: Say) -> cache.Made:
        return recipe.build(Site(system.name, where, plan.key), work, say)

    facts = [recipe, recipe.version, recipe.tools()]
    plan = cache.Plan(system.name, f"building {system.name}", build, facts, sources)
    return plan


def official_source(system: System) -> Fetch:
    """Where the official image of a system is.

    Raises:
        UsageError: it has none.
    """
    if system.provision.fetch is None:
        raise UsageError(
            f"system {system.name} has no official image to download",
            system.provision.hint or f"guestbench systems build {shlex.quote(system.name)}",
        )
    return system.provision.fetch


def plan_fetch(system: System, published: Published | None = None) -> cache.Plan:
    """The official image of a system; `published` is what there is to download now."""

    def build(work: Path, say: Say) -> cache.Made:
        assert published is not None
        (name,) = FETCHED_FILES.values()
        published.download(say).rename(work / name)
        return cache.Made(files=(name,), source=published.describe())

    return cache.Plan(system.name, f"fetching {system.name}", build, official_source(system))


def plan_taking(system: System, source: Image) -> cache.Plan:
    """The newest kernel of another system's disk and its initial ramdisk, to boot it without a boot loader.

    To build it raises:
        ImageError: the disk has no kernel, or none with an initial ramdisk.
    """

    def build(work: Path, say: Say) -> cache.Made:
        with open_system(Path(source.path), build_inspector(say), work) as found:
            tree = found.tree.value
            files = find_boot_files(tree) if tree is not None else None
            if tree is None or files is None or files[1] is None:
                missing = found.tree.unknown or "no kernel with an initial ramdisk in /boot"
                raise ImageError(
                    f"{source.path}: {missing}", f"guestbench inspect {shlex.quote(source.path)}"
                )
            for entry, taken in zip(files, TAKEN_FILES.values(), strict=True):
                assert entry is not None
                (work / taken).write_bytes(tree.read_whole(entry, MAX_TAKEN_BYTES))
        return cache.Made(
            files=tuple(TAKEN_FILES.values()), source=f"{show(files[0].name)} of disk {source.sha256}"
        )

    doing = f"taking kernel and initial ramdisk out of {Path(source.path).name}"
    return cache.Plan(system.name, doing, build, source.sha256)
