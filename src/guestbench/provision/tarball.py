"""Reads gzip-compressed tar archives member by member, within limits; it never extracts one to the disk.

Archives are hostile: sizes in them are believed only up to a limit, and a name that leads out of the archive,
or through a link in it, is an error that names the archive.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
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
    with _open(archive) as (tar, members):
        for member in members:
            name = _safe_name(member.name, archive)
            if name not in missing:
                continue
            dest, limit_bytes = missing.pop(name)
            if not member.isreg():
                raise unusable(archive, f"is of no use: {visible(name)} in it is not a regular file")
            if member.size > limit_bytes:
                raise unusable(archive, f"is of no use: {visible(name)} in it has {member.size} bytes")
            source = _contents(tar, member)
            with dest.open("wb") as file:
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
            if not missing:
                return
    raise unusable(archive, f"holds no {', no '.join(missing)}")


def read_entries(archive: Path) -> dict[str, cpio.Entry]:
    """What is in an archive of a root file system, by path; devices are left out, hard links become copies.

    Raises:
        ImageError: the archive is damaged, too large, or holds a name that leads elsewhere.
    """
    entries: dict[str, cpio.Entry] = {}
    room = MAX_ROOT_BYTES
    with _open(archive) as (tar, members):
        for member in members:
            name = _safe_name(member.name, archive)
            if not name:
                continue  # the root itself
            entry = _read_entry(tar, member, entries, archive)
            if entry is None:
                continue
            room -= len(entry.data)
            if room < 0:
                raise unusable(archive, f"would unpack to more than {MAX_ROOT_BYTES >> 20} MiB")
            entries.pop(name, None)
            entries[name] = entry
    _check_folders(entries, archive)
    return entries


def _read_entry(
    tar: tarfile.TarFile, member: tarfile.TarInfo, entries: Mapping[str, cpio.Entry], archive: Path
) -> cpio.Entry | None:
    if member.isdir():
        kind, data = stat.S_IFDIR, b""
    elif member.issym():
        kind, data = stat.S_IFLNK, _encode(member.linkname, archive)
    elif member.islnk():
        target = entries.get(_safe_name(member.linkname, archive))
        if target is None or not stat.S_ISREG(target.mode):
            what = f"{visible(member.name)} in it is a link to nothing before it"
            raise unusable(archive, f"is damaged: {what}")
        return target
    elif member.isreg():
        if member.size > MAX_ROOT_BYTES:
            raise unusable(archive, f"would unpack to more than {MAX_ROOT_BYTES >> 20} MiB")
        kind, data = stat.S_IFREG, _read_all(tar, member)
    else:
        return None
    permissions = 0o777 if stat.S_ISLNK(kind) else stat.S_IMODE(member.mode)
    return cpio.Entry(mode=kind | permissions, data=data, uid=_id(member.uid), gid=_id(member.gid))


def _id(number: int) -> int:
    """A user's or group's number, where it fits into the 32 bits of an initramfs; else root's."""
    return number if 0 <= number < 1 << 32 else 0


def _read_all(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = _contents(tar, member)
    return b"".join(iter(lambda: source.read(_CHUNK), b""))


def _contents(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    source = tar.extractfile(member)
    assert source is not None, "a regular file has contents"
    return source


def _safe_name(name: str, archive: Path) -> str:
    """A member's name without `./` in front; empty for the root itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise unusable(archive, f"is refused: the name {visible(name)} in it leads out of it")
    _encode(name, archive)
    return "/".join(parts)


def _encode(name: str, archive: Path) -> bytes:
    try:
        raw = name.encode()
    except UnicodeEncodeError as error:
        raise unusable(archive, f"is refused: a name in it is not UTF-8: {ascii(name)[:80]}") from error
    if len(raw) > MAX_NAME_BYTES:
        raise unusable(archive, f"is refused: a name in it has {len(raw)} bytes")
    return raw


def _check_folders(entries: Mapping[str, cpio.Entry], archive: Path) -> None:
    """Refuse what lies behind something that is no folder: it would end up elsewhere, or nowhere."""
    for name in entries:
        parts = name.split("/")
        for length in range(1, len(parts)):
            folder = entries.get("/".join(parts[:length]))
            if folder is not None and not stat.S_ISDIR(folder.mode):
                raise unusable(archive, f"is refused: {visible(name)} in it lies behind a link or a file")


def _members(tar: tarfile.TarFile, unpacked: _Bounded, archive: Path) -> Iterator[tarfile.TarInfo]:
    """The members in the order of the archive; tarfile's own list of them is kept empty."""
    for _ in range(MAX_MEMBERS):
        member = tar.next()
        if member is None:
            # To tarfile, a damaged header ends an archive as well as the block of zeros does.
            if unpacked.last != bytes(tarfile.BLOCKSIZE):
                raise unusable(archive, "is damaged or truncated: it has no end")
            return
        if member.size < 0:
            raise unusable(archive, f"is damaged: {visible(member.name)} in it has {member.size} bytes")
        tar.members = []  # type: ignore[attr-defined]
        yield member
    raise unusable(archive, f"holds more than {MAX_MEMBERS} members")


@contextmanager
def _open(archive: Path) -> Iterator[tuple[tarfile.TarFile, Iterator[tarfile.TarInfo]]]:
    try:
        with gzip.open(archive) as unpacked:
            bounded = _Bounded(unpacked, archive)
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:", encoding="utf-8") as tar:
                yield tar, _members(tar, bounded, archive)
    except gzip.BadGzipFile as error:
        raise unusable(archive, "is not a gzip archive, or is damaged") from error
    except EOFError as error:
        raise unusable(archive, "is truncated: its gzip data has no end") from error
    except (tarfile.TarError, zlib.error, ValueError, OverflowError) as error:
        raise unusable(archive, f"is damaged: {visible(str(error))}") from error
    except RecursionError as error:
        raise unusable(archive, "is damaged: its headers never end") from error


class _Bounded(io.RawIOBase):
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

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
