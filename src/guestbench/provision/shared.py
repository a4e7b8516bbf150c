"""Takes kernel and initial ramdisk out of another system's disk, to boot it without its boot loader.

The disk is only read. What is taken out is kept in the cache under the disk's digest.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from guestbench.errors import ImageError
from guestbench.images.formats import disk
from guestbench.images.formats.kernel import find_newest
from guestbench.images.formats.partitions import find_root, open_partition
from guestbench.model import Frozen, Image, Role, Say
from guestbench.provision import cache

FILES = {Role.KERNEL: "vmlinuz", Role.INITRD: "initrd"}


class Extraction(Frozen):
    """What is taken out of which disk: the recipe of the extracted files."""

    disk_sha256: str


def find_extracted(system: str, source: Image) -> dict[Role, Path] | None:
    """The files taken out of this disk before; None if that has not been done."""
    folder = cache.image_folder(system, cache.recipe_key(Extraction(disk_sha256=source.sha256)))
    if cache.load_manifest(folder) is None:
        return None
    return {role: folder / name for role, name in FILES.items()}


def extract(system: str, source: Image, say: Say) -> dict[Role, Path]:
    """Take the newest kernel and its initial ramdisk out of a disk into the cache.

    Raises:
        ImageError: the disk has no kernel, or none with an initial ramdisk.
        HostError: the cache cannot be written.
    """
    recipe = Extraction(disk_sha256=source.sha256)
    key = cache.recipe_key(recipe)
    with cache.locked(f"{system}-{key}"):
        found = find_extracted(system, source)
        if found is not None:
            return found
        with cache.workspace(system) as work:
            say(f"taking kernel and initial ramdisk out of {Path(source.path).name}")
            kernel = _extract_newest(Path(source.path), work)
            manifest = cache.Manifest(
                system=system,
                kind="shared",
                key=key,
                builder_version=cache.BUILDER_VERSION,
                created=cache.utc_now(),
                recipe=msgspec.Raw(msgspec.json.encode(recipe)),
                files=tuple(cache.describe_file(work / name) for name in FILES.values()),
                source=f"{kernel} of disk {source.sha256}",
            )
            folder = cache.publish(work, manifest, tuple(FILES.values()))
    return {role: folder / name for role, name in FILES.items()}


def _extract_newest(image: Path, work: Path) -> str:
    raw = work / "disk.raw"
    disk.convert_to_raw(image, raw)
    with open_partition(raw, find_root(raw)) as files:
        found = find_newest(files.list_folder("/boot"))
        if found is None or found[1] is None:
            raise ImageError(
                f"{image} has no kernel with an initial ramdisk in /boot of its root file system",
                f"qemu-img info {image}",
            )
        for name, role in zip(found, FILES, strict=True):
            files.extract(f"/boot/{name}", work / FILES[role])
    raw.unlink()
    return found[0]
