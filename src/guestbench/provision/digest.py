"""Digests of image files, remembered by path, size and time of change: no run reads gigabytes twice.

It never trusts a note about a file that has changed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from guestbench.errors import ImageError
from guestbench.model import Image
from guestbench.provision.cache import cache_folder, hash_file


def read_image(path: Path) -> Image:
    """Describe an image file as a trial is to find it.

    Raises:
        ImageError: the file cannot be read, or changes while it is read.
    """
    path = path.absolute()
    try:
        before = path.stat()
        known = _recall(path, before)
        if known is not None:
            return known
        digest = hash_file(path)
        after = path.stat()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}", f"ls -l {path}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ImageError(f"{path} changed while it was read", f"ls -l {path}")
    image = Image(path=str(path), size_bytes=before.st_size, mtime_ns=before.st_mtime_ns, sha256=digest)
    _remember(image)
    return image


def _note(path: Path) -> Path:
    return cache_folder() / "digests" / hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def _recall(path: Path, now: os.stat_result) -> Image | None:
    try:
        known = msgspec.json.decode(_note(path).read_bytes(), type=Image)
    except (OSError, msgspec.MsgspecError):
        return None
    same = (known.path, known.size_bytes, known.mtime_ns) == (str(path), now.st_size, now.st_mtime_ns)
    return known if same else None


def _remember(image: Image) -> None:
    note = _note(Path(image.path))
    note.parent.mkdir(parents=True, exist_ok=True)
    staged = note.with_name(f"{note.name}.{os.getpid()}")
    staged.write_bytes(msgspec.json.encode(image))
    staged.rename(note)
