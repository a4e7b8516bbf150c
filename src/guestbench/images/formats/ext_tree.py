"""Reads a whole ext2, ext3 or ext4 file system, inodes and extended attributes included; it never writes.

debugfs, which `ext.py` uses for single files, prints no owner with a name and would be asked once a folder;
this reader goes through 27,000 files in about a second. Layout: the kernel's documentation, "ext4 Data
Structures and Algorithms". Nothing in an image is trusted: each block must lie in the file system, each
folder is entered once, and all reads together have a limit. The journal is not replayed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from guestbench.errors import ImageError
from guestbench.images.source import Source, unusable
from guestbench.images.tree import (
    MAX_ENTRIES,
    MAX_PATH_BYTES,
    Entry,
    Tree,
)

MAX_READ_BYTES = 4 << 30
"""All reads of one file system together: Debian's takes less than 0.2 GiB; a hostile one ends here."""
MAX_NAME_BYTES = 256 << 20
"""All paths and link targets together."""
MAX_FOLDER_BYTES = 64 << 20
MAX_CAPABILITY_BYTES = 64
_ROOT_INODE = 2
_SUPERBLOCK_AT, _MAGIC, _EXTENT_MAGIC, _ATTRIBUTE_MAGIC = 1024, 0xEF53, 0xF30A, 0xEA020000
_RECOVER, _META_BG, _64BIT, _ENCRYPT = 0x4, 0x10, 0x80, 0x10000
_UNREADABLE = {0x1: "compression", 0x8: "journal_dev", _META_BG: "meta_bg", 0x1000: "dirdata"}
"""Incompatible features that change where things are; the others do not matter to a reader."""
_KNOWN = 0x3FFFF
_ENCRYPTED_FLAG, _EXTENTS_FLAG, _INLINE_FLAG = 0x800, 0x80000, 0x10000000
_UNINITIALIZED = 1 << 15
_SECURITY, _SYSTEM = 6, 7
_KIND, _FOLDER, _SYMLINK = 0o170000, 0o040000, 0o120000


class _Inode(NamedTuple):
    number: int
    mode: int
    uid: int
    gid: int
    size_bytes: int
    flags: int
    map: bytes
    inline: bytes
    capability: bytes | None

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flags & _ENCRYPTED_FLAG)


def read_ext_tree(source: Source, start_bytes: int, size_bytes: int) -> tuple[Tree, tuple[str, ...]]:
    """All entries of the ext file system that begins at `start_bytes`, and notes on what was not seen.

    The source must stay open as long as the tree is read from.

    Raises:
        ImageError: it is not an ext file system, is damaged, or has features that this reader lacks.
    """
    reader = _Reader(source, start_bytes, size_bytes)
    entries = reader.walk()
    return Tree(entries, reader.read_entry, has_attributes=True), tuple(reader.notes())


