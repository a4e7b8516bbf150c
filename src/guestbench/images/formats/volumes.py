"""Tells by first bytes what is in a part of a disk, and what a partition table says of the part.

Where partitions lie is for a kernel to say: here is only what it does not tell.
"""

from __future__ import annotations

import struct
import uuid
from typing import NamedTuple

from guestbench.text import visible

PROBED_BYTES = 1 << 17
"""Of a volume, so much is needed to tell what is in it."""
TABLE_BYTES = 1 << 16
"""Of a disk, so much holds what is read of its partition table."""
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
USRS = ("8484680C-9521-48C6-9C11-B0720656F69E", "5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6")
"""GPT types of partitions that are /usr on x86-64: the same source; Flatcar."""
_PURPOSES = {
    "21686148-6449-6E6F-744E-656564454649": "BIOS boot",
    ESP: "EFI system",
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4": "Linux data",
    "BC13C2FF-59E6-4262-A352-B275FD6F7172": "Linux boot",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F": "Linux swap",
    "E6D6D379-F507-44C2-A23C-238F2A3DF928": "Linux LVM",
    **dict.fromkeys(USRS, "Linux /usr"),
    **{kind: f"Linux root ({architecture})" for kind, architecture in ROOTS.items()},
    "83": "Linux",
    "82": "Linux swap",
    "8E": "Linux LVM",
    "EF": "EFI system",
    "C": "FAT32",
}
LVM = "LVM physical volume"
BOOT_SIGNATURE = b"\x55\xaa"


class _Signature(NamedTuple):
    """Offset and bytes by which blkid, too, tells what is there; where its identifier and its label are."""

    at: int
    magic: bytes
    content: str
    uuid_at: int = 0
    label: tuple[int, int] = (0, 0)


_EXT = _Signature(1080, b"\x53\xef", "ext", 1024 + 104, (1024 + 120, 16))
_SIGNATURES = (
    _EXT,
    _Signature(0, b"XFSB", "xfs", 32, (108, 12)),
    _Signature(0, b"hsqs", "squashfs"),
    _Signature(0x10040, b"_BHRfS_M", "btrfs", 0x10020, (0x1012B, 256)),
    _Signature(82, b"FAT32   ", "vfat", 67, (71, 11)),
    _Signature(54, b"FAT16   ", "vfat", 39, (43, 11)),
    _Signature(54, b"FAT12   ", "vfat", 39, (43, 11)),
    _Signature(0, b"LUKS\xba\xbe", "encrypted (LUKS)"),
    _Signature(3, b"-FVE-FS-", "encrypted (BitLocker)"),
    _Signature(536, b"LVM2 001", LVM),
    _Signature(3, b"NTFS    ", "ntfs"),
    _Signature(4086, b"SWAPSPACE2", "swap"),
    _Signature(1024, b"\x10\x20\xf5\xf2", "f2fs"),
    _Signature(0x8001, b"CD001", "iso9660", 0, (0x8028, 32)),
    _Signature(0, b"bcachefs", "bcachefs"),
    _Signature(1024, b"\xe2\xe1\xf5\xe0", "erofs", 1024 + 48, (1024 + 64, 16)),
)
_HAS_JOURNAL, _EXT4_FEATURES, _EA_INODE = 0x4, 0x40 | 0x80 | 0x200, 0x400
_EXT_UNNAMED = 11
"""The first ten inodes but the root's, and those for orphans and for quotas of projects."""


class Content(NamedTuple):
    """What is in a volume: a file system or something else, empty if unknown; its identifier and label.

    `unnamed` is how many inodes at most are in use in a sound file system that no folder names; None where
    that is not known.
    """

    name: str
    uuid: str = ""
    label: str = ""
    unnamed: int | None = None


def find_content(start: bytes) -> Content:
    """What begins with these bytes."""
    found = next((s for s in _SIGNATURES if start[s.at : s.at + len(s.magic)] == s.magic), None)
    if found is None:
        return Content("")
    name, unnamed = found.content, None
    if found is _EXT:
        compatible, incompatible = struct.unpack_from("<II", start.ljust(2048, b"\0"), 1024 + 92)
        name = "ext3" if compatible & _HAS_JOURNAL else "ext2"
        name = "ext4" if incompatible & _EXT4_FEATURES else name
        # Each large extended attribute may have an inode.
        unnamed = None if incompatible & _EA_INODE else _EXT_UNNAMED
    at, length = found.label
    label = start[at : at + length].split(b"\0")[0].decode("utf-8", "replace").rstrip()
    return Content(name, _find_uuid(start, found), visible(label), unnamed)


