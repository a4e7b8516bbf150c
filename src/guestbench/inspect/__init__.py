"""Takes an image file apart for `guestbench inspect`: tells its kind and asks each reader; it never boots it.

It needs no root, mounts nothing on the host, and changes no image. A part that cannot be read is a reason in
the result; only a file that is no image at all is an error.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from guestbench.errors import HostError, ImageError, hint_of
from guestbench.images.contents import files as contents
from guestbench.images.contents import linux
from guestbench.images.contents.packages import find_packages
from guestbench.images.contents.programs import count_in_programs, describe_elf, read_symbols
from guestbench.images.formats import disk, elf
from guestbench.images.formats.initramfs import find_old_format, looks_like_archive, open_initramfs
from guestbench.images.formats.kernel import find_linux_header, open_vmlinux
from guestbench.images.formats.uki import Uki, open_linux, open_ramdisk, read_uki
from guestbench.images.inspection import (
    CodeFile,
    Elf,
    FileSystem,
    Inspection,
    KernelConfig,
    Kind,
    Known,
    LinuxKernel,
    known,
    unknown,
)
from guestbench.images.source import Source, open_source, reason_of, unusable
from guestbench.images.tree import Tree, show, show_path
from guestbench.inspect.system import check_disk, open_system
from guestbench.model import Inspector
from guestbench.model.decoding import NOT_JSON, decode_as
from guestbench.text import visible

T = TypeVar("T")

KERNEL_MITIGATIONS = ("stack protector", "indirect branch tracking")
"""The others are promises to a loader of programs, which does not load kernels."""
MAX_KEPT = 64
"""Disks of which is kept what was found, the last ones looked at."""


def inspect_image(image: Path, scratch: Path, prepare: Callable[[], tuple[Inspector, str]]) -> Inspection:
    """Find out what an image holds. `scratch` is a folder with room for the contents of a ramdisk.

    `prepare` gives what looks into disks, and the digest of the image. What is found in a disk is kept, and
    taken from there when the same disk is looked at again.

    Raises:
        ImageError: it is not an image that can be inspected.
        HostError: a program that is needed is missing or fails, there is no room in `scratch`, or
            `prepare` raises it.
    """
    try:
        with open_source(image) as source:
            start = source.read_some(0, 8192)
            if start.startswith(elf.MAGIC):
                return _inspect_elf(source)
            if find_linux_header(start) is not None:
                return _inspect_kernel(source, scratch)
            if (uki := read_uki(source)) is not None:
                return _inspect_uki(source, uki, scratch)
            if words := find_old_format(start):
                raise unusable(image, words)
            if looks_like_archive(start):
                return _inspect_initramfs(source, scratch)
        check_disk(image)
        return _inspect_kept(image, scratch, *prepare())
    except OSError as error:
        # All reads of the image raise ImageError; what is left is the scratch folder, which may be full.
        raise HostError(
            f"{visible(scratch)} cannot be used as scratch space: {error.strerror}",
            hint_of(error, scratch.parent),
        ) from error


# --- disks --------------------------------------------------------------------------------------------


def _inspect_kept(image: Path, scratch: Path, inspector: Inspector, digest: str) -> Inspection:
    """What is known of a disk, or else found now. Whatever it depends on is in the name of its file."""
    parts = (digest, inspector.kernel.sha256, inspector.initrd.sha256, _describe_readers())
    kept = Path(inspector.kept) / f"{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:32]}.json"
    with suppress(OSError, *NOT_JSON):
        found = decode_as(kept.read_bytes(), Inspection)
        os.utime(kept)
        return msgspec.structs.replace(found, file=visible(image.name))
    found = _inspect_disk(image, scratch, inspector)
    with suppress(OSError):  # it is found again the next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(msgspec.json.encode(found))
        partial.replace(kept)
        there = sorted(kept.parent.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in there[MAX_KEPT:]:
            old.unlink(missing_ok=True)
    return found


@cache
def _describe_readers() -> str:
    """A digest of our own code that reads images: what another version has found is not taken over."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted([*(package / "inspect").rglob("*"), *(package / "images").rglob("*")]):
        if path.suffix in (".py", ".toml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _inspect_disk(image: Path, scratch: Path, inspector: Inspector) -> Inspection:
    info = disk.read_info(image)
    files: Known[FileSystem]
    with open_system(image, inspector, scratch) as found:
        notes = found.notes
        if found.tree.value is not None:
            files, programs, more = _inspect_system(found.tree.value, image, scratch)
            notes += more
        else:
            files, programs = unknown(found.tree.unknown), None
    return Inspection(
        file=visible(image.name),
        kind=Kind.DISK,
        detail=f"{info.format}, {info.virtual_bytes} bytes as the guest sees it",
        size_bytes=image.stat().st_size,
        partitions=found.partitions,
        used_bytes=None if found.tree.value is None else found.used_bytes,
        files=files,
        code=programs,
        notes=notes,
    )


def _inspect_system(
    root: Tree, image: Path, scratch: Path
) -> tuple[Known[FileSystem], Known[tuple[CodeFile, ...]] | None, tuple[str, ...]]:
    try:
        inventory = known(_take_inventory(root, image, scratch), "the root file system")
        return inventory, count_in_programs(root, scratch), ()
    except ImageError as error:
        # A name could be read, but not what is in it.
        return unknown(reason_of(error, image)), None, ()


def _inspect_ramdisk(
    root: Tree, image: Path, scratch: Path
) -> tuple[Known[FileSystem], Known[tuple[CodeFile, ...]] | None, tuple[str, ...]]:
    files, programs, notes = _inspect_system(root, image, scratch)
    try:
        mounts = [row.point for row in contents.read_fstab(root)]
    except ImageError as error:
        return files, programs, (*notes, f"other mounts are not known: {reason_of(error, image)}")
    if mounts:
        told = (
            f"/etc/fstab mounts other file systems, which are not looked at: {contents.name_points(mounts)}"
        )
        notes += (told,)
    return files, programs, notes


def _take_inventory(root: Tree, image: Path, scratch: Path) -> FileSystem:
    def look(find: Callable[..., Known[T]], *where: object) -> Known[T]:
        """What a search finds, or why it cannot look."""
        try:
            return find(*where)
        except ImageError as error:
            return unknown(reason_of(error, image))

    kernel, initrd = linux.find_boot_files(root) or (None, None)
    no_kernel, no_initrd = "there is no kernel in /boot", "there is none for the kernel in /boot"
    return FileSystem(
        distribution=look(contents.find_distribution, root),
        packages=look(find_packages, root),
        executables=look(contents.count_executables, root),
        suid=contents.find_by_mode(root, 0o4000),
        sgid=contents.find_by_mode(root, 0o2000),
        capabilities=contents.find_capabilities(root),
        world_writable=contents.find_world_writable(root),
        users=look(contents.find_users, root),
        shells=look(contents.find_shells, root),
        interpreters=contents.find_interpreters(root),
        package_managers=contents.find_package_managers(root),
        units=contents.find_units(root),
        modules=contents.count_modules(root),
        kernel=look(linux.find_kernel_name, root),
        kernel_config=look(linux.find_config, root, scratch),
        kernel_cmdline=look(linux.find_cmdline, root),
        kernel_bytes=known(kernel.size_bytes, show_path(kernel.path)) if kernel else unknown(no_kernel),
        initrd_bytes=known(initrd.size_bytes, show_path(initrd.path)) if initrd else unknown(no_initrd),
        entries=len(root),
    )


# --- other images -------------------------------------------------------------------------------------


def _inspect_elf(source: Source) -> Inspection:
    headers = elf.read_elf(source)
    symbols, where = read_symbols(source, headers)
    return Inspection(
        file=visible(source.path.name),
        kind=Kind.ELF,
        detail=f"ELF{headers.bits} {headers.machine_name}"
        + (f" in {headers.wrapper}" if headers.wrapper else ""),
        size_bytes=source.size_bytes,
        elf=describe_elf(source, headers, symbols, where),
    )


def _inspect_initramfs(source: Source, scratch: Path) -> Inspection:
    with open_initramfs(source, scratch) as (tree, packing, unseen):
        files, programs, notes = _inspect_ramdisk(tree, source.path, scratch)
    return Inspection(
        file=visible(source.path.name),
        kind=Kind.INITRAMFS,
        detail=packing,
        size_bytes=source.size_bytes,
        files=files,
        code=programs,
        notes=notes + unseen,
    )


def _inspect_uki(source: Source, uki: Uki, scratch: Path) -> Inspection:
    with open_linux(source, uki) as inner:
        kernel = _describe_kernel(inner, scratch)
    cmdline: Known[str] = unknown("there is no section .cmdline: the boot loader gives it one")
    if uki.cmdline is not None:
        cmdline = known(show(uki.cmdline.encode()), "section .cmdline")
    files, programs = None, None
    notes: tuple[str, ...] = ("there is no initial ramdisk in it",)
    if uki.ramdisks:
        with (
            open_ramdisk(source, uki) as ramdisk,
            open_initramfs(ramdisk, scratch) as (tree, packing, unseen),
        ):
            files, programs, found = _inspect_ramdisk(tree, source.path, scratch)
        notes = (f"the files are those of its initial ramdisk: {packing}", *found, *unseen)
    return Inspection(
        file=visible(source.path.name),
        kind=Kind.UKI,
        detail="a Linux kernel, its command line and its initial ramdisk as an EFI program",
        size_bytes=source.size_bytes,
        files=files,
        kernel=msgspec.structs.replace(kernel, cmdline=cmdline),
        code=programs,
        notes=notes,
    )


def _inspect_kernel(source: Source, scratch: Path) -> Inspection:
    return Inspection(
        file=visible(source.path.name),
        kind=Kind.LINUX_KERNEL,
        detail="x86 boot protocol",
        size_bytes=source.size_bytes,
        kernel=_describe_kernel(source, scratch),
    )


def _describe_kernel(source: Source, scratch: Path) -> LinuxKernel:
    config: Known[KernelConfig]
    program: Known[Elf]
    try:
        with open_vmlinux(source, scratch) as vmlinux:
            config, program = linux.find_embedded_config(vmlinux), _inspect_vmlinux(vmlinux)
    except ImageError as error:
        reason = reason_of(error, source.path)
        config, program = unknown(reason), unknown(reason)
    return LinuxKernel(version=linux.find_version(source), config=config, program=program)


def _inspect_vmlinux(vmlinux: Source) -> Known[Elf]:
    reason = "the kernel is stripped; the symbols that it keeps for itself (kallsyms) are not read"
    try:
        found = describe_elf(vmlinux, elf.read_elf(vmlinux), [], reason, is_kernel=True)
    except ImageError as error:
        return unknown(reason_of(error, vmlinux.path))
    apt = tuple(row for row in found.mitigations if row.name in KERNEL_MITIGATIONS)
    return known(
        msgspec.structs.replace(found, mitigations=apt),
        f"the compressed kernel, unpacked: {vmlinux.size_bytes} bytes",
    )