class _Reader:
    """One file system. `_spend` keeps all reads together below a limit."""

    def __init__(self, source: Source, start_bytes: int, size_bytes: int) -> None:
        self._source = source
        self._start = start_bytes
        self._spent = 0
        block = source.read(start_bytes + _SUPERBLOCK_AT, 1024, "the superblock")
        inodes, blocks, first, log_size = (
            *struct.unpack_from("<II", block),
            *struct.unpack_from("<II", block, 20),
        )
        self._inodes_in_group = struct.unpack_from("<I", block, 40)[0]
        magic, revision = struct.unpack_from("<H", block, 56)[0], struct.unpack_from("<I", block, 76)[0]
        self._features = struct.unpack_from("<I", block, 96)[0]
        self._inode_bytes = struct.unpack_from("<H", block, 88)[0] if revision else 128
        if magic != _MAGIC:
            raise unusable(source.path, "has no ext file system where one should be")
        for bit, name in _UNREADABLE.items():
            if self._features & bit:
                raise unusable(source.path, f"has an ext file system with the feature {name}: not supported")
        if self._features & ~_KNOWN:
            raise unusable(source.path, "has an ext file system with a feature that is not known here")
        wide = bool(self._features & _64BIT)
        self._blocks = blocks | (struct.unpack_from("<I", block, 0x150)[0] << 32 if wide else 0)
        self._block_bytes = 1024 << min(log_size, 7)
        self._descriptor_bytes = max(struct.unpack_from("<H", block, 254)[0], 64) if wide else 32
        self._descriptors_at = (first + 1) * self._block_bytes
        self._inodes = inodes
        self._cache: dict[int, _Inode] = {}
        self._tables: dict[int, int] = {}
        self._encrypted = self._repeated = self._too_deep = 0
        if (
            log_size > 6
            or not 128 <= self._inode_bytes <= self._block_bytes
            or self._descriptor_bytes > 1024
            or not self._inodes_in_group
            or self._blocks * self._block_bytes > size_bytes
        ):
            raise self._damaged("its superblock is not sound")

    def notes(self) -> Iterator[str]:
        """What was not seen, in words."""
        if self._features & _RECOVER:
            yield "the file system was not unmounted: what only its journal holds is not seen"
        if self._encrypted:
            yield f"{self._encrypted} encrypted files and folders (fscrypt): their contents are not seen"
        if self._repeated:
            yield f"{self._repeated} folders have a second name, as in a damaged file system: entered once"
        if self._too_deep:
            yield f"{self._too_deep} paths of more than {MAX_PATH_BYTES} bytes are not seen"

    # --- the walk -------------------------------------------------------------------------------------

    def walk(self) -> list[Entry]:
        """All entries, the root first."""
        root = self._read_inode(_ROOT_INODE)
        if root.mode & _KIND != _FOLDER:
            raise self._damaged("its root is no folder")
        entries = [self._entry(b"", root, b"")]
        ahead, entered, name_bytes = [(b"", root)], {_ROOT_INODE}, 0
        while ahead:
            folder_path, folder = ahead.pop()
            for name, number in self._read_folder(folder).items():
                path = folder_path + b"/" + name if folder_path else name
                if len(path) > MAX_PATH_BYTES:
                    self._too_deep += 1
                    continue
                inode = self._read_inode(number)
                link = self._read_link(inode) if inode.mode & _KIND == _SYMLINK else b""
                entries.append(self._entry(path, inode, link))
                name_bytes += len(path) + len(link)
                if len(entries) > MAX_ENTRIES or name_bytes > MAX_NAME_BYTES:
                    raise self._damaged(f"it would hold more than {len(entries) - 1} files")
                self._encrypted += inode.is_encrypted
                if inode.mode & _KIND != _FOLDER or inode.is_encrypted:
                    continue
                if number in entered:
                    self._repeated += 1
                    continue
                entered.add(number)
                ahead.append((path, inode))
        return entries

    def _entry(self, path: bytes, inode: _Inode, link: bytes) -> Entry:
        return Entry(
            path=path,
            inode=inode.number,
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            size_bytes=inode.size_bytes,
            link=link,
            capability=inode.capability,
            where=inode,
        )

    def _read_folder(self, folder: _Inode) -> dict[bytes, int]:
        """Names and inode numbers in a folder; of a name that is there twice, the first."""
        if folder.size_bytes > MAX_FOLDER_BYTES:
            raise self._damaged(f"a folder would have {folder.size_bytes} bytes")
        if folder.flags & _INLINE_FLAG:
            parts = [folder.map[4:], folder.inline]
        else:
            data = self._read(folder, folder.size_bytes)
            parts = [data[at : at + self._block_bytes] for at in range(0, len(data), self._block_bytes)]
        names: dict[bytes, int] = {}
        for part in parts:
            at = 0
            while at + 8 <= len(part):
                number, length, name_length = struct.unpack_from("<IHB", part, at)
                if length in (0, 0xFFFF) and self._block_bytes == 1 << 16:
                    length = 1 << 16
                name = part[at + 8 : at + 8 + name_length]
                if length < 8 or at + length > len(part) or 8 + name_length > length:
                    # The rest of inline data is zeros.
                    if folder.flags & _INLINE_FLAG and not any(part[at:]):
                        break
                    raise self._damaged("a folder is not sound")
                at += length
                if not number or name in (b"", b".", b".."):
                    continue
                if b"/" in name or b"\0" in name:
                    raise self._damaged("a file name holds a slash or a zero byte")
                names.setdefault(name, number)
        return names

    def _read_link(self, link: _Inode) -> bytes:
        if link.is_encrypted or link.size_bytes > MAX_PATH_BYTES:
            return b""
        if link.size_bytes < 60 and not link.flags & (_EXTENTS_FLAG | _INLINE_FLAG):
            return link.map[: link.size_bytes]
        return self._read(link, link.size_bytes)

    # --- inodes ---------------------------------------------------------------------------------------

    def _read_inode(self, number: int) -> _Inode:
        found = self._cache.get(number)
        if found is None:
            found = self._cache[number] = self._parse_inode(number)
        return found

    def _parse_inode(self, number: int) -> _Inode:
        if not 1 <= number <= self._inodes:
            raise self._damaged(f"a name leads to inode {number}, beyond the last")
        group, index = divmod(number - 1, self._inodes_in_group)
        raw = self._read_at(self._find_table(group) + index * self._inode_bytes, self._inode_bytes)
        mode, uid, size, gid = *struct.unpack_from("<HHI", raw), struct.unpack_from("<H", raw, 24)[0]
        flags = struct.unpack_from("<I", raw, 32)[0]
        uid |= struct.unpack_from("<H", raw, 120)[0] << 16
        gid |= struct.unpack_from("<H", raw, 122)[0] << 16
        size |= struct.unpack_from("<I", raw, 108)[0] << 32
        attributes = self._read_attributes(raw)
        capability = attributes.get((_SECURITY, b"capability"))
        return _Inode(
            number=number,
            mode=mode,
            uid=uid,
            gid=gid,
            size_bytes=size,
            flags=flags,
            map=raw[40:100],
            inline=attributes.get((_SYSTEM, b"data"), b""),
            capability=capability[:MAX_CAPABILITY_BYTES] if capability is not None else None,
        )

    def _find_table(self, group: int) -> int:
        """Where the inode table of a group begins, in bytes."""
        if group not in self._tables:
            at = self._descriptors_at + group * self._descriptor_bytes
            descriptor = self._read_at(at, self._descriptor_bytes)
            table = struct.unpack_from("<I", descriptor, 8)[0]
            if self._descriptor_bytes >= 64:
                table |= struct.unpack_from("<I", descriptor, 0x28)[0] << 32
            self._tables[group] = table * self._block_bytes
        return self._tables[group]

    def _read_attributes(self, raw: bytes) -> dict[tuple[int, bytes], bytes]:
        """Extended attributes in the inode and in its block, by name index and name."""
        found: dict[tuple[int, bytes], bytes] = {}
        if len(raw) > 132:
            start = 128 + struct.unpack_from("<H", raw, 128)[0] + 4
            if start < len(raw) and struct.unpack_from("<I", raw, start - 4)[0] == _ATTRIBUTE_MAGIC:
                found |= _parse_attributes(raw, start, start)
        block = struct.unpack_from("<I", raw, 104)[0] | struct.unpack_from("<H", raw, 118)[0] << 32
        if block:
            data = self._read_at(block * self._block_bytes, self._block_bytes)
            if struct.unpack_from("<I", data)[0] == _ATTRIBUTE_MAGIC:
                found |= _parse_attributes(data, 32, 0)
        return found

    # --- contents -------------------------------------------------------------------------------------

    def read_entry(self, entry: Entry, limit_bytes: int) -> bytes:
        """The first bytes of a regular file."""
        inode: _Inode = entry.where
        if inode.is_encrypted:
            raise unusable(self._source.path, "holds an encrypted file")
        return self._read(inode, limit_bytes)

    def _read(self, inode: _Inode, limit_bytes: int) -> bytes:
        length = min(inode.size_bytes, limit_bytes)
        if inode.flags & _INLINE_FLAG:
            return (inode.map + inode.inline)[:length]
        self._spend(length)
        data = bytearray(length)
        needed = -(-length // self._block_bytes)
        extents = self._map_extents(inode.map) if inode.flags & _EXTENTS_FLAG else self._map_blocks(inode.map)
        for logical, physical, count in extents:
            if logical >= needed:
                break
            if not physical:
                continue
            at = logical * self._block_bytes
            wanted = min(count * self._block_bytes, length - at)
            data[at : at + wanted] = self._read_at(physical * self._block_bytes, wanted)
        return bytes(data)

    def _map_extents(self, node: bytes, depth: int | None = None) -> Iterator[tuple[int, int, int]]:
        """Logical block, physical block (0: a hole) and number of blocks, in the order of the tree."""
        magic, count, _, found_depth = struct.unpack_from("<HHHH", node)
        sound = magic == _EXTENT_MAGIC and 12 + 12 * count <= len(node)
        if not sound or found_depth > 5 or (depth is not None and found_depth != depth):
            raise self._damaged("the map of a file's blocks is not sound")
        for at in range(12, 12 + 12 * count, 12):
            if found_depth:
                _, low, high = struct.unpack_from("<IIH", node, at)
                child = self._read_at((low | high << 32) * self._block_bytes, self._block_bytes)
                yield from self._map_extents(child, found_depth - 1)
                continue
            logical, length, high, low = struct.unpack_from("<IHHI", node, at)
            empty = length > _UNINITIALIZED
            yield logical, 0 if empty else low | high << 32, length - _UNINITIALIZED if empty else length

    def _map_blocks(self, node: bytes) -> Iterator[tuple[int, int, int]]:
        """As `_map_extents`, by the block pointers of ext2 and ext3."""
        pointers = struct.unpack("<15I", node)
        yield from ((number, pointer, 1) for number, pointer in enumerate(pointers[:12]))
        logical, per_block = 12, self._block_bytes // 4
        for level, pointer in enumerate(pointers[12:], 1):
            yield from self._map_indirect(pointer, level, logical)
            logical += per_block**level

    def _map_indirect(self, pointer: int, level: int, logical: int) -> Iterator[tuple[int, int, int]]:
        per_block = self._block_bytes // 4
        span = per_block**level
        if not pointer or not level:
            yield logical, pointer, span
            return
        block = self._read_at(pointer * self._block_bytes, self._block_bytes)
        for number, (below,) in enumerate(struct.iter_unpack("<I", block)):
            yield from self._map_indirect(
                below, level - 1, logical + number * span // (self._block_bytes // 4)
            )

    # --- reads ----------------------------------------------------------------------------------------

    def _read_at(self, offset: int, length: int) -> bytes:
        """Bytes of the file system, which must lie in it."""
        self._spend(length)
        if offset + length > self._blocks * self._block_bytes:
            raise self._damaged(f"byte {offset + length} is needed, beyond its end")
        return self._source.read(self._start + offset, length, "the file system")

    def _spend(self, length: int) -> None:
        # A small read costs time, too.
        self._spent += max(length, 4096)
        if self._spent > MAX_READ_BYTES:
            raise self._damaged(f"reading it takes more than {MAX_READ_BYTES >> 30} GiB")

    def _damaged(self, words: str) -> ImageError:
        return unusable(self._source.path, f"has a damaged file system: {words}")


def _parse_attributes(data: bytes, at: int, base: int) -> dict[tuple[int, bytes], bytes]:
    """Entries from `at` on, with values at offsets from `base`; what does not lie in `data` is left out."""
    found = {}
    while at + 16 <= len(data) and data[at : at + 4] != b"\0\0\0\0":
        name_length, index, offset, inode, size = struct.unpack_from("<BBHII", data, at)
        name = data[at + 16 : at + 16 + name_length]
        value = data[base + offset : base + offset + size]
        if not inode and len(value) == size:
            found[index, name] = value
        at += 16 + (name_length + 3 & ~3)
    return found
