"""The one form of an archive: files alone, by name, in a gzip-compressed tar archive (ustar, POSIX.1-1988).

The same files give the same bytes. A file's header follows from its name, its size and whether it is a
program, so that reading is to make the header again and to compare: links, devices, owners, times and
extensions have no place in it. An archive is hostile until it has been read to its end.
"""

from __future__ import annotations

import gzip
import io
import re
import shlex
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from guestbench.errors import UsageError
from guestbench.model import MIB
from guestbench.text import visible

MAX_BYTES = 512 * MIB
"""Of all files, and of the blocks around them. Runs of all families of eight guests have some tens of MiB."""
MAX_FILES = 50_000
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
TIME = 315_532_800
"""1980: time zero is one that tar warns of."""
LEVEL = 9
_CHUNK = MIB
_NAME = re.compile(r"[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?")
"""Printable ASCII without a backslash, and no blank at an end."""
_KINDS = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
}


class Member(NamedTuple):
    """A file's contents, and whether it may be executed."""

    data: bytes
    program: bool = False


def write_archive(members: Mapping[str, Member], top: str) -> bytes:
    """The archive of these files, by their paths below the folder `top`.

    Raises:
        UsageError: there are too many of them, or too large ones, or one has a name that has no place here.
    """
    names = _Names("the artifact")
    out = io.BytesIO()
    with gzip.GzipFile("", "wb", LEVEL, out, mtime=0) as packed:
        for path in sorted(members):
            data, program = members[path]
            name = f"{top}/{path}"
            names.add(name, len(data))
            packed.write(_make_header(name, len(data), program))
            packed.write(data)
            packed.write(bytes(-len(data) % BLOCK))
        packed.write(END)
    return out.getvalue()


def unpack(archive: Path, into: Path) -> Path:
    """Write the files of an archive into the folder `into`, which is made; the one folder that they lie in.

    Raises:
        UsageError: it is damaged, too large, or not what `write_archive` writes; then nothing is written.
        OSError: a file cannot be read or written.
    """
    tops = {name.partition("/")[0] for name, _ in read_archive(archive)}
    if len(tops) != 1:
        raise refuse(archive, f"is refused: it holds {len(tops)} folders in the place of one")
    into.mkdir(mode=0o700, parents=True)
    for name, member in read_archive(archive):
        path = into / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(member.data)
        path.chmod(0o700 if member.program else 0o600)
    return into / tops.pop()


def read_archive(archive: Path) -> Iterator[tuple[str, Member]]:
    """The files of an archive by their names, in their order. Raises as `unpack` does."""
    names = _Names(str(archive))
    try:
        with gzip.open(archive) as packed:
            while (header := _read(packed, BLOCK, archive)) != END[:BLOCK]:
                name, size, program = _read_header(header, archive)
                names.add(name, size)
                data = _read(packed, size, archive)
                if any(_read(packed, -size % BLOCK, archive)):
                    raise refuse(archive, f"hides something behind {visible(name)}")
                yield name, Member(data, program)
            if _read(packed, len(END) - BLOCK, archive).strip(b"\0") or packed.read(1):
                raise refuse(archive, "goes on behind its end")
    except gzip.BadGzipFile as error:
        raise refuse(archive, "is no gzip archive, or is damaged") from error
    except EOFError as error:
        raise refuse(archive, "is cut off") from error
    except zlib.error as error:
        raise refuse(archive, f"is damaged: {visible(str(error))}") from error


def refuse(archive: Path | str, problem: str) -> UsageError:
    """The error about an archive that is not one of ours."""
    return UsageError(f"{visible(archive)} {problem}", f"tar tvzf {shlex.quote(str(archive))}")


def check_name(name: str) -> str:
    """Why a path cannot be that of a file in an archive; empty if it can."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        return "leads out of its folder"
    if not all(_NAME.fullmatch(part) and part != "." for part in parts):
        return "is not made of the printable characters of ASCII"
    try:
        _make_header(name, 0, False)
    except ValueError:
        return "is too long"
    return ""


class _Names:
    """The names and sizes so far, which have to ascend and to fit."""

    def __init__(self, archive: str) -> None:
        self._archive = archive
        self._last = ""
        self._files: set[str] = set()
        self._size = len(END)

    def add(self, name: str, size: int) -> None:
        problem = check_name(name)
        if problem:
            raise refuse(self._archive, f"is refused: the name {visible(name)} in it {problem}")
        if name in self._files:
            raise refuse(self._archive, f"is refused: it holds {visible(name)} twice")
        if any(str(parent) in self._files for parent in PurePosixPath(name).parents):
            raise refuse(self._archive, f"is refused: {visible(name)} in it lies behind a file")
        if name < self._last:
            raise refuse(self._archive, f"is refused: {visible(name)} in it is out of order")
        self._files.add(name)
        self._last = name
        self._size += BLOCK + size + -size % BLOCK
        if self._size > MAX_BYTES:
            raise refuse(self._archive, f"is refused: it has more than {MAX_BYTES // MIB} MiB")
        if len(self._files) > MAX_FILES:
            raise refuse(self._archive, f"is refused: it has more than {MAX_FILES} files")


def _make_header(name: str, size: int, program: bool) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o755 if program else 0o644, TIME
    return member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _read_header(header: bytes, archive: Path) -> tuple[str, int, bool]:
    """The name and the size of a file, and whether it is a program."""
    try:
        found = tarfile.TarInfo.frombuf(header, "ascii", "backslashreplace")
    except tarfile.HeaderError as error:
        raise refuse(archive, f"is damaged: {visible(str(error))} in the place of a file's header") from error
    problem = check_name(found.name)
    kind = _KINDS.get(found.type, "" if found.type == tarfile.REGTYPE else "something unknown")
    if kind:
        raise refuse(archive, f"is refused: {visible(found.name)} in it is {kind}")
    if problem:
        raise refuse(archive, f"is refused: the name {visible(found.name)} in it {problem}")
    program = found.mode == 0o755
    try:
        expected = _make_header(found.name, found.size, program)
    except ValueError:
        expected = b""
    if found.size < 0 or header != expected:
        raise refuse(
            archive, f"is refused: the header of {visible(found.name)} in it is not one of guestbench's"
        )
    return found.name, found.size, program


def _read(packed: gzip.GzipFile, size: int, archive: Path) -> bytes:
    """So many bytes, never more at once than there are."""
    parts: list[bytes] = []
    while size and (part := packed.read(min(size, _CHUNK))):
        parts.append(part)
        size -= len(part)
    if size:
        raise refuse(archive, "is cut off")
    return b"".join(parts)
