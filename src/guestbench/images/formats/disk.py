"""Reads disk images: format, partitions, and files inside, without root, mounting or loop devices.

It never changes an image, and never opens a file that an image names.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from guestbench.errors import HostError, ImageError
from guestbench.host import process
from guestbench.images.formats import qcow2
from guestbench.images.formats.ext import ExtFilesystem, Inode
from guestbench.images.source import (
    Source,
    open_source,
    quoted,
    truncated,
    unusable,
)
from guestbench.model import DiskFormat, Frozen
from guestbench.text import visible

SECTOR = 512
TOOL_TIMEOUT_S = 120.0
CONVERT_TIMEOUT_S = 1800.0
"""Generous: a 3 GiB image takes seconds; the limit only keeps a broken disk from stopping a run for ever."""

OTHER_FORMATS = {
    b"KDMV": "VMDK",
    b"# Disk DescriptorFile": "VMDK",
    b"vhdxfile": "VHDX",
    b"conectix": "VHD",
    b"<<< ": "VDI",
    b"QED\0": "QED",
}
"""How files of formats that are not supported begin."""

_LINUX_TYPES = frozenset(
    {
        "83",
        "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
        "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    }
)
"""Partition types that hold Linux file systems: MBR, GPT, and GPT's root for x86-64."""

_EXT_MAGIC = b"\x53\xef"
_EXT_SUPERBLOCK_AT, _EXT_SUPERBLOCK_BYTES = 1024, 1024
_PROBED_BYTES = 1 << 17
"""Enough for the magic numbers of all file systems that are told apart; btrfs has its own at 64 KiB."""
_HAS_JOURNAL, _64BIT, _EXT4_FEATURES = 0x4, 0x80, 0x40 | 0x80 | 0x200


class Partition(Frozen):
    """A partition. `number` is 0 for a file system that fills a disk without a partition table.

    `type` is a GPT type GUID or an MBR type in hexadecimal, as sfdisk prints them; `filesystem` is ext2,
    ext3, ext4, vfat, xfs, btrfs, squashfs, or None where it is none of these.
    """

    number: int
    start_bytes: int
    size_bytes: int
    type: str
    filesystem: str | None


class ImageInfo(Frozen):
    """What an image is: `backing` is the backing file's name as written in it, None if it stands alone."""

    format: DiskFormat
    file_bytes: int
    virtual_bytes: int
    allocated_bytes: int
    backing: str | None


class FilesystemUsage(Frozen):
    """How full a file system is. `used_bytes` is all that is not free: files, their metadata, the journal."""

    block_bytes: int
    blocks: int
    free_blocks: int

    @property
    def used_bytes(self) -> int:
        """Bytes of the blocks that are not free."""
        return (self.blocks - self.free_blocks) * self.block_bytes


# --- whole images -----------------------------------------------------------------------------------


def find_format(image: Path) -> DiskFormat:
    """Tell qcow2 from raw by the first bytes; what is neither is raw unless it is known as something else.

    Raises:
        ImageError: the file cannot be read, or is of another format.
    """
    with open_source(image) as source:
        start = source.read_some(0, 32)
    if start.startswith(qcow2.MAGIC):
        return DiskFormat.QCOW2
    for magic, name in OTHER_FORMATS.items():
        if start.startswith(magic):
            raise ImageError(
                f"{visible(image)} is a {name} image; qcow2 and raw can be booted",
                f"qemu-img convert -O qcow2 {quoted(image)} {quoted(add_suffix(image, DiskFormat.QCOW2))}",
            )
    return DiskFormat.RAW


def read_info(image: Path) -> ImageInfo:
    """Read an image's sizes with `qemu-img info`; a backing file is reported, never opened.

    Raises:
        ImageError: it is not a sound qcow2 or raw image.
        ToolMissing, ToolFailed: qemu-img is not installed, or failed.
    """
    kind = find_format(image)
    backing = _check_qcow2(image, backing_allowed=True) if kind is DiskFormat.QCOW2 else None
    # -U: the image may be in use by a VM, and is only looked at.
    answer = run_qemu_img(image, ["info", "-U", "-f", kind.value, "--output=json", str(image.absolute())])
    try:
        facts = json.loads(answer)
        virtual_bytes, allocated_bytes = int(facts["virtual-size"]), int(facts["actual-size"])
    except (ValueError, KeyError, TypeError) as error:
        raise unusable(image, "is described by qemu-img in a way that cannot be read") from error
    return ImageInfo(
        format=kind,
        file_bytes=image.stat().st_size,
        virtual_bytes=virtual_bytes,
        allocated_bytes=allocated_bytes,
        backing=backing,
    )


