"""Reads gzip-compressed tar archives member by member, within limits; it never extracts one to the disk.

Archives are hostile: sizes in them are believed only up to a limit, and a name that leads out of the archive,
or through a link in it, is an error that names the archive.
"""

from __future__ import annotations

import gzip
import io
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from guestbench.images.source import unusable
from guestbench.model import GIB, MIB
from guestbench.provision import cpio
from guestbench.text import visible

MAX_UNPACKED_BYTES = 2 * GIB
"""An Alpine netboot archive of two kernels has some 400 MiB."""
MAX_ROOT_BYTES = 256 * MIB
"""Contents of a root file system that is to become an initramfs, and so has to fit into a guest's RAM."""
MAX_MEMBERS = 100_000
MAX_READ_BYTES = 16 * MIB
"""Longest single read: longer ones are for extended headers, which nobody needs to be as long."""
MAX_NAME_BYTES = 4096
_CHUNK = MIB
_ENDS = 64
"""How often the end of the data may be read: tarfile asks for the rest of a truncated list for ever."""


def copy_members(archive: Path, wanted: Mapping[str, tuple[Path, int]]) -> None:
    """Copy files out of an archive: `wanted` gives by member's name the file to write and its largest size.

    Raises:
        ImageError: the archive is damaged, has no such member, or one that is larger or no regular file.
    """
    missing = dict(wanted)
    with _open(archive) as tar:
        for name, member in tar.members():
            if name not in missing:
                continue
            dest, limit_bytes = missing.pop(name)
            if not member.isreg():
                raise unusable(archive, f"is of no use: {visible(name)} in it is not a regular file")
            if member.size > limit_bytes:
                raise unusable(archive, f"is of no use: {visible(name)} in it has {member.size} bytes")
            with dest.open("wb") as file:
                shutil.copyfileobj(tar.open(member), file, _CHUNK)
            if not missing:
                return
    raise unusable(archive, f"holds no {', no '.join(missing)}")


def read_entries(archive: Path) -> dict[str, cpio.Entry]:
    """What is in an archive of a root file system, by path; devices are left out, hard links become copies.

    Raises:
        ImageError: the archive is damaged, too large, or holds a name that leads elsewhere.
    """
    entries: dict[str, cpio.Entry] = {}
    too_large = unusable(archive, f"would unpack to more than {MAX_ROOT_BYTES // MIB} MiB")
    room = MAX_ROOT_BYTES
    with _open(archive) as tar:
        for name, member in tar.members():
            if member.isreg() and member.size > room:
                raise too_large
            # The root itself has no name.
            entry = tar.read_entry(member, entries) if name else None
            if entry is None:
                continue
            room -= len(entry.data)
            if room < 0:
                raise too_large
            entries.pop(name, None)
            entries[name] = entry
    for name in entries:
        # What lies behind something that is no folder would end up elsewhere, or nowhere.
        for parent in PurePosixPath(name).parents:
            folder = entries.get(str(parent))
            if folder is not None and not stat.S_ISDIR(folder.mode):
                raise unusable(archive, f"is refused: {visible(name)} in it lies behind a link or a file")
    return entries


