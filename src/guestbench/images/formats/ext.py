"""Reads ext2, ext3 and ext4 file systems in a raw disk: folders, files, inodes and extended attributes.

Layout: the kernel's documentation, "ext4 Data Structures and Algorithms". Nothing in an image is trusted:
each block must lie in the file system, each folder is entered once, and all reads together have a limit. The
journal is not replayed.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from guestbench.errors import ImageError
from guestbench.images.source import Source, no_space, unusable
from guestbench.images.tree import MAX_ENTRIES, MAX_PATH_BYTES, Entry, Tree, follow
from guestbench.model import Frozen
from guestbench.text import visible

MAX_READ_BYTES = 4 << 30
"""All reads of one file system together: Debian's takes less than 0.2 GiB; a hostile one ends here."""
MAX_NAME_BYTES = 256 << 20
"""All paths and link targets together."""
MAX_FOLDER_BYTES = 64 << 20
MAX_CAPABILITY_BYTES = 64
_ROOT_INODE = 2
_SUPERBLOCK_AT, _MAGIC, _EXTENT_MAGIC, _ATTRIBUTE_MAGIC = 1024, 0xEF53, 0xF30A, 0xEA020000
_RECOVER, _META_BG, _64BIT = 0x4, 0x10, 0x80
_UNREADABLE = {0x1: "compression", 0x8: "journal_dev", _META_BG: "meta_bg", 0x1000: "dirdata"}
"""Incompatible features that change where things are; the others do not matter to a reader."""
_KNOWN = 0x3FFFF
_ENCRYPTED_FLAG, _EXTENTS_FLAG, _INLINE_FLAG = 0x800, 0x80000, 0x10000000
_UNINITIALIZED = 1 << 15
_SECURITY, _SYSTEM = 6, 7