def convert_to_raw(image: Path, dest: Path, *, backing_allowed: bool = False) -> None:
    """Write the contents of an image to `dest` as a sparse raw file.

    `backing_allowed` is only for overlays that this tool made: with it, files named in the image are read.

    Raises:
        ImageError: it is not a sound qcow2 or raw image, or has a backing file.
        ToolMissing, ToolFailed: qemu-img is not installed, or failed.
    """
    kind = find_format(image)
    if kind is DiskFormat.QCOW2:
        _check_qcow2(image, backing_allowed=backing_allowed)
    argv = ["convert", "-U", "-f", kind.value, "-O", "raw", str(image.absolute()), str(dest.absolute())]
    run_qemu_img(image, argv)


def _check_qcow2(image: Path, *, backing_allowed: bool) -> str | None:
    with open_source(image) as source:
        header = qcow2.read_header(source)
        qcow2.check_self_contained(source, header, backing_allowed=backing_allowed)
        return header.backing


def run_qemu_img(image: Path, arguments: list[str]) -> bytes:
    """Run qemu-img on `image`; what it writes, if anything, is its last argument. Returns what it prints.

    Raises:
        ImageError: it cannot read the image.
        HostError: there is no room for its output, or qemu-img is not installed (ToolMissing).
    """
    done = process.run(["qemu-img", *arguments], timeout_s=CONVERT_TIMEOUT_S, check=False)
    if done.status != 0:
        if b"No space left on device" in done.stderr:
            raise _no_space(Path(arguments[-1]))
        words = process.tail(done.stderr).strip().splitlines() or ["qemu-img failed"]
        raise ImageError(
            f"{visible(image)} cannot be read: {words[-1].removeprefix('qemu-img: ')}",
            f"qemu-img check {quoted(image)}",
        )
    return done.stdout


def add_suffix(image: Path, kind: DiskFormat) -> Path:
    """The name of a file beside `image`, for a copy in another format."""
    return image.with_name(f"{image.name}.{kind.value}")


def _no_space(dest: Path) -> HostError:
    return HostError(f"no space left for {visible(dest)}", f"df -h {quoted(dest.parent)}")


# --- partitions -------------------------------------------------------------------------------------


def find_partitions(raw: Path) -> tuple[Partition, ...]:
    """The partitions of a raw disk, by number; a file system without a partition table is partition 0.

    Raises:
        ImageError: the disk cannot be read, or a partition lies beyond its end.
        ToolMissing: sfdisk is not installed.
    """
    with open_source(raw) as source:
        rows = _read_table(source)
        partitions = []
        for number, start, size, kind in rows:
            if start + size > source.size_bytes:
                raise truncated(raw, f"partition {number}", start + size, source.size_bytes, "disk")
            filesystem = _find_filesystem(source.read_some(start, min(size, _PROBED_BYTES)))
            partitions.append(
                Partition(number=number, start_bytes=start, size_bytes=size, type=kind, filesystem=filesystem)
            )
        filesystem = None if partitions else _find_filesystem(source.read_some(0, _PROBED_BYTES))
        if filesystem:
            size = source.size_bytes
            return (Partition(number=0, start_bytes=0, size_bytes=size, type="", filesystem=filesystem),)
    return tuple(partitions)


