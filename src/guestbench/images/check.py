"""Says before anything is started why an image cannot boot; it reads headers only and changes nothing.

It finds what makes QEMU refuse, or a firmware wait for ever: a file that is missing, cut off, of the wrong
kind or of the wrong architecture. What passes may still fail to boot: that is then an outcome of the trial.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from guestbench.errors import ImageError
from guestbench.images.formats import elf, kernel, qcow2
from guestbench.images.formats.disk import SECTOR, add_suffix, find_format, run_qemu_img
from guestbench.images.formats.initramfs import find_old_format, looks_like_archive
from guestbench.images.formats.unpack import LZ4_FRAME
from guestbench.images.formats.volumes import BOOT_SIGNATURE, ESP, ROOTS, find_ends, read_rows
from guestbench.images.source import IncompleteImage, Source, open_source, quoted, truncated, unusable
from guestbench.model import Disk, DiskFormat, GuestFamily, Role, System
from guestbench.text import visible

_DISK_START_SECTORS = 34
"""MBR, GPT header and the 32 sectors of entries that nearly every GPT has."""
_BOOT_CODE_BYTES = 440
_X86_MACHINES = frozenset({elf.EM_386, 6, elf.EM_X86_64})


def check_bootable(guest_system: System, role: Role, path: Path) -> None:
    """Check that a file can be what its role says.

    Raises:
        ImageError: it is missing, empty, unreadable, truncated, not bootable, or for another architecture.
        ToolMissing, ToolFailed: qemu-img is not installed, or did not end.
    """
    try:
        with open_source(path) as source:
            if source.size_bytes == 0:
                raise IncompleteImage(f"{visible(path)} is empty", f"ls -l {quoted(path)}")
            match role:
                case Role.KERNEL:
                    _check_kernel(source)
                case Role.INITRD:
                    _check_initrd(source, guest_system.family)
                case Role.DISK:
                    _check_disk(source, guest_system)
    except IncompleteImage as error:
        raise ImageError(error.message, find_remedy(guest_system)) from error


def find_remedy(system: System) -> str:
    """The line that makes a system's image, or names another one."""
    name = shlex.quote(system.name)
    if system.provision.build is not None or system.provision.share:
        return f"guestbench systems build {name}"
    if system.provision.fetch is not None:
        return f"guestbench systems fetch {name}"
    return f"guestbench run --system {name}=PATH"


# --- kernels ----------------------------------------------------------------------------------------


def _check_kernel(source: Source) -> None:
    """Look for what QEMU's loader looks for, in its order: bzImage, multiboot, PVH."""
    start = source.read_some(0, kernel.SEARCHED_BYTES)
    linux = kernel.find_linux_header(start)
    if linux is not None:
        if linux.needed_bytes > source.size_bytes:
            raise truncated(source.path, "the Linux kernel", linux.needed_bytes, source.size_bytes)
        return
    multiboot = kernel.find_multiboot_header(start, source.size_bytes)
    if multiboot is not None and multiboot.load_end is not None:
        if multiboot.load_end < 0:
            raise unusable(source.path, "is damaged: the addresses in its multiboot header are not sound")
        if multiboot.load_end > source.size_bytes:
            raise truncated(source.path, "the multiboot kernel", multiboot.load_end, source.size_bytes)
        return
    if not start.startswith(elf.MAGIC):
        if multiboot is not None:
            raise unusable(source.path, "has a multiboot header without addresses and is not an ELF file")
        raise unusable(source.path, kernel.describe_other(start))
    _check_elf(source, multiboot=multiboot is not None)


def _check_elf(source: Source, *, multiboot: bool) -> None:
    image = elf.read_elf_at(source, 0)
    if image.machine not in _X86_MACHINES:
        raise unusable(source.path, f"is a kernel for {image.machine_name}; the guests here are x86-64")
    if not image.segments:
        raise unusable(source.path, "is an ELF file without anything to load")
    if multiboot and image.machine == elf.EM_X86_64:
        # QEMU stops here even where a PVH note would offer it another way in.
        raise unusable(
            source.path,
            "is a 64-bit multiboot kernel without address fields; QEMU wants an ELF32 file",
        )
    if not multiboot and image.pvh_entry is None:
        raise unusable(source.path, "is an ELF file with neither a multiboot header nor a PVH note")
    elf.read_wrapped(source, image)


def _check_initrd(source: Source, family: GuestFamily) -> None:
    start = source.read_some(0, SECTOR)
    # What a unikernel takes as its initrd is its own affair. Linux knows LZ4 in its older format only.
    if family is not GuestFamily.LINUX:
        return
    if words := find_old_format(start):
        raise unusable(source.path, words)
    if not looks_like_archive(start) or start.startswith(LZ4_FRAME):
        raise unusable(source.path, "is not an initramfs: neither a cpio archive nor a compressed one")


# --- disks ------------------------------------------------------------------------------------------


def _check_disk(source: Source, system: System) -> None:
    boot = system.boot
    expected = boot.format if isinstance(boot, Disk) else boot.disk or DiskFormat.QCOW2
    found = find_format(source.path)
    if found is not expected:
        if found is DiskFormat.RAW and source.read_some(510, 2) != BOOT_SIGNATURE:
            raise unusable(source.path, f"is not a {expected.value} disk image")
        options = f"-f {found.value} -O {expected.value}"
        raise ImageError(
            f"{visible(source.path)} is a {found.value} image, but system {system.name} boots a "
            f"{expected.value} one",
            f"qemu-img convert {options} {quoted(source.path)} {quoted(add_suffix(source.path, expected))}",
        )
    size_bytes = source.size_bytes
    if found is DiskFormat.QCOW2:
        header = qcow2.read_header(source)
        qcow2.check_complete(source, header)
        size_bytes = header.sector_bytes
    if isinstance(boot, Disk):
        _check_boot_sector(source.path, _read_start(source, found), size_bytes)


def _read_start(source: Source, kind: DiskFormat) -> bytes:
    """The first sectors of a disk's contents; fewer where the disk is smaller."""
    if kind is DiskFormat.RAW:
        return source.read_some(0, _DISK_START_SECTORS * SECTOR)
    # Anonymous memory: qemu-img can only write to what has a name, and nothing is to be left behind.
    memory = os.memfd_create("start")
    try:
        argv = ["dd", "-U", "-f", kind.value, "-O", "raw", f"bs={SECTOR}", f"count={_DISK_START_SECTORS}"]
        argv += [f"if={source.path.absolute()}", f"of=/proc/{os.getpid()}/fd/{memory}"]
        run_qemu_img(source.path, argv)
        return os.pread(memory, _DISK_START_SECTORS * SECTOR, 0)
    finally:
        os.close(memory)


def _check_boot_sector(path: Path, start: bytes, size_bytes: int) -> None:
    if start[510:512] != BOOT_SIGNATURE:
        raise unusable(path, "is not bootable: its first sector has no boot signature (0x55AA)")
    for what, end in find_ends(start, SECTOR).items():
        if end > size_bytes:
            raise truncated(path, what, end, size_bytes, "disk")
    types = {row.type for row in read_rows(start, SECTOR).values()}
    for kind in types & ROOTS.keys():
        if ROOTS[kind] != "x86-64":
            raise unusable(path, f"is a disk for {ROOTS[kind]}; the guests here are x86-64")
    # A disk with an EFI partition may be meant for another firmware than SeaBIOS.
    if not any(start[:_BOOT_CODE_BYTES]) and ESP not in types:
        raise unusable(path, "is not bootable: there is no boot code in its first sector")
