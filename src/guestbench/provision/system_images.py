"""What the cache keeps of systems: images built by recipes, downloaded, or taken out of another's disk."""

from __future__ import annotations

from pathlib import Path

from guestbench.errors import ImageError
from guestbench.images.contents.linux import find_newest
from guestbench.images.formats import disk
from guestbench.images.formats.partitions import find_root, open_partition
from guestbench.images.source import open_source
from guestbench.model import Fetch, Image, Role, Say
from guestbench.provision import cache
from guestbench.provision.download import Published
from guestbench.provision.recipes import Recipe, Site

FETCHED_FILES = {Role.DISK: "disk.qcow2"}
TAKEN_FILES = {Role.KERNEL: "vmlinuz", Role.INITRD: "initrd"}


def plan_build(system: str, recipe: Recipe, folder: Path) -> cache.Plan:
    """The images that a recipe builds for a system from the sources in `folder`.

    Raises:
        ImageError: a source file is missing.
    """
    sources = recipe.sources(folder)
    for path in sources.values():
        if not path.is_file():
            raise ImageError(f"{path} is missing", "guestbench systems list")

    def build(work: Path, say: Say) -> cache.Made:
        return recipe.build(Site(system, folder, plan.key), work, say)

    facts = [recipe, recipe.version, recipe.tools()]
    plan = cache.Plan(system, f"building {system}", build, facts, sources)
    return plan


def plan_fetch(system: str, source: Fetch, published: Published | None = None) -> cache.Plan:
    """The official image of a system; `published` is what there is to download now."""

    def build(work: Path, say: Say) -> cache.Made:
        assert published is not None
        (name,) = FETCHED_FILES.values()
        published.download(say).rename(work / name)
        return cache.Made(files=(name,), source=published.describe())

    return cache.Plan(system, f"fetching {system}", build, source)


def plan_taking(system: str, source: Image) -> cache.Plan:
    """The newest kernel of another system's disk and its initial ramdisk, to boot it without a boot loader.

    To build it raises:
        ImageError: the disk has no kernel, or none with an initial ramdisk.
    """

    def build(work: Path, say: Say) -> cache.Made:
        raw = work / "disk.raw"
        disk.convert_to_raw(Path(source.path), raw)
        with open_source(raw) as opened:
            files = open_partition(opened, find_root(opened))
            found = find_newest(files.list_folder("/boot"))
            if found is None or found[1] is None:
                raise ImageError(
                    f"{source.path} has no kernel with an initial ramdisk in /boot of its root file system",
                    f"qemu-img info {source.path}",
                )
            for name, taken in zip(found, TAKEN_FILES.values(), strict=True):
                files.extract(f"/boot/{name}", work / taken)
        return cache.Made(files=tuple(TAKEN_FILES.values()), source=f"{found[0]} of disk {source.sha256}")

    doing = f"taking kernel and initial ramdisk out of {Path(source.path).name}"
    return cache.Plan(system, doing, build, source.sha256)