def _read_table(source: Source) -> list[tuple[int, int, int, str]]:
    """Number, start, size (in bytes) and type of each partition; none if there is no partition table."""
    done = process.run(
        ["sfdisk", "--json", source.device], timeout_s=TOOL_TIMEOUT_S, check=False, env={"LC_ALL": "C"}
    )
    if done.status != 0:
        return []
    try:
        table = json.loads(done.stdout)["partitiontable"]
        sector = int(table.get("sectorsize", SECTOR))
        return sorted(
            (
                # The name of a partition on a device whose name ends with a digit: device, p, number.
                int(str(entry["node"]).removeprefix(f"{source.device}p")),
                int(entry["start"]) * sector,
                int(entry["size"]) * sector,
                str(entry["type"]).upper(),
            )
            for entry in table.get("partitions", ())
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unusable(source.path, "has a partition table that cannot be read") from error


def _find_filesystem(start: bytes) -> str | None:
    """Name the file system whose first bytes these are, by the magic numbers that blkid goes by."""
    if start[1080:1082] == _EXT_MAGIC:
        compatible, incompatible = struct.unpack_from("<II", start.ljust(2048, b"\0"), 1024 + 92)
        if incompatible & _EXT4_FEATURES:
            return "ext4"
        return "ext3" if compatible & _HAS_JOURNAL else "ext2"
    for offset, magic, name in (
        (0, b"XFSB", "xfs"),
        (0, b"hsqs", "squashfs"),
        (0x10040, b"_BHRfS_M", "btrfs"),
        (82, b"FAT32   ", "vfat"),
        (54, b"FAT16   ", "vfat"),
        (54, b"FAT12   ", "vfat"),
    ):
        if start[offset : offset + len(magic)] == magic:
            return name
    return None


def find_root(raw: Path) -> Partition:
    """The partition with the root file system: one that has an init or /etc/os-release, else the largest.

    Only ext2, ext3 and ext4 are considered, as they can be read without mounting.

    Raises:
        ImageError: there is none.
        ToolMissing: sfdisk or debugfs is not installed.
    """
    partitions = find_partitions(raw)
    candidates = [p for p in partitions if (p.filesystem or "").startswith("ext")]
    with open_source(raw) as source:
        for partition in candidates:
            filesystem = ExtFilesystem(source, partition.start_bytes)
            # A damaged file system beside the root is no reason to refuse the disk.
            with suppress(ImageError):
                if any(filesystem.find(path) for path in ("/etc/os-release", "/sbin/init")):
                    return partition
    linux = [p for p in candidates if p.type in _LINUX_TYPES] or candidates
    if linux:
        return max(linux, key=lambda p: p.size_bytes)
    found = ", ".join(p.filesystem or "unknown" for p in partitions) or "no partition"
    raise unusable(raw, f"has no ext4 file system with a root folder (found: {found})")


# --- files inside -----------------------------------------------------------------------------------


def list_files(raw: Path, partition: Partition, folder: str) -> tuple[str, ...]:
    """Names of what is in a folder of an ext file system, sorted, without `.` and `..`.

    Bytes that are not UTF-8 come as surrogates, as everywhere in Python's file names.

    Raises:
        ImageError: there is no such folder, or the file system cannot be read.
        ToolMissing: debugfs is not installed.
    """
    with _open_filesystem(raw, partition) as filesystem:
        inode = filesystem.find(folder)
        if inode is None or not inode.is_folder:
            raise unusable(raw, f"has no folder {visible(folder)}")
        return tuple(sorted(os.fsdecode(name) for name in filesystem.read_folder(inode)))


def file_size(raw: Path, partition: Partition, path: str) -> int:
    """Bytes of a regular file inside an ext file system, through symbolic links.

    Raises:
        ImageError: there is no such regular file, or the file system cannot be read.
        ToolMissing: debugfs is not installed.
    """
    with _open_filesystem(raw, partition) as filesystem:
        return _find_file(raw, filesystem, path).size_bytes


def extract_file(raw: Path, partition: Partition, path: str, dest: Path) -> None:
    """Copy a file out of an ext file system to `dest`, through symbolic links inside that file system.

    Raises:
        ImageError: there is no such regular file, or the file system cannot be read.
        HostError: there is no room for it, or debugfs is not installed (ToolMissing).
        OSError: `dest` cannot be written.
    """
    with _open_filesystem(raw, partition) as filesystem:
        inode = _find_file(raw, filesystem, path)
        # A sparse file can claim more bytes than any disk has; writing it out would fill ours.
        if inode.size_bytes > partition.size_bytes:
            raise unusable(raw, f"is damaged: {visible(path)} would be larger than its file system")
        if inode.size_bytes > shutil.disk_usage(dest.parent).free:
            raise _no_space(dest)
        partial = dest.with_name(f"{dest.name}.partial")
        try:
            with partial.open("wb") as file:
                filesystem.copy(inode, file)
            if partial.stat().st_size != inode.size_bytes:
                raise unusable(raw, f"is damaged: {visible(path)} cannot be read to its end")
            partial.replace(dest)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _open_filesystem(raw: Path, partition: Partition) -> Iterator[ExtFilesystem]:
    if not (partition.filesystem or "").startswith("ext"):
        raise unusable(raw, f"has no ext file system in partition {partition.number}")
    with open_source(raw) as source:
        yield ExtFilesystem(source, partition.start_bytes)


def _find_file(raw: Path, filesystem: ExtFilesystem, path: str) -> Inode:
    inode = filesystem.find(path)
    if inode is None or not inode.is_regular:
        raise unusable(raw, f"has no file {visible(path)}")
    return inode


def read_usage(raw: Path, partition: Partition) -> FilesystemUsage:
    """How full an ext file system is, from its superblock.

    The layout is in the kernel's documentation, "ext4 Data Structures and Algorithms".

    Raises:
        ImageError: it is not an ext file system, or its superblock is not sound.
    """
    with open_source(raw) as source:
        at = partition.start_bytes + _EXT_SUPERBLOCK_AT
        block = source.read(at, _EXT_SUPERBLOCK_BYTES, "the superblock")
    if block[56:58] != _EXT_MAGIC:
        raise unusable(raw, f"has no ext file system in partition {partition.number}")
    (blocks,), (free,) = struct.unpack_from("<I", block, 4), struct.unpack_from("<I", block, 12)
    (log_size,), (incompatible,) = struct.unpack_from("<I", block, 24), struct.unpack_from("<I", block, 96)
    if incompatible & _64BIT:
        blocks |= struct.unpack_from("<I", block, 0x150)[0] << 32
        free |= struct.unpack_from("<I", block, 0x158)[0] << 32
    if log_size > 6 or free > blocks or blocks << (10 + log_size) > partition.size_bytes:
        raise unusable(raw, f"is damaged: the superblock of partition {partition.number} is not sound")
    return FilesystemUsage(block_bytes=1024 << log_size, blocks=blocks, free_blocks=free)