def _find_uuid(start: bytes, found: _Signature) -> str:
    if not found.uuid_at:
        return ""
    if found.content == "vfat":
        (serial,) = struct.unpack_from("<I", start, found.uuid_at)
        return f"{serial >> 16:04X}-{serial & 0xFFFF:04X}"
    raw = start[found.uuid_at : found.uuid_at + 16]
    return str(uuid.UUID(bytes=raw)) if len(raw) == 16 else ""


# --- the first sectors --------------------------------------------------------------------------------


_NO_PARTITION = (0, 0xEE)
"""Types of an MBR: empty; protective, which may cover more than the disk (UEFI 2.10, 5.2.3)."""


class Row(NamedTuple):
    """A partition in its table: its type (a GUID or an MBR's in hexadecimal), identifier and label.

    `priority` is that of a slot that is one of several (ChromeOS and Flatcar), -1 where there is none.
    """

    type: str = ""
    uuid: str = ""
    label: str = ""
    priority: int = -1

    @property
    def purpose(self) -> str:
        """What the type stands for, as far as it is known here."""
        return _PURPOSES.get(self.type, "")


def read_rows(start: bytes, sector_bytes: int) -> dict[int, Row]:
    """What a partition table in the first bytes of a disk says of its partitions, by number."""
    entries = _gpt_entries(start, sector_bytes)
    if entries is None:
        found = _mbr_entries(start)
        serial = struct.unpack_from("<I", start.ljust(512, b"\0"), 440)[0]
        return {
            number: Row(f"{kind:X}", f"{serial:08x}-{number:02x}")
            for number, (kind, _, _) in found.items()
            if kind not in _NO_PARTITION
        }
    rows = {}
    for number, raw in entries.items():
        (attributes,) = struct.unpack_from("<Q", raw, 48)
        kind = str(uuid.UUID(bytes_le=raw[:16])).upper()
        label = raw[56:128].decode("utf-16-le", "replace").split("\0")[0]
        priority = attributes >> 48 & 0xF if kind == USRS[1] else -1
        rows[number] = Row(kind, str(uuid.UUID(bytes_le=raw[16:32])), visible(label), priority)
    return rows


def find_ends(start: bytes, sector_bytes: int) -> dict[str, int]:
    """Where the parts of a partition table end, in bytes, by what they are: partitions, a GPT's backup."""
    entries = _gpt_entries(start, sector_bytes)
    if entries is None:
        return {
            f"partition {number}": (first + sectors) * sector_bytes
            for number, (kind, first, sectors) in _mbr_entries(start).items()
            if kind not in _NO_PARTITION
        }
    (backup,) = struct.unpack_from("<Q", start, sector_bytes + 32)
    ends = {
        f"partition {number}": (struct.unpack_from("<Q", raw, 40)[0] + 1) * sector_bytes
        for number, raw in entries.items()
    }
    return ends | {"the partition table's backup": (backup + 1) * sector_bytes}


def has_gpt(start: bytes, *sector_bytes: int) -> bool:
    """Whether a disk that begins so has a GPT, for sectors of any of these sizes (512 and 4096)."""
    return any(start[size : size + 8] == b"EFI PART" for size in sector_bytes or (512, 4096))


def _gpt_entries(start: bytes, sector_bytes: int) -> dict[int, bytes] | None:
    """The entries of a GPT that are in use, by number; None without a GPT."""
    if not has_gpt(start, sector_bytes) or len(start) < 2 * sector_bytes:
        return None
    first, count, length = struct.unpack_from("<QII", start, sector_bytes + 72)
    if length < 128:
        return {}
    raws = (start[at : at + 128] for at in range(first * sector_bytes, len(start), length))
    return {
        number: raw
        for number, raw in zip(range(1, count + 1), raws, strict=False)
        if len(raw) == 128 and any(raw[:16])
    }


def _mbr_entries(start: bytes) -> dict[int, tuple[int, int, int]]:
    """Type, first sector and number of sectors of an MBR's entries; none where code is in their place."""
    if len(start) < 512 or start[510:512] != BOOT_SIGNATURE:
        return {}
    entries = [struct.unpack_from("<B3xB3xII", start, 446 + 16 * number) for number in range(4)]
    if any(status not in (0, 0x80) for status, *_ in entries):
        return {}
    return {number: (kind, first, sectors) for number, (_, kind, first, sectors) in enumerate(entries, 1)}
