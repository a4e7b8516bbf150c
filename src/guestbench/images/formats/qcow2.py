"""Reads the header and the tables of qcow2 files; it never opens the files that one names.

Layout: QEMU's docs/interop/qcow2.txt. Reading it here, before any QEMU tool sees the file, is what keeps
a hostile image from making such a tool open other files of the host.
"""

from __future__ import annotations

import struct
from array import array
from sys import byteorder

from guestbench.images.source import Source, truncated, unusable
from guestbench.model import Frozen
from guestbench.text import visible

MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">QQQII")
_CORRUPT, _EXTERNAL_DATA, _EXTENDED_L2 = 1 << 1, 1 << 2, 1 << 4
_KNOWN_FEATURES = 0b11111
_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED, _READS_AS_ZEROS = 1 << 62, 1
_SECTOR = 512
_MAX_L1_BYTES = 32 << 20
"""QEMU's own limit (QCOW_MAX_L1_SIZE)."""


class Qcow2Header(Frozen):
    """What a qcow2 header says of where things are."""

    cluster_bits: int
    virtual_bytes: int
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    extended_l2: bool

    @property
    def sector_bytes(self) -> int:
        """What a guest sees of `virtual_bytes`: QEMU leaves out what does not fill a sector."""
        return self.virtual_bytes // _SECTOR * _SECTOR

    @property
    def cluster_bytes(self) -> int:
        """The size of a cluster."""
        return 1 << self.cluster_bits


def read_header(source: Source) -> Qcow2Header:
    """Read the header of an image that can be used alone.

    Raises:
        ImageError: it is not a qcow2 image of version 2 or 3, its header is not sound, it would make QEMU
            open other files (a backing file, an external data file), or it is encrypted or corrupt.
    """
    raw = source.read(0, _HEADER.size, "the qcow2 header")
    magic, version, backing_at, backing_length, cluster_bits, size, crypt, *tables = _HEADER.unpack(raw)
    l1_entries, l1_offset, refcount_offset, refcount_clusters, _, _ = tables
    if magic != MAGIC:
        raise unusable(source.path, "is not a qcow2 image")
    if version not in (2, 3):
        raise unusable(source.path, f"is a qcow2 image of version {version}; 2 and 3 can be read")
    if not 9 <= cluster_bits <= 21:
        raise unusable(source.path, f"is damaged: its clusters would have 2^{cluster_bits} bytes")
    if backing_length > 1023:
        raise unusable(source.path, f"is damaged: the name of its backing file has {backing_length} bytes")
    features = 0
    if version == 3:
        extra = source.read(_HEADER.size, _FEATURES.size, "the qcow2 header")
        features = _FEATURES.unpack(extra)[0]
    if features & ~_KNOWN_FEATURES:
        raise unusable(source.path, f"needs qcow2 features that are not known (bits {features:#x})")
    if backing_at:
        name = source.read(backing_at, backing_length, "the name of the backing file")
        shown = visible(name.decode("utf-8", "surrogateescape"))
        raise unusable(source.path, f"is an overlay of {shown}; it cannot be used alone")
    if features & _EXTERNAL_DATA:
        raise unusable(source.path, "keeps its data in another file, which is not opened")
    if crypt:
        raise unusable(source.path, "is encrypted")
    if features & _CORRUPT:
        raise unusable(source.path, "is marked as corrupt by QEMU")
    return Qcow2Header(
        cluster_bits=cluster_bits,
        virtual_bytes=size,
        l1_entries=l1_entries,
        l1_offset=l1_offset,
        refcount_offset=refcount_offset,
        refcount_clusters=refcount_clusters,
        extended_l2=bool(features & _EXTENDED_L2),
    )


def check_complete(source: Source, header: Qcow2Header) -> None:
    """Check that the tables, and all data that they name, lie inside the file.

    All tables are read, 1 MiB for each 8 GiB of data: what a broken download lacks may lie anywhere.

    Raises:
        ImageError: the file ends too early.
    """
    refcounts_end = header.refcount_offset + header.refcount_clusters * header.cluster_bytes
    if refcounts_end > source.size_bytes:
        raise truncated(source.path, "its refcount table", refcounts_end, source.size_bytes)
    if header.l1_entries * 8 > _MAX_L1_BYTES:
        raise unusable(source.path, f"is damaged: its L1 table would have {header.l1_entries} entries")
    entries_of_table = header.cluster_bytes // (16 if header.extended_l2 else 8)
    needed = -(-header.virtual_bytes // (header.cluster_bytes * entries_of_table))
    if header.l1_entries < needed:
        raise unusable(source.path, "is damaged: its L1 table is too small for its virtual size")
    l1 = source.read(header.l1_offset, header.l1_entries * 8, "its L1 table")
    seen: set[int] = set()
    for number, entry in enumerate(_to_numbers(l1)[:needed]):
        table = entry & _OFFSET_MASK
        if not table:
            continue
        # A hostile image names one table a million times.
        if table % header.cluster_bytes or table in seen:
            raise unusable(source.path, "is damaged: its L1 table is not sound")
        seen.add(table)
        if table + header.cluster_bytes > source.size_bytes:
            raise truncated(source.path, "an L2 table", table + header.cluster_bytes, source.size_bytes)
        # A sparse file of terabytes costs nobody anything, and has millions of tables.
        if source.is_hole(table, header.cluster_bytes):
            continue
        entries = _to_numbers(source.read(table, header.cluster_bytes, "an L2 table"))
        end = _find_end(entries, header, number * entries_of_table * header.cluster_bytes)
        if end > source.size_bytes:
            raise truncated(source.path, "a cluster of data", end, source.size_bytes)


def _to_numbers(table: bytes) -> array[int]:
    numbers = array("Q", table)
    if byteorder == "little":
        numbers.byteswap()
    return numbers


def _find_end(entries: array[int], header: Qcow2Header, guest_at: int) -> int:
    """Where in the file the last data ends that a table of the disk's bytes from `guest_at` on names."""
    step = 2 if header.extended_l2 else 1
    cluster_bytes = header.cluster_bytes
    sectors_at = 62 - (header.cluster_bits - 8)
    last = 0
    for number in range(0, len(entries), step):
        entry = entries[number]
        if not entry:
            continue
        if entry & _COMPRESSED:
            start = entry & (1 << sectors_at) - 1
            more_sectors = (entry & ~(3 << 62)) >> sectors_at
            # The end is told in whole sectors only; the file may end with the data, in the last of them.
            end = start - start % _SECTOR + more_sectors * _SECTOR + 1
        elif step == 2:
            # One bit for each 32nd of a cluster that has data.
            end = (entry & _OFFSET_MASK) + (
                entries[number + 1] & 0xFFFF_FFFF
            ).bit_length() * cluster_bytes // 32
        elif entry & _OFFSET_MASK and not entry & _READS_AS_ZEROS:
            # Of the disk's last cluster, only what lies on the disk need be there.
            room = header.virtual_bytes - guest_at - number * cluster_bytes
            end = (entry & _OFFSET_MASK) + max(0, min(cluster_bytes, room))
        else:
            continue
        last = max(last, end)
    return last
