"""Digests of image files: of what a file holds, whatever of it is stored as holes; it changes no file.

A file of at most LARGE_BYTES has its SHA-256, as sha256sum prints it. A larger one, of which most is usually
nothing, has `blocks:` and the SHA-256 of: its size in decimal and a newline; then, of each block of
BLOCK_BYTES that is not all zeros, in order, the block's number as 8 bytes, least significant first, and its
bytes. So holes need not be read, and the same contents have the same digest with holes or without.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

from guestbench.model import GIB, Say

LARGE_BYTES = 4 * GIB
BLOCK_BYTES = 1 << 20
LARGE = "blocks:"
SILENT_S, AGAIN_S = 1.0, 10.0
"""After so long it is said what is done, and again so often."""
_ZEROS = bytes(BLOCK_BYTES)


def digest_file(path: Path, say: Say = lambda _: None) -> str:
    """The digest of a file; `say` is told of it if it takes longer than a second.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        progress = _Progress(path, size, say)
        if size > LARGE_BYTES:
            return LARGE + _digest_blocks(file.fileno(), size, progress)
        digest = hashlib.sha256()
        while chunk := file.read(BLOCK_BYTES):
            digest.update(chunk)
            progress.tell(file.tell())
        return digest.hexdigest()


def _digest_blocks(descriptor: int, size: int, progress: _Progress) -> str:
    digest = hashlib.sha256(f"{size}\n".encode())
    at = 0
    while (at := _find_data(descriptor, at)) < size:
        number = at // BLOCK_BYTES
        block = _read_block(descriptor, number * BLOCK_BYTES, min(BLOCK_BYTES, size - number * BLOCK_BYTES))
        if block != _ZEROS[: len(block)]:
            digest.update(number.to_bytes(8, "little"))
            digest.update(block)
        at = (number + 1) * BLOCK_BYTES
        progress.tell(at)
    return digest.hexdigest()


def _find_data(descriptor: int, at: int) -> int:
    """Where the next byte is that is in no hole; beyond every file if there is none."""
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return 1 << 63
        raise


def _read_block(descriptor: int, at: int, length: int) -> bytes:
    """So many bytes; a read may give fewer. What a file no longer has, its owner is told by its time."""
    parts: list[bytes] = []
    while length and (part := os.pread(descriptor, length, at)):
        parts.append(part)
        at += len(part)
        length -= len(part)
    return b"".join(parts)


class _Progress:
    """Tells how far a file has been read, once that takes long."""

    def __init__(self, path: Path, size: int, say: Say) -> None:
        self._what = f"reading {path} for its digest"
        self._size, self._say = size, say
        self._next = time.monotonic() + SILENT_S

    def tell(self, done: int) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + AGAIN_S
        self._say(f"{self._what}: {min(done, self._size) / GIB:.1f} of {self._size / GIB:.1f} GiB")
