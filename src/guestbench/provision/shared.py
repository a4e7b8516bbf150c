"""Takes kernel and initial ramdisk out of another system's disk, to boot it without its boot loader.

The disk is only read. What is taken out is kept in the cache under the disk's digest.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from guestbench.errors import ImageError
from guestbench.images.contents.linux import find_newest
from guestbench.images.formats import disk
from guestbench.images.formats.partitions import find_root, open_partition
from guestbench.images.source import open_source
from guestbench.model import Image, Role, Say
from guestbench.provision import cache

FILES = {Role.KERNEL: "vmlinuz", Role.INITRD: "initrd"}


class Extraction(NamedTuple):
    """The newest kernel of a disk, and its initial ramdisk, for the system of this name."""

    name: str
    disk: Image

    @property
    def doing(self) -> str:
        """What is told."""
        return f"taking kernel and initial ramdisk out of {Path(self.disk.path).name}"

    def ingredients(self) -> cache.Ingredients:
        """The disk's digest."""
        return cache.Ingredients(self.disk.sha256)

    def build(self, work: Path, say: Say) -> cache.Made:
        """Take them out.

        Raises:
            ImageError: the disk has no kernel, or none with an initial ramdisk.
        """
        kernel = _extract_newest(Path(self.disk.path), work)
        return cache.Made(files=tuple(FILES.values()), source=f"{kernel} of disk {self.disk.sha256}")


def _extract_newest(image: Path, work: Path) -> str:
    raw = work / "disk.raw"
    disk.convert_to_raw(image, raw)
    with open_source(raw) as source:
        files = open_partition(source, find_root(source))
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
