"""Reads the partitions of a raw disk, tells file systems apart by their first bytes, and finds the root.

No root, no mounting and no loop devices are needed.
"""

from __future__ import annotations

import json
import struct
import uuid
from contextlib import suppress

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.formats.disk import SECTOR
from guestbench.images.formats.ext import ExtFilesystem
from guestbench.images.inspection import Partition
from guestbench.images.source import Source, truncated, unusable
from guestbench.images.tree import looks_like_root
from guestbench.text import visible

SFDISK_TIMEOUT_S = 120.0
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
ROOTS = {
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709": "x86-64",
    "B921B045-1DF0-41C3-AF44-4C6F280D3FAE": "AArch64",
    "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3": "ARM",
    "72EC70A6-CF74-40E6-BD49-4BDA08E8F224": "RISC-V",
    "C31C45E6-3F39-412E-80FB-4809C4980599": "PowerPC64",
    "5EEAD9A9-FE09-4A1E-A1D7-520D00531306": "s390x",
    "77055800-792C-4F94-B39A-98C91B762BB6": "LoongArch",
}
"""GPT types of root partitions by architecture (UAPI Group, Discoverable Partitions)."""
_PURPOSES = {
    "21686148-6449-6E6F-744E-656564454649": "BIOS boot",
    ESP: "EFI system",
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4": "Linux data",
    "BC13C2FF-59E6-4262-A352-B275FD6F7172": "Linux boot",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F": "Linux swap",
    "E6D6D379-F507-44C2-A23C-238F2A3DF928": "Linux LVM",
    **{kind: f"Linux root ({architecture})" for kind, architecture in ROOTS.items()},
    "83": "Linux",
    "82": "Linux swap",
    "8E": "Linux LVM",
    "EF": "EFI system",
    "C": "FAT32",
}
_FILES_OF_LINUX = ("Linux", "Linux data", "Linux root (x86-64)")

_SIGNATURES = (
    (0, b"XFSB", "xfs"),
    (0, b"hsqs", "squashfs"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (82, b"FAT32   ", "vfat"),
    (54, b"FAT16   ", "vfat"),
    (54, b"FAT12   ", "vfat"),
    (0, b"LUKS\xba\xbe", "encrypted (LUKS)"),
    (3, b"-FVE-FS-", "encrypted (BitLocker)"),
    (536, b"LVM2 001", "LVM physical volume"),
    (3, b"NTFS    ", "ntfs"),
    (4086, b"SWAPSPACE2", "swap"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"),
    (0x8001, b"CD001", "iso9660"),
    (0, b"bcachefs", "bcachefs"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
)
"""Offset and bytes by which blkid, too, tells what is in a partition."""
_PROBED_BYTES = 1 << 17
_EXT_MAGIC = b"\x53\xef"
_HAS_JOURNAL, _EXT4_FEATURES = 0x4, 0x40 | 0x80 | 0x200


def find_partitions(disk: Source) -> tuple[Partition, ...]:
    """The partitions of a raw disk, by number; a file system without a partition table is partition 0.

    Raises:
        ImageError: the disk cannot be read, or a partition lies beyond its end.
        ToolMissing: sfdisk is not installed.
    """
    rows = _read_table(disk)
    for number, start, size, _ in rows:
        if start + size > disk.size_bytes:
            raise truncated(disk.path, f"partition {number}", start + size, disk.size_bytes, "disk")
    found = [
        Partition(
            number=number,
            start_bytes=start,
            size_bytes=size,
            type=kind,
            purpose=_PURPOSES.get(kind, ""),
            content=_find_content(disk.read_some(start, min(size, _PROBED_BYTES))),
        )
        for number, start, size, kind in rows or [(0, 0, disk.size_bytes, "")]
    ]
    return tuple(partition for partition in found if partition.number or partition.content)


def _read_table(source: Source) -> list[tuple[int, int, int, str]]:
    """Number, start, size (in bytes) and type of each partition; none if there is no partition table."""
    done = process.run(
        ["sfdisk", "--json", source.device], timeout_s=SFDISK_TIMEOUT_S, check=False, env={"LC_ALL": "C"}
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
                visible(str(entry["type"]).upper()),
            )
            for entry in table.get("partitions", ())
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unusable(source.path, "has a partition table that cannot be read") from error


def _find_content(start: bytes) -> str:
    """What begins with these bytes: a file system, or something else that fills a partition."""
    if start[1080:1082] == _EXT_MAGIC:
        compatible, incompatible = struct.unpack_from("<II", start.ljust(2048, b"\0"), 1024 + 92)
        if incompatible & _EXT4_FEATURES:
            return "ext4"
        return "ext3" if compatible & _HAS_JOURNAL else "ext2"
    return next((name for at, magic, name in _SIGNATURES if start[at : at + len(magic)] == magic), "")


def find_root(disk: Source) -> Partition:
    """The partition with the root file system: the first with what only a root has, else the largest.

    Only ext2, ext3 and ext4 are considered, as they can be read without mounting.

    Raises:
        ImageError: there is none.
        ToolMissing: sfdisk is not installed.
    """
    partitions = find_partitions(disk)
    candidates = [p for p in partitions if p.is_ext]
    for partition in candidates:
        # A damaged file system beside the root is no reason to refuse the disk.
        with suppress(ImageError):
            if looks_like_root(open_partition(disk, partition)):
                return partition
    linux = [p for p in candidates if p.purpose in _FILES_OF_LINUX] or candidates
    if linux:
        return max(linux, key=lambda p: p.size_bytes)
    found = ", ".join(p.content or "unknown" for p in partitions) or "no partition"
    raise unusable(disk.path, f"has no ext4 file system with a root folder (found: {found})")


def open_partition(disk: Source, partition: Partition) -> ExtFilesystem:
    """The ext file system in a partition; it can be read from as long as the disk is open.

    Raises:
        ImageError: it holds none, or one that cannot be read.
    """
    return ExtFilesystem(disk, partition.start_bytes, partition.size_bytes)


# --- the first sectors --------------------------------------------------------------------------------


def find_mbr_ends(start: bytes) -> dict[int, int]:
    """Where the partitions of an MBR end, in bytes by number; none where there is code in its place."""
    entries = [struct.unpack_from("<B3xB3xII", start, 446 + 16 * number) for number in range(4)]
    if any(status not in (0, 0x80) for status, *_ in entries):
        return {}
    # A protective entry (0xEE) may cover more than the disk (UEFI 2.10, table 5.4).
    return {
        number: (first + sectors) * SECTOR
        for number, (_, kind, first, sectors) in enumerate(entries, 1)
        if kind not in (0, 0xEE)
    }


def find_gpt(start: bytes) -> tuple[int, frozenset[str]]:
    """Where a GPT's backup ends, in bytes, and the types of its partitions; 0 if there is no GPT."""
    if start[SECTOR : SECTOR + 8] != b"EFI PART" or len(start) < 2 * SECTOR:
        return 0, frozenset()
    (last,) = struct.unpack_from("<Q", start, SECTOR + 32)
    entries_at, count, entry_bytes = struct.unpack_from("<QII", start, SECTOR + 72)
    end = (last + 1) * SECTOR
    if entry_bytes < 128 or count > len(start) // 128:
        return end, frozenset()
    offsets = (entries_at * SECTOR + entry_bytes * number for number in range(count))
    types = (raw for offset in offsets if len(raw := start[offset : offset + 16]) == 16 and any(raw))
    return end, frozenset(str(uuid.UUID(bytes_le=raw)).upper() for raw in types)