class Superblock(Frozen):
    """Where things are in a file system, and how full it is; `features` are the incompatible ones."""

    block_bytes: int
    blocks: int
    free_blocks: int
    inodes: int
    inodes_in_group: int
    inode_bytes: int
    descriptors_at: int
    descriptor_bytes: int
    features: int

    @property
    def size_bytes(self) -> int:
        """Bytes of all its blocks."""
        return self.blocks * self.block_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes of the blocks that are not free: files, their metadata, the journal."""
        return (self.blocks - self.free_blocks) * self.block_bytes


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


def read_superblock(source: Source, start_bytes: int, size_bytes: int) -> Superblock:
    """The superblock of the file system in `size_bytes` bytes of a disk from `start_bytes` on.

    Raises:
        ImageError: it is not an ext file system, or its superblock is not sound.
    """
    block = source.read(start_bytes + _SUPERBLOCK_AT, 1024, "the superblock")
    inodes, blocks, _, free, _, first, log_size, *_, inodes_in_group = struct.unpack_from("<11I", block)
    features, revision = struct.unpack_from("<I", block, 96)[0], struct.unpack_from("<I", block, 76)[0]
    if struct.unpack_from("<H", block, 56)[0] != _MAGIC:
        raise unusable(source.path, "has no ext file system where one should be")
    descriptor_bytes = 32
    if features & _64BIT:
        blocks |= struct.unpack_from("<I", block, 0x150)[0] << 32
        free |= struct.unpack_from("<I", block, 0x158)[0] << 32
        descriptor_bytes = max(struct.unpack_from("<H", block, 254)[0], 64)
    block_bytes = 1024 << min(log_size, 7)
    found = Superblock(
        block_bytes=block_bytes,
        blocks=blocks,
        free_blocks=free,
        inodes=inodes,
        inodes_in_group=inodes_in_group,
        inode_bytes=struct.unpack_from("<H", block, 88)[0] if revision else 128,
        descriptors_at=(first + 1) * block_bytes,
        descriptor_bytes=descriptor_bytes,
        features=features,
    )
    if (
        log_size > 6
        or not 128 <= found.inode_bytes <= block_bytes
        or descriptor_bytes > 1024
        or not inodes_in_group
        or found.size_bytes > size_bytes
        or free > blocks
    ):
        raise unusable(source.path, "has a damaged file system: its superblock is not sound")
    return found


class ExtFilesystem:
    """A file system in an open disk. It raises ImageError where it is damaged; what is not looked at may be.

    The source must stay open as long as anything is read, a tree's files too.
    """

    def __init__(self, source: Source, start_bytes: int, size_bytes: int) -> None:
        self._source = source
        self._start = start_bytes
        self.superblock = read_superblock(source, start_bytes, size_bytes)
        for bit, name in _UNREADABLE.items():
            if self.superblock.features & bit:
                raise unusable(source.path, f"has an ext file system with the feature {name}: not supported")
        if self.superblock.features & ~_KNOWN:
            raise unusable(source.path, "has an ext file system with a feature that is not known here")
        self._block_bytes = self.superblock.block_bytes
        self._spent = 0
        self._inodes: dict[int, _Inode] = {}
        self._folders: dict[int, dict[bytes, int]] = {}
        self._tables: dict[int, int] = {}

    # --- single files ---------------------------------------------------------------------------------

    def find(self, path: str | bytes) -> Entry | None:
        """What a path leads to, links followed inside the file system; None if it leads nowhere."""
        return follow(path, self._look_up)

    def list_folder(self, path: str) -> tuple[str, ...]:
        """Sorted names of what is in a folder; bytes that are not UTF-8 come as surrogates.

        Raises:
            ImageError: there is no such folder.
        """
        folder = self.find(path)
        if folder is None or not folder.is_folder:
            raise unusable(self._source.path, f"has no folder {visible(path)}")
        return tuple(sorted(map(os.fsdecode, self._list(folder.where))))

    def find_file(self, path: str) -> Entry:
        """The regular file that a path leads to.

        Raises:
            ImageError: there is none.
        """
        entry = self.find(path)
        if entry is None or not entry.is_regular:
            raise unusable(self._source.path, f"has no file {visible(path)}")
        return entry

    def extract(self, path: str, dest: Path) -> None:
        """Copy a file to `dest`, through links.

        Raises:
            ImageError: there is no such regular file.
            HostError: there is no room for it.
            OSError: `dest` cannot be written.
        """
        inode: _Inode = self.find_file(path).where
        # A sparse file can claim more bytes than any disk has; writing it out would fill ours.
        if inode.size_bytes > self.superblock.size_bytes:
            raise self._damaged(f"{visible(path)} would be larger than it")
        if inode.size_bytes > shutil.disk_usage(dest.parent).free:
            raise no_space(dest)
        partial = dest.with_name(f"{dest.name}.partial")
        try:
            with partial.open("wb") as file:
                file.truncate(inode.size_bytes)
                for at, piece in self._pieces(inode, inode.size_bytes):
                    file.seek(at)
                    file.write(piece)
            partial.replace(dest)
        finally:
            partial.unlink(missing_ok=True)

    def _look_up(self, path: bytes) -> Entry | None:
        if not path:
            return self._entry(path, self._read_inode(_ROOT_INODE))
        folder, _, name = path.rpartition(b"/")
        parent = self._look_up(folder)
        if parent is None or not parent.is_folder or parent.where.is_encrypted:
            return None
        number = self._list(parent.where).get(name)
        return None if number is None else self._entry(path, self._read_inode(number))

    def _list(self, folder: _Inode) -> dict[bytes, int]:
        if folder.number not in self._folders:
            self._folders[folder.number] = self._read_folder(folder)
        return self._folders[folder.number]

    # --- everything -----------------------------------------------------------------------------------

    def read_tree(self) -> tuple[Tree, tuple[str, ...]]:
        """All entries, the root first, and notes on what was not seen. Debian's 27,000 take a second."""
        root = self._read_inode(_ROOT_INODE)
        if not stat.S_ISDIR(root.mode):
            raise self._damaged("its root is no folder")
        entries = [self._entry(b"", root)]
        ahead, entered, name_bytes = [(b"", root)], {_ROOT_INODE}, 0
        encrypted = repeated = too_deep = 0
        while ahead:
            folder_path, folder = ahead.pop()
            for name, number in self._read_folder(folder).items():
                path = folder_path + b"/" + name if folder_path else name
                if len(path) > MAX_PATH_BYTES:
                    too_deep += 1
                    continue
                inode = self._read_inode(number)
                entry = self._entry(path, inode)
                entries.append(entry)
                name_bytes += len(path) + len(entry.link)
                if len(entries) > MAX_ENTRIES or name_bytes > MAX_NAME_BYTES:
                    raise self._damaged(f"it would hold more than {len(entries) - 1} files")
                encrypted += inode.is_encrypted
                if not entry.is_folder or inode.is_encrypted:
                    continue
                if number in entered:
                    repeated += 1
                    continue
                entered.add(number)
                ahead.append((path, inode))
        notes = (
            (
                self.superblock.features & _RECOVER,
                "the file system was not unmounted: what only its journal holds is not seen",
            ),
            (encrypted, f"{encrypted} encrypted files and folders (fscrypt): their contents are not seen"),
            (repeated, f"{repeated} folders have a second name, as in a damaged file system: entered once"),
            (too_deep, f"{too_deep} paths of more than {MAX_PATH_BYTES} bytes are not seen"),
        )
        tree = Tree(entries, self._read_entry, has_attributes=True)
        return tree, tuple(note for applies, note in notes if applies)

    def _entry(self, path: bytes, inode: _Inode) -> Entry:
        return Entry(
            path=path,
            inode=inode.number,
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            size_bytes=inode.size_bytes,
            link=self._read_link(inode) if stat.S_ISLNK(inode.mode) else b"",
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
        found = self._inodes.get(number)
        if found is None:
            found = self._inodes[number] = self._parse_inode(number)
        return found

    def _parse_inode(self, number: int) -> _Inode:
        about = self.superblock
        if not 1 <= number <= about.inodes:
            raise self._damaged(f"a name leads to inode {number}, beyond the last")
        group, index = divmod(number - 1, about.inodes_in_group)
        raw = self._read_at(self._find_table(group) + index * about.inode_bytes, about.inode_bytes)
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
            length = self.superblock.descriptor_bytes
            descriptor = self._read_at(self.superblock.descriptors_at + group * length, length)
            table = struct.unpack_from("<I", descriptor, 8)[0]
            if length >= 64:
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

    def _read_entry(self, entry: Entry, limit_bytes: int) -> bytes:
        if entry.where.is_encrypted:
            raise unusable(self._source.path, "holds an encrypted file")
        return self._read(entry.where, limit_bytes)

    def _read(self, inode: _Inode, limit_bytes: int) -> bytes:
        length = min(inode.size_bytes, limit_bytes)
        self._spend(length)
        data = bytearray(length)
        for at, piece in self._pieces(inode, length):
            data[at : at + len(piece)] = piece
        return bytes(data)

    def _pieces(self, inode: _Inode, length: int) -> Iterator[tuple[int, bytes]]:
        """The first `length` bytes of a file but its holes, each piece with where it begins."""
        if inode.flags & _INLINE_FLAG:
            yield 0, (inode.map + inode.inline)[:length]
            return
        extents = self._map_extents(inode.map) if inode.flags & _EXTENTS_FLAG else self._map_blocks(inode.map)
        for logical, physical, count in extents:
            at = logical * self._block_bytes
            if at >= length:
                break
            if physical:
                wanted = min(count * self._block_bytes, length - at)
                yield at, self._read_at(physical * self._block_bytes, wanted)

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
        if offset + length > self.superblock.size_bytes:
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
