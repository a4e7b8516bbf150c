"""Walks an ext2, ext3 or ext4 file system inside an image with debugfs; it never writes to one.

debugfs takes requests in a small language of its own. Names in an image are hostile, so that only inode
numbers ever go into a request; names are compared here.
"""

from __future__ import annotations

import os
import re
from typing import IO

from guestbench.host import process
from guestbench.images.source import Source, unusable
from guestbench.model import Frozen

TIMEOUT_S = 120.0
MAX_SYMLINKS = 40
"""As in Linux (path_resolution(7))."""
_MAX_LINK_BYTES = 4096
_ROOT_INODE = 2
_ENTRY = re.compile(rb"^/(\d+)/([0-7]+)/\d+/\d+/([^/]*)/(\d*)/$", re.MULTILINE)
_FAST_LINK = re.compile(rb'^Fast link dest: "(.*)"$', re.MULTILINE | re.DOTALL)
_KIND, _FOLDER, _REGULAR, _SYMLINK = 0o170000, 0o040000, 0o100000, 0o120000


class Inode(Frozen):
    """What a name in a folder leads to. `mode` is as in inode(7); the size of a folder is not known (0)."""

    number: int
    mode: int
    size_bytes: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.mode & _KIND == _FOLDER

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return self.mode & _KIND == _REGULAR

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode & _KIND == _SYMLINK


class ExtFilesystem:
    """The file system that begins at `start_bytes` of an open raw disk."""

    def __init__(self, source: Source, start_bytes: int) -> None:
        self._source = source
        self._device = f"{source.device}?offset={start_bytes}"
        self._folders: dict[int, dict[bytes, Inode]] = {}

    def find(self, path: str) -> Inode | None:
        """Walk to a path as the kernel would with this file system as `/`; None if it leads nowhere.

        Raises:
            ImageError: the file system cannot be read.
            ToolMissing: debugfs is not installed.
        """
        trail = [Inode(number=_ROOT_INODE, mode=_FOLDER, size_bytes=0)]
        ahead = _components(os.fsencode(path))
        links = 0
        while ahead:
            name = ahead.pop()
            if not trail[-1].is_folder:
                return None
            if name == b"..":
                trail = trail[:-1] or trail
                continue
            found = self.read_folder(trail[-1]).get(name)
            if found is None:
                return None
            if not found.is_symlink:
                trail.append(found)
                continue
            links += 1
            if links > MAX_SYMLINKS:
                return None
            target = self._read_link(found)
            ahead += _components(target)
            if target.startswith(b"/"):
                trail = trail[:1]
        return trail[-1]

    def read_folder(self, folder: Inode) -> dict[bytes, Inode]:
        """What a folder holds, by name, without `.` and `..`.

        Raises:
            ImageError: the file system cannot be read.
            ToolMissing: debugfs is not installed.
        """
        if folder.number not in self._folders:
            listing = self._request(f"ls -p <{folder.number}>")
            self._folders[folder.number] = {
                name: Inode(number=int(number), mode=int(mode, 8), size_bytes=int(size or 0))
                for number, mode, name, size in _ENTRY.findall(listing)
                if name not in (b"", b".", b"..") and int(number)
            }
        return self._folders[folder.number]

    def copy(self, file: Inode, dest: IO[bytes]) -> None:
        """Write a file's contents to `dest`.

        Raises:
            ImageError: the file system cannot be read.
            ToolMissing: debugfs is not installed.
        """
        self._request(f"cat <{file.number}>", stdout=dest)

    def _read_link(self, link: Inode) -> bytes:
        if link.size_bytes > _MAX_LINK_BYTES:
            return b""
        fast = _FAST_LINK.search(self._request(f"stat <{link.number}>"))
        return fast[1] if fast else self._request(f"cat <{link.number}>")

    def _request(self, request: str, stdout: IO[bytes] | None = None) -> bytes:
        done = process.run(
            ["debugfs", "-R", request, self._device],
            timeout_s=TIMEOUT_S,
            stdout=stdout,
            check=False,
            # The pager: debugfs starts the user's one even where its output is no terminal.
            env={"LC_ALL": "C", "DEBUGFS_PAGER": "__none__"},
        )
        # debugfs exits with 0 whatever happens; its standard error has a banner, then what went wrong.
        complaints = [line for line in process.tail(done.stderr).splitlines() if line.strip()][1:]
        if done.status != 0 or complaints:
            words = complaints[-1] if complaints else f"debugfs ended with status {done.status}"
            raise unusable(self._source.path, f"has a file system that cannot be read: {words}")
        return done.stdout


def _components(path: bytes) -> list[bytes]:
    """The components of a path, the last first."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
