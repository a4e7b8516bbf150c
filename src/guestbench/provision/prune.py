"""Tells what the cache holds and removes what was used least recently; it makes nothing.

What a process uses has a lock that it holds while it lives (`cache.use_lock`), and what is being made has
another (`cache.locked`). Neither is waited for: what is locked stays.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from guestbench.model import Frozen
from guestbench.provision import cache


class Entry(Frozen):
    """A thing of the cache. `size_bytes` is what it takes on the disk, holes left out.

    `used` is when it was last used, in UTC and ISO 8601; `in_use` whether a process uses it or makes it anew.
    """

    name: str
    size_bytes: int
    used: str
    in_use: bool


class Pruned(Frozen):
    """What was removed, in the order in which it was, and what is left."""

    removed: tuple[Entry, ...]
    left: tuple[Entry, ...]

    @property
    def left_bytes(self) -> int:
        """What is left takes so much of the disk."""
        return measure(self.left)

    @property
    def in_use_bytes(self) -> int:
        """Of that, so much is in use."""
        return measure([each for each in self.left if each.in_use])


def measure(entries: Sequence[Entry]) -> int:
    """What entries take of the disk, in bytes."""
    return sum(each.size_bytes for each in entries)


def list_entries() -> tuple[Entry, ...]:
    """All things of the cache, those used least recently first."""
    base = cache.cache_folder() / "images"
    try:
        folders = [path for path in base.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return ()
    found = [(_last_used(folder), folder) for folder in folders]
    return tuple(
        Entry(
            name=folder.name,
            size_bytes=_measure_folder(folder),
            used=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(used)),
            in_use=not _try_locks(folder.name),
        )
        for used, folder in sorted(found)
    )


def prune(most_bytes: int, *, dry: bool = False) -> Pruned:
    """Remove what was used least recently until the rest takes at most `most_bytes`; with `dry` nothing.

    Things in use are never removed, so that more may be left. Digests are forgotten of files that are gone,
    and workspaces of killed builds are removed.

    Raises:
        HostError: the cache cannot be written.
    """
    entries = list_entries()
    size, removed = measure(entries), list[Entry]()
    for entry in entries:
        if size <= most_bytes:
            break
        if not entry.in_use and (dry or _remove(entry.name)):
            size -= entry.size_bytes
            removed.append(entry)
    if not dry:
        _tidy()
    gone = {entry.name for entry in removed}
    return Pruned(removed=tuple(removed), left=tuple(each for each in entries if each.name not in gone))


def _tidy() -> None:
    with cache.storing(cache.cache_folder()):
        cache.remove_stale_workspaces(cache.cache_folder() / "work")
        for note, file in cache.list_notes():
            if not file.exists():
                note.unlink(missing_ok=True)


def _remove(name: str) -> bool:
    """Remove a thing, unless somebody has begun to use it; whether it is gone."""
    folder = cache.cache_folder() / "images" / name
    with ExitStack() as stack:
        if not _try_locks(name, stack):
            return False
        # It goes at once or not at all: a killed prune leaves a workspace, which the next one removes.
        with cache.workspace("pruned") as work:
            folder.rename(work / "pruned")
        return True


def _try_locks(name: str, stack: ExitStack | None = None) -> bool:
    """Whether nobody uses or makes a thing; with `stack`, nobody begins to until that is closed."""
    with ExitStack() as own:
        for path in (cache.making_lock(name), cache.use_lock(name)):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT if stack else os.O_RDONLY, 0o644)
            except FileNotFoundError:
                continue
            except OSError:
                return False
            own.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        if stack is not None:
            stack.push(own.pop_all())
    return True


def _last_used(folder: Path) -> float:
    for path in (cache.use_lock(folder.name), folder / cache.MANIFEST, folder):
        with suppress(OSError):
            return path.stat().st_mtime
    return 0.0


def _measure_folder(folder: Path) -> int:
    return sum({(facts.st_dev, facts.st_ino): facts.st_blocks * 512 for facts in _walk(folder)}.values())


def _walk(folder: Path) -> Iterator[os.stat_result]:
    for path in folder.rglob("*"):
        with suppress(OSError):
            yield path.lstat()
