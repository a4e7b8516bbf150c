"""Where a guest's own code begins: the address at which firmware or VMM hand over to it."""

from __future__ import annotations

import struct
from pathlib import Path

from guestbench.images.formats.elf import is_elf, read_elf
from guestbench.images.formats.kernel import SEARCHED_BYTES, find_linux_header, find_multiboot_header
from guestbench.images.source import open_source
from guestbench.model import Frozen, Image, Role

BOOT_SECTOR = 0x7C00
"""Where a BIOS loads the first sector of a disk."""
LINUX_ENTRY = 0x100000
"""Where a bzImage's protected-mode code lies and begins (Linux/x86 Boot Protocol)."""
MULTIBOOT_ENTRY_AT = 28
"""Offset of the entry in a multiboot header that has addresses."""


class Entry(Frozen):
    """An address, and what lies there in words."""

    address: int
    what: str


def find_entry(images: dict[Role, Image]) -> Entry | None:
    """Where QEMU or the firmware enters the guest that these files are; None where that is not known.

    Raises:
        ImageError: the kernel is damaged.
    """
    if Role.KERNEL not in images:
        return Entry(address=BOOT_SECTOR, what="the disk's boot sector")
    with open_source(Path(images[Role.KERNEL].path)) as source:
        start = source.read_some(0, SEARCHED_BYTES)
        if find_linux_header(start):
            return Entry(address=LINUX_ENTRY, what="the kernel's decompressor")
        header = find_multiboot_header(start, source.size_bytes)
        if header is not None and header.load_end is not None:
            (address,) = struct.unpack_from("<I", start, header.offset + MULTIBOOT_ENTRY_AT)
            return Entry(address=address, what="the kernel's entry")
        if not is_elf(source):
            return None
        image = read_elf(source)
        address = image.entry if header is not None or image.pvh_entry is None else image.pvh_entry
        return Entry(address=address, what="the kernel's entry")
