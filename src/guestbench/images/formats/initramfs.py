"""Reads an initial ramdisk: cpio "newc" archives, compressed or not, in a row; it extracts no file.

What is compressed is unpacked into one scratch file. As in Linux (init/initramfs.c), later archives replace
names of earlier ones, zeros may lie between them, and older formats of cpio are refused. What is behind the
last archive is said. Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import re
import stat
import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guestbench.images.formats.lz4 import LZ4_LEGACY
from guestbench.images.formats.unpack import find_compression, unpack
from guestbench.images.source import Source, open_source, unusable
from guestbench.images.tree import MAX_ENTRIES, MAX_PATH_BYTES, Entry, Tree, follow, show_path

MAX_UNPACKED_BYTES = 2 << 30
MAX_NAME_BYTES = 256 << 20
MAX_PARTS = 64
"""Archives in one file; kernels get two or three: microcode, firmware, the file system."""
_MAGICS = (b"070701", b"070702")
_WITH_SUMS = _MAGICS[1]
_CHUNK = 1 << 20
_OLD_MAGICS = {
    b"070707": "the old portable format (odc)",
    b"\xc7\x71": "the old binary format",
    b"\x71\xc7": "the old binary format",
}
"""How archives in formats begin that Linux refuses."""
_OLD_BINARY_BYTES = 26
_BOOTCONFIG = b"#BOOTCONFIG\n"
"""The end of a file with a boot configuration, which Linux takes off before it unpacks anything."""
_HEADER_BYTES, _FIELDS = 110, 13
_DIGITS = re.compile(rb"[0-9A-Fa-f]+")
_THERE = (b"dev", b"root")
"""Folders that the initial ramdisk built into a kernel has (Linux, usr/default_cpio_list)."""
_TRAILER = b"TRAILER!!!"
_SEARCHED_BYTES = 1 << 20


def looks_like_archive(start: bytes) -> bool:
    """Whether a file that begins so may be an initial ramdisk."""
    return start.startswith(_MAGICS) or find_compression(start) is not None


def find_old_format(start: bytes) -> str:
    """Words for a file that begins as a cpio archive in a format that Linux refuses; empty for others."""
    name = next((name for magic, name in _OLD_MAGICS.items() if start.startswith(magic)), "")
    if name and not start.startswith(b"0"):
        # Two bytes are soon there by chance: those of mode and length of the name must fit, too.
        order = "<" if start.startswith(b"\xc7") else ">"
        if len(start) < _OLD_BINARY_BYTES or start[510:512] == b"\x55\xaa":
            return ""
        mode, length = struct.unpack_from(f"{order}6x H 12x H", start)
        if not stat.S_IFMT(mode) or not 0 < length <= MAX_PATH_BYTES:
            return ""
    return f"is a cpio archive in {name}, which Linux refuses; it takes newc: cpio -H newc" if name else ""


@contextmanager
def open_initramfs(source: Source, scratch: Path) -> Iterator[tuple[Tree, str, tuple[str, ...]]]:
    """The file system in an initial ramdisk, how it is packed, and what of it Linux does not look at.

    `scratch` must be a folder.

    Raises:
        ImageError: it is none, or is damaged.
        ToolMissing: zstd is needed and not installed.
        OSError: `scratch` cannot be written.
    """
    unpacked = scratch / "initramfs"
    reader = _Reader(source)
    try:
        streams = reader.read_parts(unpacked)
        with open_source(unpacked, shown=source.path) as inner:
            if streams:
                reader.read_archives(inner, streams)
            tree = Tree(reader.list_entries(), reader.read_entry, has_attributes=False)
            yield tree, reader.describe(), reader.list_notes()
    finally:
        unpacked.unlink(missing_ok=True)


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.entries: dict[bytes, Entry] = {}
        self.notes: list[str] = []
        self._parts: list[str] = []
        self._name_bytes = 0
        self._links: dict[tuple[int, ...], tuple[Source, int, int]] = {}
        self._inodes: dict[tuple[int, ...], int] = {}
        # Folders by the paths under which an archive has them, and those with something in them.
        self._folders: dict[bytes, bytes | None] = {}
        self._filled: set[bytes] = set()
        self._lost: list[bytes] = []
        self._added: list[bytes] = []

    def list_entries(self) -> Iterator[Entry]:
        """All entries; hard links have the size of the one name with which the archive keeps the data."""
        for entry in self.entries.values():
            linked = self._links.get(entry.where[0]) if entry.where and entry.is_regular else None
            yield entry._replace(size_bytes=linked[2]) if linked and not entry.size_bytes else entry

    def list_notes(self) -> tuple[str, ...]:
        """What Linux does not look at, or makes otherwise than the archive has it, in words."""
        notes = list(self.notes)
        if self._added:
            count = f"{len(self._added)} folders are not in it, {show_path(self._added[0])} the first"
            notes.append(f"{count}: Linux does not make them, and leaves out what is in them")
        if self._lost:
            count = f"{len(self._lost)} entries are left out, {show_path(self._lost[0])} the first"
            notes.append(f"{count}: Linux cannot make them where they would be, or not with such contents")
        return tuple(notes)

    def describe(self) -> str:
        """How it is packed, in words."""
        return ", then ".join(self._parts)

    def read_parts(self, unpacked: Path) -> list[int]:
        """Read the archives that are not compressed, and unpack the others into one file.

        Returns where in that file each of them begins.
        """
        at, streams, room = 0, [], MAX_UNPACKED_BYTES
        with unpacked.open("wb") as dest:
            while start := self.source.read_some(at := self._skip_zeros(self.source, at), 8):
                kind = find_compression(start)
                # What Linux does not find at a multiple of four it does not take for an archive.
                plain = start.startswith(_MAGICS) and not at % 4
                if not (plain or kind):
                    self._refuse_old(self.source, at)
                    if self._parts and not self._ends_in_bootconfig():
                        self._say_ends(at, "the file")
                    break
                if len(self._parts) == MAX_PARTS:
                    raise unusable(self.source.path, f"has more than {MAX_PARTS} archives")
                if plain:
                    self._parts.append("cpio")
                    at = self._read_archive(self.source, at, at)
                    continue
                self._parts.append(f"{kind} of cpio")
                streams.append(dest.tell())
                at += unpack(self.source, at, self.source.size_bytes - at, dest, room)
                room -= dest.tell() - streams[-1]
                behind = self.source.read_some(at, 4)
                if kind == "lz4" and len(behind) == 4 and behind not in (bytes(4), LZ4_LEGACY):
                    # Its reader (lib/decompress_unlz4.c) ends at a length of 0 only.
                    self.notes.append(f"Linux fails at byte {at}: four zeros must come behind an lz4 stream")
        if not self._parts:
            raise unusable(self.source.path, "is not an initial ramdisk")
        return streams

    def read_archives(self, source: Source, streams: list[int]) -> None:
        """Read the archives of a file that holds nothing else; `streams` is where streams of them begin."""
        at, count = 0, 0
        while start := source.read_some(at := self._skip_zeros(source, at), 6):
            base = streams[bisect_right(streams, at) - 1]
            if not start.startswith(_MAGICS) or (at - base) % 4:
                self._refuse_old(source, at)
                if not count:
                    raise unusable(self.source.path, "is compressed, but holds no cpio archive")
                self._say_ends(at, "the unpacked archives")
                at = next((stream for stream in streams if stream > at), source.size_bytes)
                continue
            count += 1
            if count > MAX_PARTS:
                raise unusable(self.source.path, f"has more than {MAX_PARTS} archives")
            at = self._read_archive(source, at, base)
            if bisect_right(streams, at - 1) > bisect_right(streams, base):
                self.notes.append("an archive goes on in the next compressed stream: Linux fails there")
        if not count:
            raise unusable(self.source.path, "is compressed, but holds no cpio archive")

    def _refuse_old(self, source: Source, at: int) -> None:
        if words := find_old_format(source.read_some(at, 512)):
            raise unusable(self.source.path, words if not at else f"at byte {at} {words}")

    def _ends_in_bootconfig(self) -> bool:
        end = self.source.size_bytes - len(_BOOTCONFIG)
        return self.source.read_some(end, len(_BOOTCONFIG)) == _BOOTCONFIG

    def _say_ends(self, at: int, what: str) -> None:
        self.notes.append(f"what follows byte {at} of {what} is no archive, and is left out, as by Linux")

    def read_entry(self, entry: Entry, limit_bytes: int) -> bytes:
        """The first bytes of a regular file; of a hard link, those of the name that has them."""
        key, own = entry.where
        source, at, length = own if own[2] else self._links.get(key, own)
        return bytes(source.read_some(at, min(length, limit_bytes)))

    @staticmethod
    def _skip_zeros(source: Source, at: int) -> int:
        while chunk := source.read_some(at, _SEARCHED_BYTES):
            rest = chunk.lstrip(b"\0")
            at += len(chunk) - len(rest)
            if rest:
                return at
        return at

    def _read_archive(self, source: Source, at: int, base: int) -> int:
        """Read one archive up to its trailer; returns where it ends. Its parts are aligned to `base`."""
        archive = len(self._parts), at
        while True:
            header = source.read_some(at, _HEADER_BYTES)
            if not header.startswith(_MAGICS) or len(header) < _HEADER_BYTES:
                raise unusable(self.source.path, f"is damaged or truncated: no cpio header at byte {at}")
            # int() takes signs, blanks and underscores, too.
            if not _DIGITS.fullmatch(header, len(_WITH_SUMS)):
                raise unusable(self.source.path, f"is damaged: a bad cpio header at byte {at}")
            numbers = [int(header[6 + 8 * n : 14 + 8 * n], 16) for n in range(_FIELDS)]
            inode, mode, uid, gid, links, _, size, major, minor, _, _, name_size, checksum = numbers
            if not 0 < name_size <= MAX_PATH_BYTES:
                raise unusable(self.source.path, f"is damaged: a name of {name_size} bytes at byte {at}")
            name = source.read(at + _HEADER_BYTES, name_size, "a cpio name").split(b"\0")[0]
            data_at = at + _HEADER_BYTES + name_size
            data_at += (base - data_at) % 4
            if name == _TRAILER:
                return data_at
            if data_at + size > source.size_bytes:
                raise unusable(self.source.path, f"is truncated: a file ends at byte {data_at + size}")
            if header.startswith(_WITH_SUMS) and stat.S_ISREG(mode) and size:
                self._check_sum(source, data_at, size, checksum)
            key = (*archive, major, minor, inode) if links > 1 else (*archive, at)
            self._add(name, (source, data_at, size), key, (mode, uid, gid))
            at = data_at + size
            at += (base - at) % 4

    def _check_sum(self, source: Source, at: int, size: int, expected: int) -> None:
        """Check that the bytes of a file add up to what its header says, as Linux does."""
        found = sum(sum(source.read_some(at + n, min(_CHUNK, size - n))) for n in range(0, size, _CHUNK))
        if found & 0xFFFF_FFFF != expected:
            raise unusable(self.source.path, f"is damaged: the checksum of a file at byte {at} is wrong")

    def _add(
        self,
        name: bytes,
        data: tuple[Source, int, int],
        key: tuple[int, ...],
        facts: tuple[int, int, int],
    ) -> None:
        parts = [part for part in name.split(b"/") if part not in (b"", b".", b"..")]
        folder = self._find_folder(b"/".join(parts[:-1]))
        path = b"/".join(filter(None, (folder, *parts[-1:])))
        source, at, size = data
        mode, uid, gid = facts
        if folder is None or not self._takes(path, mode, size):
            self._lost.append(name)
            return
        link = source.read_some(at, size) if stat.S_ISLNK(mode) else b""
        if size and stat.S_ISREG(mode):
            self._links[key] = data
        self._name_bytes += len(path) + len(link)
        before = self.entries.pop(path, None)
        if before is not None or stat.S_ISLNK(mode):
            self._folders.clear()
        self.entries[path] = Entry(
            path=path,
            inode=self._inodes.setdefault(key, len(self._inodes)),
            mode=mode,
            uid=uid,
            gid=gid,
            size_bytes=size,
            link=link,
            where=(key, data),
        )
        self._filled.add(folder)
        self.entries.setdefault(b"", _folder(b""))
        if len(self.entries) > MAX_ENTRIES or self._name_bytes > MAX_NAME_BYTES:
            raise unusable(self.source.path, f"would hold more than {len(self.entries) - 1} files")

    def _takes(self, path: bytes, mode: int, size: int) -> bool:
        """Whether Linux makes it: not a link that is too long, nor anything else but a file with contents."""
        if size and not stat.S_ISREG(mode):
            return stat.S_ISLNK(mode) and size <= MAX_PATH_BYTES
        # A folder with something in it stays what it is.
        return stat.S_ISDIR(mode) or path not in self._filled

    def _find_folder(self, path: bytes) -> bytes | None:
        """Where the folder is that a path leads to, through links as Linux walks; None if it leads nowhere.

        A folder that the archive leaves out is added.
        """
        if not path or path in self._folders:
            return self._folders.get(path, b"")
        found: bytes | None = b""
        for name in path.split(b"/"):
            assert found is not None
            inside, found = found, found + b"/" + name if found else name
            there = self.entries.get(found)
            if there is None:
                self._filled.add(inside)
                self.entries[found] = _folder(found)
                self._name_bytes += len(found)
                if found not in _THERE:
                    self._added.append(found)
            elif not there.is_folder:
                target = follow(found, self.entries.get)
                found = target.path if target is not None and target.is_folder else None
            if found is None:
                break
        self._folders[path] = found
        return found


def _folder(path: bytes) -> Entry:
    """A folder that an archive leaves out."""
    return Entry(path=path, inode=0, mode=stat.S_IFDIR | 0o755, uid=0, gid=0, size_bytes=0)
