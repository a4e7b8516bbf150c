"""Folders of a build as wholes: brought to the disk, and removed; what is in them is not looked at."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from guestbench.errors import GuestbenchError
from guestbench.host import process


def remove_tree(folder: Path) -> None:
    """Remove a folder that may hold a half-built root file system: mount points in it are left alone.

    Files of a user namespace's mapped users are removed from inside such a namespace.
    """
    if not folder.exists():
        return
    argv = ["rm", "--recursive", "--force", "--one-file-system", "--", str(folder)]
    process.run(argv, check=False)
    if folder.exists():
        # The namespace's root may empty what its users own; the rest, and the emptied folders, are ours.
        inside = ["find", str(folder), "-xdev", "-mindepth", "1", "-delete"]
        with suppress(GuestbenchError):
            process.run(["mmdebstrap", "--unshare-helper", *inside], check=False)
            process.run(argv, check=False)


def sync_tree(folder: Path) -> None:
    """Bring files to the disk before their folder gets its final name."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
