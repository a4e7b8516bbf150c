"""Writes cpio archives in the "newc" format that Linux unpacks as its initial ramdisk; it never reads one.

Device nodes are entries like any other here, so no root is needed. The same entries give the same bytes.
Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping

from guestbench.model import Frozen


class Entry(Frozen):
    """One thing in an archive. `mode` is type and permissions as in `st_mode`; `data` is a link's target."""

    mode: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)


def regular_file(data: bytes, *, executable: bool = False) -> Entry:
    """A file of root's that all may read."""
    return Entry(mode=stat.S_IFREG | (0o755 if executable else 0o644), data=data)


def directory(permissions: int = 0o755) -> Entry:
    """A folder of root's."""
    return Entry(mode=stat.S_IFDIR | permissions)


def symbolic_link(target: str) -> Entry:
    """A link to `target`."""
    return Entry(mode=stat.S_IFLNK | 0o777, data=target.encode())


def character_device(major: int, minor: int) -> Entry:
    """A character device that only root may use."""
    return Entry(mode=stat.S_IFCHR | 0o600, device=(major, minor))


def pack(entries: Mapping[str, Entry]) -> bytes:
    """An archive of `entries` by path, relative and without a leading slash; missing folders are added."""
    complete = dict(entries)
    for path in entries:
        parts = path.split("/")[:-1]
        for length in range(1, len(parts) + 1):
            complete.setdefault("/".join(parts[:length]), directory())
    # In the order of their names, so that a folder comes before what is in it.
    ordered = sorted(complete.items())
    packed = [_pack_entry(number, path, entry) for number, (path, entry) in enumerate(ordered, start=1)]
    return b"".join([*packed, _pack_entry(0, "TRAILER!!!", Entry(mode=0))])


def _pack_entry(inode: int, path: str, entry: Entry) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    owner, times_and_size = (entry.uid, entry.gid), (0, len(entry.data))
    # The archive's own device is none; the last is a checksum that this format leaves out.
    numbers = (inode, entry.mode, *owner, links, *times_and_size, 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _pad(header + name) + _pad(entry.data)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
