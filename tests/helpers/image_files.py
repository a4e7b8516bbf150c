"""Makes small images byte by byte, for tests of what reads them; it starts no process."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from guestbench.images.inspection import Inspection
from guestbench.images.source import unusable
from guestbench.inspect import inspect_image
from guestbench.model import Disk, DiskFormat, GuestFamily, Inspector, Kernel, Provision, System

MULTIBOOT_MAGIC = 0x1BADB002
SECTOR = 512


@dataclass(frozen=True)
class Load:
    """A LOAD segment to make: its flags (R 4, W 2, E 1), contents, and zeros in memory beyond them."""

    flags: int
    contents: bytes
    zeros: int = 0


UNIKERNEL = (Load(4, b"r" * 64), Load(5, b"x" * 300), Load(6, b"w" * 40, zeros=1000))


def system(
    boot: Kernel | Disk, family: GuestFamily = GuestFamily.UNIKERNEL, provision: Provision | None = None
) -> System:
    """A system that boots so."""
    return System(
        name="guest",
        title="Guest",
        family=family,
        boot=boot,
        ready="ready",
        timeout_s=1,
        provision=provision or Provision(),
    )


KERNEL = system(Kernel())
RAW_DISK = system(Disk(format=DiskFormat.RAW), GuestFamily.LINUX)
QCOW2_DISK = system(Disk(), GuestFamily.LINUX)


def multiboot_header(flags: int = 0, *addresses: int) -> bytes:
    """A multiboot 1 header."""
    checksum = -(MULTIBOOT_MAGIC + flags) % (1 << 32)
    return struct.pack(f"<III{len(addresses)}I", MULTIBOOT_MAGIC, flags, checksum, *addresses)


def pvh_note(entry: int = 0x100000) -> bytes:
    """The contents of a NOTE segment with an unrelated note and the one that says where PVH enters."""
    other = struct.pack("<III4s4s", 4, 3, 1, b"GNU\0", b"abc\0")
    return other + struct.pack("<III4sI", 4, 4, 18, b"Xen\0", entry)


def elf64(
    loads: tuple[Load, ...] = UNIKERNEL,
    *,
    machine: int = 62,
    note: bytes = b"",
    multiboot: bytes = b"",
    symbols: bool = False,
) -> bytes:
    """A little-endian ELF64 file; `multiboot` is put right behind the program headers."""
    count = len(loads) + bool(note)
    body_at = 64 + 56 * count
    multiboot += b"\0" * (-len(multiboot) % 8)
    headers, body = b"", multiboot
    vaddr = 0x100000
    for load in loads:
        size = len(load.contents)
        headers += struct.pack(
            "<IIQQQQQQ", 1, load.flags, body_at + len(body), vaddr, vaddr, size, size + load.zeros, 1
        )
        body += load.contents
        vaddr += 0x1000
    if note:
        headers += struct.pack("<IIQQQQQQ", 4, 4, body_at + len(body), 0, 0, len(note), len(note), 4)
        body += note
    sections = b"\0" * 64 + (struct.pack("<IIQQQQIIQQ", 1, 2, *[0] * 8) if symbols else b"")
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH",
        *(2, machine, 1, 0x100040, 64, body_at + len(body), 0),
        *(64, 56, count, 64, len(sections) // 64, 0),
    )
    return header + headers + body + sections


def wrap_elf64(inner: bytes) -> bytes:
    """An ELF64 file as Unikraft's build wraps it: ELF32, multiboot and ELF32 program headers, then the file.

    The offsets in the ELF32 headers count from the wrapper's start, those in the ELF64 headers from its own.
    """
    entry, phoff = struct.unpack_from("<QQ", inner, 24)
    (count,) = struct.unpack_from("<H", inner, 56)
    base = 64 + 32 * count
    headers = b""
    for number in range(count):
        kind, flags, offset, vaddr, paddr, file, memory, align = struct.unpack_from(
            "<IIQQQQQQ", inner, phoff + 56 * number
        )
        headers += struct.pack("<8I", kind, offset + base, vaddr, paddr, file, memory, flags, align)
    header = b"\x7fELF\x01\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIIIIIHHHHHH", 2, 3, 1, entry, 64, 0, 0, 52, 32, count, 40, 0, 0
    )
    return header + multiboot_header(3) + headers + inner


def bzimage(payload: int = 4096, setup_sectors: int = 3) -> bytes:
    """A file with the setup header of a Linux kernel of boot protocol 2.15 and nothing to run."""
    setup = bytearray((setup_sectors + 1) * SECTOR)
    setup[0x1F1] = setup_sectors
    struct.pack_into("<I", setup, 0x1F4, payload // 16)
    setup[510:512] = b"\x55\xaa"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x20F)
    return bytes(setup) + b"\x90" * payload


def mbr_disk(*, sectors: int = 64, code: bytes = b"\xeb\xfe", partition_sectors: int = 32) -> bytes:
    """A raw disk with boot code and one MBR partition at sector 8."""
    disk = bytearray(sectors * SECTOR)
    if partition_sectors:
        struct.pack_into("<4xB3xII", disk, 446, 0x83, 8, partition_sectors)
    disk[: len(code)] = code
    disk[510:512] = b"\x55\xaa"
    return bytes(disk)


def gpt_disk(*types: str, sectors: int = 128, last: int | None = None, code: bytes = b"\xeb\xfe") -> bytes:
    """A raw disk with boot code and a GPT of partitions of these types (checksums are left out)."""
    disk = bytearray(mbr_disk(sectors=sectors, code=code))
    struct.pack_into("<4xB3xII", disk, 446, 0xEE, 1, 0xFFFFFFFF)
    disk[SECTOR : SECTOR + 8] = b"EFI PART"
    struct.pack_into("<QQ", disk, SECTOR + 24, 1, sectors - 1 if last is None else last)
    struct.pack_into("<QII", disk, SECTOR + 72, 2, 128, 128)
    for number, kind in enumerate(types):
        at = 2 * SECTOR + 128 * number
        disk[at : at + 16] = uuid.UUID(kind).bytes_le
    return bytes(disk)


def qcow2(
    *,
    version: int = 3,
    cluster_bits: int = 16,
    virtual_bytes: int = 1 << 20,
    backing: bytes = b"",
    features: int = 0,
    data_at: int = 0,
    crypt: int = 0,
) -> bytes:
    """A qcow2 file: header, refcount table, L1 table and one L2 table, each in a cluster of its own.

    `data_at` is where in the file the first cluster of the disk is said to lie.
    """
    cluster = 1 << cluster_bits
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(b"QFI\xfb", version, 512 if backing else 0, len(backing), cluster_bits, virtual_bytes),
        *(crypt, 1, 2 * cluster, cluster, 1, 0, 0),
    )
    header += struct.pack(">QQQII", features, 0, 0, 4, 104)
    file = bytearray(4 * cluster)
    file[: len(header)] = header
    file[512 : 512 + len(backing)] = backing
    struct.pack_into(">Q", file, 2 * cluster, 3 * cluster | 1 << 63)
    struct.pack_into(">Q", file, 3 * cluster, data_at)
    return bytes(file)


def inspect_file(image: Path, scratch: Path) -> Inspection:
    """What is in an image that is no disk; of anything else an ImageError, as of an empty disk."""

    def refuse() -> tuple[Inspector, str]:
        raise unusable(image, "is taken for a disk")

    return inspect_image(image, scratch, refuse)
