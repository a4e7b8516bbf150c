"""Refuses image files that cannot boot before any time is spent on booting them; it never repairs one."""

from __future__ import annotations

import struct
from pathlib import Path

from guestbench import process
from guestbench.errors import ImageError
from guestbench.images.binary import open_source, printable, quoted, unusable
from guestbench.images.disk import find_format, read_info
from guestbench.model import DiskFormat
from guestbench.provision.cache import workspace

ELF_MAGIC = b"\x7fELF"
ELF_MACHINES = {3: "i386", 62: "x86-64", 40: "ARM", 183: "AArch64", 243: "RISC-V", 21: "PowerPC", 22: "S/390"}
X86 = (3, 62)
BZIMAGE_MAGIC_AT, BZIMAGE_MAGIC = 0x202, b"HdrS"
"""Linux, Documentation/arch/x86/boot.rst: the header of every kernel since 2.00."""
ARM64_MAGIC_AT, ARM64_MAGIC = 56, b"ARM\x64"
MULTIBOOT_MAGIC = struct.pack("<I", 0x1BADB002)
MULTIBOOT_WITHIN = 8192
"""The multiboot header lies in the first 8 KiB of a kernel (Multiboot Specification 0.6.96, 3.1)."""
SECTOR = 512
BOOT_SIGNATURE = b"\x55\xaa"


def check_kernel(path: Path) -> None:
    """Check that QEMU's -kernel can load a file: a Linux bzImage, or an x86 ELF with multiboot or PVH entry.

    Raises:
        ImageError: it is missing, empty, truncated, for another architecture, or no kernel at all.
    """
    with open_source(path) as source:
        start = source.read_some(0, MULTIBOOT_WITHIN)
        if not start:
            raise unusable(path, "is empty")
        if start[BZIMAGE_MAGIC_AT:][:4] == BZIMAGE_MAGIC:
            return
        if start[ARM64_MAGIC_AT:][:4] == ARM64_MAGIC:
            raise unusable(path, "is a kernel for AArch64, and this is an x86-64 machine")
        if not start.startswith(ELF_MAGIC):
            raise unusable(path, "is no kernel: neither a Linux bzImage nor an ELF file")
        machine = struct.unpack("<H", source.read(18, 2, "the ELF header"))[0]
        if machine not in X86:
            name = ELF_MACHINES.get(machine, f"machine {machine}")
            raise unusable(path, f"is an ELF file for {name}, and this is an x86-64 machine")
        if MULTIBOOT_MAGIC not in start and b"Xen\0" not in source.read_some(0, source.size_bytes):
            raise unusable(path, "is an ELF file without the multiboot header or PVH note that -kernel needs")


def check_disk(path: Path) -> DiskFormat:
    """Check that a disk image is whole and has boot code in its first sector; returns its format.

    Raises:
        ImageError: it is missing, empty, truncated, of an unknown format, or not bootable.
        ToolMissing, ToolFailed: qemu-img is not installed, or failed.
    """
    with open_source(path) as source:
        if not source.size_bytes:
            raise unusable(path, "is empty")
    kind = find_format(path)
    if read_info(path).virtual_bytes < SECTOR:
        raise unusable(path, "is too small to be a disk")
    with workspace("check") as work:
        sector = work / "sector"
        argv = ["qemu-img", "dd", "-U", "-f", kind.value, "-O", "raw", "bs=512", "count=1"]
        done = process.run([*argv, f"if={path.absolute()}", f"of={sector}"], check=False)
        start = sector.read_bytes() if done.status == 0 else b""
    if len(start) < SECTOR:
        raise ImageError(f"{printable(path)} is truncated", f"qemu-img check {quoted(path)}")
    if start[-2:] != BOOT_SIGNATURE or not any(start[:0x1B8]):
        raise unusable(path, "is not bootable: its first sector holds no boot code")
    return kind
