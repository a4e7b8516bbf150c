"""Takes an image file apart for `guestbench inspect`: tells its kind and asks each reader; it boots nothing.

It needs no root, mounts nothing, and changes no image. A part that cannot be read is a reason in the result;
only a file that is no image at all is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from guestbench.errors import HostError, ImageError
from guestbench.images.contents import files as contents
from guestbench.images.contents import linux
from guestbench.images.contents.linux import find_boot_kernel
from guestbench.images.contents.packages import find_packages
from guestbench.images.contents.programs import count_in_programs, describe_elf, read_symbols
from guestbench.images.formats import disk, elf
from guestbench.images.formats.initramfs import find_old_format, looks_like_archive, open_initramfs
from guestbench.images.formats.kernel import find_linux_header, open_vmlinux
from guestbench.images.formats.partitions import find_partitions, open_partition
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
    Partition,
    known,
    unknown,
)
from guestbench.images.source import Source, open_source, quoted, reason_of, unusable
from guestbench.images.tree import Tree, looks_like_root, show
from guestbench.model import DiskFormat
from guestbench.text import visible

T = TypeVar("T")

KERNEL_MITIGATIONS = ("stack protector", "indirect branch tracking")
"""The others are promises to a loader of programs, which does not load kernels."""
MAX_TREES = 4
"""Each may take some hundred MiB of memory if it is hostile."""


def inspect_image(image: Path, scratch: Path) -> Inspection:
    """Find out what an image holds. `scratch` is a folder with room for its contents.

    Raises:
        ImageError: it is not an image that can be inspected.
        HostError: a program that is needed is missing or fails, or there is no room in `scratch`.
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
        return _inspect_disk(image, scratch)
    except OSError as error:
        # All reads of the image raise ImageError; what is left is the scratch folder, which may be full.
        raise HostError(
            f"{visible(scratch)} cannot be used as scratch space: {error.strerror}",
            f"df -h {quoted(scratch.parent)}",
        ) from error


# --- disks --------------------------------------------------------------------------------------------


class _System(NamedTuple):
    """A root file system, and the folder of the file system that has its kernel."""

    root: Tree
    boot: Tree
    folder: str
    notes: tuple[str, ...] = ()


def _inspect_disk(image: Path, scratch: Path) -> Inspection:
    info = disk.read_info(image)
    with _open_raw(image, info.format, scratch) as raw:
        partitions = find_partitions(raw)
        if not partitions:
            raise unusable(image, "is no disk with partitions or a known file system, and no other image")
        trees, reasons = _read_trees(raw, partitions)
        if trees:
            files, programs, notes = _inspect_system(_find_system(list(trees.values())), image, scratch)
            notes += tuple(reasons)
        else:
            found = ", ".join(sorted({p.content or "unknown" for p in partitions}))
            none = f"no root file system in ext2, ext3 or ext4 can be read (found: {found})"
            files, programs, notes = unknown("; ".join([none, *reasons])), None, ()
    root = next(iter(trees), None)
    marked = (msgspec.structs.replace(each, is_root=each.number == root) for each in partitions)
    return Inspection(
        file=visible(image.name),
        kind=Kind.DISK,
        detail=f"{info.format}, {info.virtual_bytes} bytes as the guest sees it",
        size_bytes=image.stat().st_size,
        partitions=tuple(marked),
        files=files,
        code=programs,
        notes=notes,
    )


@contextmanager
def _open_raw(image: Path, kind: DiskFormat, scratch: Path) -> Iterator[Source]:
    raw = image if kind is DiskFormat.RAW else scratch / "disk.raw"
    try:
        if raw != image:
            disk.convert_to_raw(image, raw)
        with open_source(raw, shown=image) as source:
            yield source
    finally:
        if raw != image:
            raw.unlink(missing_ok=True)


def _read_trees(
    raw: Source, partitions: tuple[Partition, ...]
) -> tuple[dict[int, tuple[Tree, tuple[str, ...]]], list[str]]:
    """The ext file systems by partition number, the root first; and why others could not be read.

    There are none where no one of them is a root file system.
    """
    trees: dict[int, tuple[Tree, tuple[str, ...]]] = {}
    reasons = []
    by_size = sorted((p for p in partitions if p.is_ext), key=lambda p: -p.size_bytes)
    for partition in by_size[:MAX_TREES]:
        try:
            trees[partition.number] = open_partition(raw, partition).read_tree()
        except ImageError as error:
            reasons.append(f"partition {partition.number}: {reason_of(error, raw.path)}")
    reasons += [
        f"partition {partition.number}: only the {MAX_TREES} largest ext file systems are read"
        for partition in by_size[MAX_TREES:]
    ]
    # Sorting is stable: the largest first.
    ordered = dict(sorted(trees.items(), key=lambda item: not looks_like_root(item[1][0])))
    if ordered and not looks_like_root(next(iter(ordered.values()))[0]):
        # Of a disk whose root is encrypted, /boot is no root file system with 0 users.
        numbers = ", ".join(map(str, ordered))
        reasons.append(f"the ext file system in partition {numbers} is no root: no init, users or os-release")
        return {}, reasons
    return ordered, reasons


def _find_system(trees: list[tuple[Tree, tuple[str, ...]]]) -> _System:
    """The first tree, with /boot from another one if the first has no kernel."""
    (root, notes), *others = trees
    places = [(root, "boot"), *((tree, "") for tree, _ in others)]
    try:
        boot, folder = next((place for place in places if find_boot_kernel(*place) is not None), places[0])
    except ImageError:
        boot, folder = places[0]  # whoever asks for the kernel is told why
    return _System(root, boot, folder, notes)


def _inspect_system(
    system: _System, image: Path, scratch: Path
) -> tuple[Known[FileSystem], Known[tuple[CodeFile, ...]] | None, tuple[str, ...]]:
    root, boot, folder, notes = system
    try:
        inventory = known(_take_inventory(root, boot, folder, image, scratch), "the root file system")
        programs = count_in_programs(root, boot, folder, scratch)
    except ImageError as error:
        # A name could be read, but not what is in it.
        return unknown(reason_of(error, image)), None, notes
    try:
        mounts = contents.find_mounts(root)
    except ImageError as error:
        return inventory, programs, (*notes, f"other mounts are not known: {reason_of(error, image)}")
    if mounts:
        notes += (f"/etc/fstab mounts other file systems, which are not looked at: {', '.join(mounts)}",)
    return inventory, programs, notes


def _take_inventory(root: Tree, boot: Tree, folder: str, image: Path, scratch: Path) -> FileSystem:
    def look(find: Callable[..., Known[T]], *where: object) -> Known[T]:
        """What a search finds, or why it cannot look."""
        try:
            return find(*where)
        except ImageError as error:
            return unknown(reason_of(error, image))

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
        kernel=look(linux.find_kernel_name, boot, folder),
        kernel_config=look(linux.find_config, boot, folder, root, scratch),
        kernel_cmdline=look(linux.find_cmdline, boot, folder),
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
        files, programs, notes = _inspect_system(_System(tree, tree, "boot"), source.path, scratch)
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
            files, programs, found = _inspect_system(_System(tree, tree, "boot"), source.path, scratch)
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
