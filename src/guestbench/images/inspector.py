"""Takes an image file apart for `guestbench inspect`: tells its kind and asks each reader; it boots nothing.

It needs no root, mounts nothing, and changes no image. A part that cannot be read is a reason in the result;
only a file that is no image at all is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from guestbench.errors import HostError, ImageError
from guestbench.images.contents import files as contents
from guestbench.images.contents import linux as linux_kernel
from guestbench.images.contents.packages import find_packages
from guestbench.images.contents.programs import (
    count_in_programs,
    describe_elf,
    read_symbols,
    reason_of,
)
from guestbench.images.formats import disk, elf
from guestbench.images.formats.ext import ExtFilesystem
from guestbench.images.formats.initramfs import looks_like_archive, open_initramfs
from guestbench.images.formats.kernel import find_linux_header
from guestbench.images.formats.partitions import Partition, find_partitions
from guestbench.images.inspection import (
    CodeFile,
    Elf,
    FileSystem,
    Inspection,
    KernelConfig,
    Kind,
    Known,
    LinuxKernel,
    PartitionFound,
    known,
    unknown,
)
from guestbench.images.source import (
    Source,
    open_source,
    quoted,
    unusable,
)
from guestbench.images.tree import Tree, looks_like_root
from guestbench.model import DiskFormat
from guestbench.text import visible

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
                return _inspect_elf(source, image)
            if find_linux_header(start) is not None:
                return _inspect_kernel(source, image, scratch)
            if looks_like_archive(start):
                return _inspect_initramfs(source, image, scratch)
        return _inspect_disk(image, scratch)
    except OSError as error:
        # All reads of the image raise ImageError; what is left is the scratch folder, which may be full.
        raise HostError(
            f"{visible(scratch)} cannot be used as scratch space: {error.strerror}",
            f"df -h {quoted(scratch.parent)}",
        ) from error


# --- disks --------------------------------------------------------------------------------------------


def _inspect_disk(image: Path, scratch: Path) -> Inspection:
    info = disk.read_info(image)
    with _as_raw(image, info.format, scratch) as raw, open_source(raw) as source:
        partitions = _find_partitions(image, raw)
        if not partitions:
            raise unusable(image, "is no disk with partitions or a known file system, and no other image")
        trees, reasons = _read_trees(source, partitions)
        files, programs, notes = _inspect_trees(trees, raw, scratch)
        if files is None:
            words = ", ".join(sorted({p.content or "unknown" for p in partitions}))
            files = unknown(
                "; ".join(
                    [f"no root file system in ext2, ext3 or ext4 can be read (found: {words})", *reasons]
                )
            )
        root = next(iter(trees), None)
    return Inspection(
        file=visible(image.name),
        kind=Kind.DISK,
        detail=f"{info.format}, {info.virtual_bytes} bytes as the guest sees it",
        size_bytes=info.file_bytes,
        partitions=tuple(
            PartitionFound(
                number=p.number,
                start_bytes=p.start_bytes,
                size_bytes=p.size_bytes,
                type=visible(p.type),
                content=p.content,
                purpose=p.purpose,
                is_root=p.number == root,
            )
            for p in partitions
        ),
        files=files,
        code=programs,
        notes=(*notes, *(reasons if trees else ())),
    )


@contextmanager
def _as_raw(image: Path, kind: DiskFormat, scratch: Path) -> Iterator[Path]:
    if kind is DiskFormat.RAW:
        yield image
        return
    raw = scratch / "disk.raw"
    try:
        disk.convert_to_raw(image, raw)
        yield raw
    finally:
        raw.unlink(missing_ok=True)


def _find_partitions(image: Path, raw: Path) -> tuple[Partition, ...]:
    try:
        return find_partitions(raw)
    except ImageError as error:
        # The raw copy is gone before anyone could look at it: name the image instead.
        raise unusable(image, reason_of(error, raw)) from error


def _read_trees(
    source: Source, partitions: tuple[Partition, ...]
) -> tuple[dict[int, tuple[Tree, tuple[str, ...]]], list[str]]:
    """The ext file systems by partition number, the root first; and why others could not be read.

    There are none where no one of them is a root file system.
    """
    trees: dict[int, tuple[Tree, tuple[str, ...]]] = {}
    reasons = []
    wanted = [p for p in partitions if p.is_ext]
    for number, partition in enumerate(sorted(wanted, key=lambda p: -p.size_bytes)):
        if number >= MAX_TREES:
            reasons.append(
                f"partition {partition.number}: only the {MAX_TREES} largest ext file systems are read"
            )
        else:
            try:
                trees[partition.number] = ExtFilesystem(
                    source, partition.start_bytes, partition.size_bytes
                ).read_tree()
            except ImageError as error:
                reasons.append(f"partition {partition.number}: {reason_of(error, source.path)}")
    sizes = {partition.number: partition.size_bytes for partition in partitions}

    def rank(number: int) -> tuple[bool, int]:
        tree = trees[number][0]
        return not looks_like_root(tree), -sizes[number]

    ordered = {number: trees[number] for number in sorted(trees, key=rank)}
    if ordered and not looks_like_root(next(iter(ordered.values()))[0]):
        # Of a disk whose root is encrypted, /boot is no root file system with 0 users.
        numbers = ", ".join(map(str, ordered))
        reasons.append(f"the ext file system in partition {numbers} is no root: no init, users or os-release")
        return {}, reasons
    return ordered, reasons


def _inspect_trees(
    trees: dict[int, tuple[Tree, tuple[str, ...]]], source: Path, scratch: Path
) -> tuple[Known[FileSystem] | None, Known[tuple[CodeFile, ...]] | None, list[str]]:
    """The inventory of the first tree, with /boot from another one if the first has no kernel."""
    if not trees:
        return None, None, []
    (root, notes), *others = trees.values()
    boot, folder = root, "boot"
    if not _has_kernel(root, "boot"):
        boot, folder = next(((tree, "") for tree, _ in others if _has_kernel(tree, "")), (root, "boot"))
    try:
        files: Known[FileSystem] = known(_take_inventory(root, boot, folder), "the root file system")
        programs = count_in_programs(root, boot, folder, scratch)
        mounts = contents.find_mounts(root)
        unseen = [f"/etc/fstab mounts other file systems, which are not looked at: {', '.join(mounts)}"]
        return files, programs, [*notes, *(unseen if mounts else ())]
    except ImageError as error:
        # A name could be read, but not what is in it.
        return unknown(reason_of(error, source)), None, list(notes)


def _has_kernel(tree: Tree, folder: str) -> bool:
    found = tree.find(folder)
    return found is not None and any(
        entry.folder == found.path and entry.name.startswith(b"vmlinuz-") for entry in tree.below(folder)
    )


def _take_inventory(root: Tree, boot: Tree, folder: str) -> FileSystem:
    kernel, config, cmdline = linux_kernel.find_boot_files(boot, folder)
    return FileSystem(
        distribution=contents.find_distribution(root),
        packages=find_packages(root),
        executables=contents.count_executables(root),
        suid=contents.find_by_mode(root, 0o4000),
        sgid=contents.find_by_mode(root, 0o2000),
        capabilities=contents.find_capabilities(root),
        world_writable=contents.find_world_writable(root),
        users=contents.find_users(root),
        shells=contents.find_shells(root),
        interpreters=contents.find_interpreters(root),
        package_managers=contents.find_package_managers(root),
        units=contents.find_units(root),
        modules=contents.count_modules(root),
        kernel=kernel,
        kernel_config=config,
        kernel_cmdline=cmdline,
        entries=len(root),
    )


# --- other images -------------------------------------------------------------------------------------


def _inspect_elf(source: Source, image: Path) -> Inspection:
    headers = elf.read_elf(image)
    symbols, where = read_symbols(source, headers, image)
    return Inspection(
        file=visible(image.name),
        kind=Kind.ELF,
        detail=f"ELF{headers.bits} {headers.machine_name}"
        + (f" in {headers.wrapper}" if headers.wrapper else ""),
        size_bytes=source.size_bytes,
        elf=describe_elf(source, headers, symbols, where),
    )


def _inspect_initramfs(source: Source, image: Path, scratch: Path) -> Inspection:
    with open_initramfs(source, scratch) as (tree, packing):
        files, programs, notes = _inspect_trees({0: (tree, ())}, source.path, scratch)
    return Inspection(
        file=visible(image.name),
        kind=Kind.INITRAMFS,
        detail=packing,
        size_bytes=source.size_bytes,
        files=files,
        code=programs,
        notes=tuple(notes),
    )


def _inspect_kernel(source: Source, image: Path, scratch: Path) -> Inspection:
    vmlinux = scratch / "vmlinux"
    try:
        problem = linux_kernel.try_unpack(source, vmlinux)
        inside: Known[Elf] = unknown(problem)
        config: Known[KernelConfig] = unknown(problem)
        if not problem:
            config = linux_kernel.find_embedded_config(vmlinux)
            inside = _inspect_unpacked(vmlinux)
    finally:
        vmlinux.unlink(missing_ok=True)
    return Inspection(
        file=visible(image.name),
        kind=Kind.LINUX_KERNEL,
        detail="x86 boot protocol",
        size_bytes=source.size_bytes,
        kernel=LinuxKernel(version=linux_kernel.read_version(source), config=config, program=inside),
    )


def _inspect_unpacked(vmlinux: Path) -> Known[Elf]:
    try:
        with open_source(vmlinux) as source:
            size = source.size_bytes
            reason = "the kernel is stripped; the symbols that it keeps for itself (kallsyms) are not read"
            part = describe_elf(source, elf.read_elf(vmlinux), [], reason, is_kernel=True)
    except ImageError as error:
        return unknown(reason_of(error, vmlinux))
    apt = tuple(row for row in part.mitigations if row.name in KERNEL_MITIGATIONS)
    return known(
        msgspec.structs.replace(part, mitigations=apt), f"the compressed kernel, unpacked: {size} bytes"
    )
