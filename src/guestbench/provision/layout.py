"""Lays out a bootable GPT disk in a plain file: partition table, GRUB's boot sectors, an empty FAT.

All by file writes: it never needs root, loop devices, or a tool that insists on a block device.
"""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

from guestbench.errors import HostError
from guestbench.host import process
from guestbench.model import MIB

SECTOR = 512

BIOS_BOOT_START = 2048
ESP_START = 8192
ROOT_START = 262144
"""First sectors of the partitions 14, 15 and 1, as in the official Debian cloud images."""

GPT_BACKUP_SECTORS = 33
"""What a GPT keeps at the end of the disk: 32 sectors of entries and one of header (UEFI 2.10, 5.3)."""

_NAMESPACE = uuid.UUID("5a1f2c1e-6d0f-4c39-9f6f-7a0f2d6d3c11")


def derive_uuid(key: str, use: str) -> uuid.UUID:
    """An identifier that is the same for every build of the same recipe."""
    return uuid.uuid5(_NAMESPACE, f"{key}/{use}")


def root_sectors(size_mib: int) -> int:
    """Length of the root partition of a disk of this size, in sectors, in whole 4 KiB blocks."""
    end = size_mib * MIB // SECTOR - GPT_BACKUP_SECTORS
    return (end - ROOT_START) // 8 * 8


def write_partition_table(disk: Path, size_mib: int, key: str) -> None:
    """Write a GPT into `disk`, which has its full size already.

    Raises:
        ToolMissing, ToolFailed: sfdisk is not installed, or failed.
    """
    # By their numbers: first sector, length, and type GUID of BIOS boot, EFI system, Linux root for x86-64.
    partitions = {
        14: (BIOS_BOOT_START, ESP_START - BIOS_BOOT_START, "21686148-6449-6E6F-744E-656564454649"),
        15: (ESP_START, ROOT_START - ESP_START, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
        1: (ROOT_START, root_sectors(size_mib), "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"),
    }
    lines = ["label: gpt", f"label-id: {derive_uuid(key, 'disk')}", "unit: sectors", ""]
    for number, (start, length, kind) in partitions.items():
        identity = derive_uuid(key, f"partition {number}")
        lines.append(f"{number} : start={start}, size={length}, type={kind}, uuid={identity}")
    script = "\n".join([*lines, ""]).encode()
    # The file holds a file system by now, which sfdisk would offer to wipe.
    process.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", disk], input=script)


def install_grub(disk: Path, boot_image: bytes, core_image: bytes) -> None:
    """Put GRUB's first two stages where the BIOS and the MBR look for them.

    Does what grub-bios-setup does on a real disk: the offsets are those of GRUB 2's `boot.S`
    (0x5c: LBA of the core image, 0x66: jump to be neutralised) and `diskboot.S` (the last 12 bytes of the
    first core sector: LBA, length and load segment of the rest).

    Raises:
        HostError: the images are not GRUB's, or too big for the BIOS boot partition.
    """
    room = (ESP_START - BIOS_BOOT_START) * SECTOR
    if len(boot_image) != SECTOR or not SECTOR < len(core_image) <= room:
        raise HostError(
            f"GRUB's boot images have unexpected sizes: {len(boot_image)} and {len(core_image)} bytes",
            "guestbench doctor",
        )
    boot = bytearray(boot_image)
    struct.pack_into("<Q", boot, 0x5C, BIOS_BOOT_START)
    # Without this, boot.img would trust a drive number left over in the sector.
    boot[0x66:0x68] = b"\x90\x90"
    core = bytearray(core_image)
    core += bytes(-len(core) % SECTOR)
    struct.pack_into("<QHH", core, SECTOR - 12, BIOS_BOOT_START + 1, len(core) // SECTOR - 1, 0x820)
    with disk.open("r+b") as file:
        # From 0x1b8 on the sector holds the disk signature and the protective partition table.
        file.write(boot[:0x1B8])
        file.seek(BIOS_BOOT_START * SECTOR)
        file.write(core)


def format_esp(disk: Path, key: str) -> None:
    """Write an empty FAT16 file system into the EFI system partition, so that a guest can mount it.

    Fields as in Microsoft's FAT specification (fatgen103), section "Boot Sector and BPB".
    """
    sectors, per_cluster, reserved, fats, root_entries = ROOT_START - ESP_START, 4, 4, 2, 512
    root_dir = root_entries * 32 // SECTOR
    # Each cluster takes two bytes of each FAT: the specification's formula, rounded up.
    per_fat = -(-(sectors - reserved - root_dir) // (256 * per_cluster + fats))
    serial = derive_uuid(key, "esp").int & 0xFFFFFFFF
    boot = struct.pack(
        "<3s8sHBHBHHBHHHLLBBBL11s8s",
        *(b"\xeb\x3c\x90", b"GBENCH  "),
        *(SECTOR, per_cluster, reserved, fats, root_entries, 0, 0xF8, per_fat, 63, 255, ESP_START, sectors),
        *(0x80, 0, 0x29, serial, b"NO NAME    ", b"FAT16   "),
    )
    with disk.open("r+b") as file:
        file.seek(ESP_START * SECTOR)
        file.write(boot.ljust(510, b"\0") + b"\x55\xaa")
        for copy in range(fats):
            file.seek((ESP_START + reserved + copy * per_fat) * SECTOR)
            file.write(b"\xf8\xff\xff\xff")