class _Archive:
    """An open archive, read from its beginning to its end."""

    def __init__(self, path: Path, tar: tarfile.TarFile, unpacked: _Bounded) -> None:
        self._path, self._tar, self._unpacked = path, tar, unpacked

    def members(self) -> Iterator[tuple[str, tarfile.TarInfo]]:
        """The members by their names, in their order; tarfile's own list of them is kept empty."""
        for _ in range(MAX_MEMBERS):
            member = self._tar.next()
            if member is None:
                # To tarfile, a damaged header ends an archive as well as the block of zeros does.
                if self._unpacked.last != bytes(tarfile.BLOCKSIZE):
                    raise unusable(self._path, "is damaged or truncated: it has no end")
                return
            if member.size < 0:
                what = f"{visible(member.name)} in it has {member.size} bytes"
                raise unusable(self._path, f"is damaged: {what}")
            self._tar.members = []  # type: ignore[attr-defined]
            yield self._check_name(member.name), member
        raise unusable(self._path, f"holds more than {MAX_MEMBERS} members")

    def open(self, member: tarfile.TarInfo) -> IO[bytes]:
        """The contents of a regular file."""
        source = self._tar.extractfile(member)
        assert source is not None, "a regular file has contents"
        return source

    def read_entry(self, member: tarfile.TarInfo, before: Mapping[str, cpio.Entry]) -> cpio.Entry | None:
        """A member as part of an initramfs; None for a device. `before` is what was read before it."""
        if member.isdir():
            kind, data = stat.S_IFDIR, b""
        elif member.issym():
            kind, data = stat.S_IFLNK, self._encode(member.linkname)
        elif member.islnk():
            target = before.get(self._check_name(member.linkname))
            if target is None or not stat.S_ISREG(target.mode):
                what = f"{visible(member.name)} in it is a link to nothing before it"
                raise unusable(self._path, f"is damaged: {what}")
            return target
        elif member.isreg():
            kind, source = stat.S_IFREG, self.open(member)
            data = b"".join(iter(lambda: source.read(_CHUNK), b""))
        else:
            return None
        permissions = 0o777 if stat.S_ISLNK(kind) else stat.S_IMODE(member.mode)
        # A number that does not fit into the 32 bits of an initramfs becomes root's.
        uid, gid = (number if 0 <= number < 1 << 32 else 0 for number in (member.uid, member.gid))
        return cpio.Entry(mode=kind | permissions, data=data, uid=uid, gid=gid)

    def _check_name(self, name: str) -> str:
        """A member's name without `./` in front; empty for the root itself."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise unusable(self._path, f"is refused: the name {visible(name)} in it leads out of it")
        self._encode(name)
        return "/".join(parts)

    def _encode(self, name: str) -> bytes:
        try:
            raw = name.encode()
        except UnicodeEncodeError as error:
            what = f"a name in it is not UTF-8: {ascii(name)[:80]}"
            raise unusable(self._path, f"is refused: {what}") from error
        if len(raw) > MAX_NAME_BYTES:
            raise unusable(self._path, f"is refused: a name in it has {len(raw)} bytes")
        return raw


@contextmanager
def _open(archive: Path) -> Iterator[_Archive]:
    try:
        with gzip.open(archive) as unpacked:
            bounded = _Bounded(unpacked, archive)
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:", encoding="utf-8") as tar:
                yield _Archive(archive, tar, bounded)
    except gzip.BadGzipFile as error:
        raise unusable(archive, "is not a gzip archive, or is damaged") from error
    except EOFError as error:
        raise unusable(archive, "is truncated: its gzip data has no end") from error
    except (tarfile.TarError, zlib.error, ValueError, OverflowError) as error:
        raise unusable(archive, f"is damaged: {visible(str(error))}") from error
    except RecursionError as error:
        raise unusable(archive, "is damaged: its headers never end") from error


class _Bounded:
    """Unpacked data that can be read and skipped, never gone back in, and only so much of it."""

    def __init__(self, unpacked: gzip.GzipFile, archive: Path) -> None:
        self._unpacked, self._archive = unpacked, archive
        self.last = b""
        self._at = 0
        self._ends = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise unusable(self._archive, f"is damaged: a header in it claims {size} bytes")
        self.last = data = self._unpacked.read(size)
        self._at += len(data)
        self._ends += size > 0 and not data
        if self._at > MAX_UNPACKED_BYTES:
            raise unusable(self._archive, f"would unpack to more than {MAX_UNPACKED_BYTES >> 20} MiB")
        if self._ends > _ENDS:
            raise unusable(self._archive, "is truncated")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._at:
            raise unusable(self._archive, "is damaged: a member of it lies before the one ahead of it")
        while self._at < offset and self.read(min(_CHUNK, offset - self._at)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at
