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
_COMPRESSED = 1 << 62
_MAX_L1_BYTES = 32 << 20
"""QEMU's own limit (QCOW_MAX_L1_SIZE)."""
_L2_TABLES_READ = 16
"""How many L2 tables a check reads, those that lie last in the file: with 64 KiB clusters they take 1 MiB and
about 20 ms, and a download that broke off lacks the last ones first."""


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
    """Check that the tables, and the clusters they name, begin inside the file.

    All of the L1 table is read, and the L2 tables that lie last in the file.

    Raises:
        ImageError: the file ends too early.
    """
    refcounts_end = header.refcount_offset + header.refcount_clusters * header.cluster_bytes
    if refcounts_end > source.size_bytes:
        raise truncated(source.path, "its refcount table", refcounts_end, source.size_bytes)
    if header.l1_entries * 8 > _MAX_L1_BYTES:
        raise unusable(source.path, f"is damaged: its L1 table would have {header.l1_entries} entries")
    entry_bytes = 16 if header.extended_l2 else 8
    needed = -(-header.virtual_bytes // (header.cluster_bytes * (header.cluster_bytes // entry_bytes)))
    if header.l1_entries < needed:
        raise unusable(source.path, "is damaged: its L1 table is too small for its virtual size")
    l1 = source.read(header.l1_offset, header.l1_entries * 8, "its L1 table")
    tables = sorted({entry & _OFFSET_MASK for entry in _to_numbers(l1)} - {0})
    if tables and tables[-1] + header.cluster_bytes > source.size_bytes:
        raise truncated(source.path, "an L2 table", tables[-1] + header.cluster_bytes, source.size_bytes)
    for table in tables[-_L2_TABLES_READ:]:
        entries = _to_numbers(source.read(table, header.cluster_bytes, "an L2 table"))
        last = _last_cluster(entries[:: entry_bytes // 8], header.cluster_bits)
        if last >= source.size_bytes:
            raise truncated(source.path, "a cluster of data", last + 1, source.size_bytes)


def _to_numbers(table: bytes) -> array[int]:
    numbers = array("Q", table)
    if byteorder == "little":
        numbers.byteswap()
    return numbers


def _last_cluster(entries: array[int], cluster_bits: int) -> int:
    """Where the last of the clusters begins in the file; 0 if there are none."""
    compressed_mask = (1 << (62 - (cluster_bits - 8))) - 1
    return max(
        (entry & (compressed_mask if entry & _COMPRESSED else _OFFSET_MASK) for entry in entries),
        default=0,
    )
