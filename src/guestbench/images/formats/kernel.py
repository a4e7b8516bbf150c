"""Recognises what QEMU's `-kernel` can load: Linux bzImage and multiboot headers; it never loads one.

Sources: the kernel's "Linux/x86 Boot Protocol" and the "Multiboot Specification version 0.6.96".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from guestbench.model import Frozen

SEARCHED_BYTES = 8192
"""A multiboot header lies, 4-aligned, within these first bytes; so does all else that is looked at."""

_MULTIBOOT_MAGIC = 0x1BADB002
_MULTIBOOT_ADDRESSES = 1 << 16

_OTHER_KINDS = (
    (0x38, b"ARM\x64", "is a Linux kernel for AArch64"),
    (0x38, b"RSC\x05", "is a Linux kernel for RISC-V"),
    (0x24, b"\x18\x28\x6f\x01", "is a Linux kernel for ARM"),
    (0, b"QFI\xfb", "is a qcow2 disk image, not a kernel"),
    (0, b"\x1f\x8b", "is compressed with gzip; x86 kernels are not"),
    (0, b"\x28\xb5\x2f\xfd", "is compressed with zstd; x86 kernels are not"),
    (0, b"\xfd7zXZ", "is compressed with xz; x86 kernels are not"),
    (0, b"#!", "is a script, not a kernel"),
    (0, b"!<arch>", "is an archive, not a kernel"),
    (0, b"MZ", "is an EFI program without the header of a Linux kernel"),
    (510, b"\x55\xaa", "is a disk image or boot sector, not a kernel"),
)
"""Offset, bytes and words for files that are often mistaken for a kernel."""


class LinuxHeader(Frozen):
    """The setup header of a bzImage; `needed_bytes` is how long the file must be at least."""

    protocol: int
    needed_bytes: int


class MultibootHeader(Frozen):
    """A multiboot 1 header at byte `offset`. `load_end` is where in the file the loaded part ends.

    `load_end` is None where the header has no address fields; the loader then goes by the ELF headers.
    """

    offset: int
    load_end: int | None


def find_linux_header(start: bytes) -> LinuxHeader | None:
    """The setup header in a kernel's first bytes; None if it is not a bzImage."""
    if start[0x202:0x206] != b"HdrS" or len(start) < 0x260:
        return None
    setup_sectors = start[0x1F1] or 4
    (paragraphs,) = struct.unpack_from("<I", start, 0x1F4)
    (protocol,) = struct.unpack_from("<H", start, 0x206)
    if protocol < 0x204:
        paragraphs &= 0xFFFF
    # The last paragraph may be cut: the size is rounded up to 16 bytes.
    needed = (setup_sectors + 1) * 512 + max(0, paragraphs * 16 - 15)
    return LinuxHeader(protocol=protocol, needed_bytes=needed)


def find_multiboot_header(start: bytes, size_bytes: int) -> MultibootHeader | None:
    """The first multiboot header with a right checksum in a kernel's first bytes, if any.

    `size_bytes` is the length of the whole file: without an end address, all of it is loaded.
    """
    start = start[:SEARCHED_BYTES]
    at = -1
    magic = struct.pack("<I", _MULTIBOOT_MAGIC)
    while (at := start.find(magic, at + 1)) >= 0:
        if at % 4 or at + 12 > len(start):
            continue
        flags, checksum = struct.unpack_from("<II", start, at + 4)
        if (_MULTIBOOT_MAGIC + flags + checksum) % (1 << 32):
            continue
        if not flags & _MULTIBOOT_ADDRESSES or at + 32 > len(start):
            return MultibootHeader(offset=at, load_end=None)
        header_addr, load_addr, load_end_addr = struct.unpack_from("<III", start, at + 12)
        load_start = at - (header_addr - load_addr)
        end = size_bytes if load_end_addr == 0 else load_start + load_end_addr - load_addr
        return MultibootHeader(offset=at, load_end=end if load_start >= 0 else -1)
    return None


def describe_other(start: bytes) -> str:
    """What a file that is no kernel for x86 seems to be, as words that follow its name."""
    for offset, magic, words in _OTHER_KINDS:
        if start[offset : offset + len(magic)] == magic:
            return words
    return "is not a kernel that QEMU can load: no Linux, multiboot or PVH header"


def find_newest(names: Sequence[str]) -> tuple[str, str | None] | None:
    """Of the file names in /boot, the newest Linux kernel's and its initial ramdisk's; None without a kernel.

    Initial ramdisks are found under the names that Debian, Fedora and SUSE give them. A kernel with one is
    preferred to one without, as distributions keep rescue kernels and leftovers beside the one they boot.
    """
    there = set(names)
    found = []
    for name in names:
        if not name.startswith("vmlinuz-"):
            continue
        release = name.removeprefix("vmlinuz-")
        initrds = (f"initrd.img-{release}", f"initramfs-{release}.img", f"initrd-{release}")
        initrd = next((each for each in initrds if each in there), None)
        found.append((initrd is not None, _natural(release), name, initrd))
    if not found:
        return None
    *_, kernel, initrd = max(found, key=lambda each: each[:2])
    return kernel, initrd


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which 6.1.0-9 comes before 6.1.0-37."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]
