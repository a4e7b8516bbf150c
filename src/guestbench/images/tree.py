"""A root file system as one list of its entries, whatever stores it; it never follows a path on the host.

Paths are bytes without a leading slash. What an image says is hostile: the limits here keep a small image
with huge counts from filling the memory of whoever looks at it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from guestbench.errors import ImageError
from guestbench.text import visible

MAX_ENTRIES = 600_000
"""Debian's root has 27,000; a desktop with everything half a million."""
MAX_PATH_BYTES = 4096
"""PATH_MAX."""
MAX_SYMLINKS = 40
"""As in Linux (path_resolution(7))."""
MAX_STEPS = 5_000_000
"""Components of paths that are walked in one file system, long paths counting more: links to links to
links can make thousands of each of many names. Debian takes 20,000."""
_STEP_BYTES = 64


ROOT_MARKS = ("etc/os-release", "usr/lib/os-release", "sbin/init", "init", "etc/passwd")
"""What only a root file system has: an os-release file, an init, users."""


class Entry(NamedTuple):
    """One name. `inode` tells hard links; `mode` is as in inode(7); `link` is a symbolic link's target.

    `capability` is the raw value of the extended attribute security.capability; None where there is none.
    `where` is for the reader of the store it is in.
    """

    path: bytes
    inode: int
    mode: int
    uid: int
    gid: int
    size_bytes: int
    link: bytes = b""
    capability: bytes | None = None
    where: Any = None

    @property
    def name(self) -> bytes:
        """The last component of its path."""
        return self.path.rpartition(b"/")[2]

    @property
    def folder(self) -> bytes:
        """The path of the folder it is in."""
        return self.path.rpartition(b"/")[0]

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_executable(self) -> bool:
        """Whether it is a regular file that someone may execute."""
        return self.is_regular and bool(self.mode & 0o111)


class Tree:
    """All entries of a file system by path. `read` gives at most so many bytes of a regular file.

    `has_attributes` is whether extended attributes would have been seen.
    """

    def __init__(
        self, entries: Iterable[Entry], read: Callable[[Entry, int], bytes], *, has_attributes: bool
    ) -> None:
        self._entries = {entry.path: entry for entry in entries}
        self._read = read
        self._steps_left = MAX_STEPS
        self.has_attributes = has_attributes

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def read(self, entry: Entry, limit_bytes: int) -> bytes:
        """The first bytes of a regular file.

        Raises:
            ImageError: they cannot be read.
        """
        return self._read(entry, min(limit_bytes, entry.size_bytes))

    def read_whole(self, entry: Entry, limit_bytes: int) -> bytes:
        """All bytes of a regular file.

        Raises:
            ImageError: they cannot be read, or are more than `limit_bytes`.
        """
        if entry.size_bytes > limit_bytes:
            problem = f"has {entry.size_bytes} bytes; at most {limit_bytes} of it are read"
            raise ImageError(f"{show_path(entry.path)} {problem}", "guestbench inspect IMAGE")
        data = self._read(entry, entry.size_bytes)
        if len(data) < entry.size_bytes:
            problem = f"is cut: {len(data)} of its {entry.size_bytes} bytes are there"
            raise ImageError(f"{show_path(entry.path)} {problem}", "guestbench inspect IMAGE")
        return data

    def find(self, path: str | bytes) -> Entry | None:
        """The entry that a path leads to with this file system as `/`, through links; None if nowhere."""
        return follow(path, self._look_up)

    def _look_up(self, path: bytes) -> Entry | None:
        self._steps_left -= 1 + len(path) // _STEP_BYTES
        if self._steps_left < 0:
            problem = f"leads on through links: more than {MAX_STEPS:,} steps are not walked"
            raise ImageError(f"{show_path(path)} {problem}", "guestbench inspect IMAGE")
        return self._entries.get(path)

    def find_file(self, path: str | bytes) -> Entry | None:
        """As `find`, for what must be a regular file."""
        entry = self.find(path)
        return entry if entry is not None and entry.is_regular else None

    def below(self, folder: str) -> list[Entry]:
        """All entries below a folder, by path; none if it does not exist."""
        found = self.find(folder)
        if found is None or not found.is_folder:
            return []
        start = found.path + b"/" if found.path else b""
        return sorted(entry for entry in self if entry.path.startswith(start) and entry.path != found.path)


def follow(path: str | bytes, look_up: Callable[[bytes], Entry | None]) -> Entry | None:
    """The entry that a path leads to, through links, as the kernel would walk; None if it leads nowhere.

    `look_up` gives the entry at a path that no link is in.
    """
    ahead = _components(os.fsencode(path))
    trail: list[bytes] = []
    links = 0
    while ahead:
        name = ahead.pop()
        if name == b"..":
            trail = trail[:-1]
            continue
        entry = look_up(b"/".join([*trail, name]))
        if entry is None:
            return None
        if entry.is_symlink:
            links += 1
            if links > MAX_SYMLINKS:
                return None
            ahead += _components(entry.link)
            trail = [] if entry.link.startswith(b"/") else trail
            continue
        if ahead and not entry.is_folder:
            return None
        trail.append(name)
    return look_up(b"/".join(trail))


def _components(path: bytes) -> list[bytes]:
    """The components of a path, the last first."""
    return [part for part in reversed(path[: 2 * MAX_PATH_BYTES].split(b"/")) if part not in (b"", b".")]


def show(raw: bytes) -> str:
    """Bytes of an image as text in one line of printable characters; it ends with … where more follows."""
    cut = raw[:MAX_PATH_BYTES].decode("utf-8", "backslashreplace")
    return visible(cut) + ("…" if len(raw) > MAX_PATH_BYTES else "")


def show_path(raw: bytes) -> str:
    """A path in an image, from its root on."""
    return "/" + show(raw)
