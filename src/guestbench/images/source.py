"""Bounded reads of image files, and their names in messages.

Image files are hostile: a length or an offset found inside one is never trusted to lie inside it.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from guestbench.errors import HostError, ImageError
from guestbench.text import visible

_COPIED_BYTES = 1 << 20


class IncompleteImage(ImageError):
    """An image file that is missing, empty, or ends before something it must hold: get it again."""


class Source:
    """An open image file; `size_bytes` is its length when it was opened."""

    def __init__(self, path: Path, descriptor: int, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._descriptor = descriptor

    @property
    def device(self) -> str:
        """A path under which programs that we start can open this very file.

        It holds no character of the file's own name: e2fsprogs takes what follows a `?` as options.
        """
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def read(self, offset: int, length: int, what: str) -> bytes:
        """Exactly `length` bytes from `offset`; `what` names them in the error.

        Raises:
            ImageError: they do not lie inside the file, or cannot be read.
        """
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise truncated(self.path, what, offset + length, self.size_bytes)
        data = self.read_some(offset, length)
        if len(data) != length:
            raise truncated(self.path, what, offset + length, offset + len(data))
        return data

    def is_hole(self, offset: int, length: int) -> bool:
        """Whether so many bytes from `offset` are zeros that the file does not even store."""
        try:
            return os.lseek(self._descriptor, offset, os.SEEK_DATA) >= offset + length
        except OSError as error:
            return error.errno == errno.ENXIO  # no data up to the end; else the store cannot tell

    def read_some(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; fewer, or none, at the end of the file.

        Raises:
            ImageError: the file cannot be read.
        """
        if offset >= self.size_bytes:
            return b""
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise unusable(self.path, f"cannot be read: {error.strerror}") from error


@contextmanager
def open_source(path: Path, shown: Path | None = None) -> Iterator[Source]:
    """Open an image file for reading; errors name it `shown`, for a copy that nobody will find.

    Raises:
        ImageError: it is missing, not a regular file, or may not be read.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise IncompleteImage(f"{visible(path)} does not exist", "guestbench systems list") from error
    except OSError as error:
        raise ImageError(f"{visible(path)}: {error.strerror}", f"ls -l {quoted(path)}") from error
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            raise ImageError(f"{visible(path)} is a folder, not an image file", f"ls -l {quoted(path)}")
        if not stat.S_ISREG(facts.st_mode):
            raise ImageError(f"{visible(path)} is not a regular file", f"ls -l {quoted(path)}")
        yield Source(shown or path, descriptor, facts.st_size)
    finally:
        os.close(descriptor)


@contextmanager
def hold(data: bytes, shown: Path) -> Iterator[Source]:
    """Bytes as a source, in memory; errors name it `shown`."""
    descriptor = os.memfd_create("source")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield Source(shown, descriptor, len(data))
    finally:
        os.close(descriptor)


@contextmanager
def copy_out(source: Source, parts: Sequence[tuple[int, int]], *, align: int = 1) -> Iterator[Source]:
    """Parts of a file, each from a byte on and so long, behind each other as a file in memory.

    Each begins at a multiple of `align`.

    Raises:
        ImageError: a part does not lie inside the file, or cannot be read.
    """
    descriptor = os.memfd_create("part")
    try:
        size_bytes = 0
        with open(descriptor, "wb", closefd=False) as file:
            for offset, length in parts:
                size_bytes += file.write(bytes(-size_bytes % align))
                for at in range(offset, offset + length, _COPIED_BYTES):
                    chunk = source.read(at, min(_COPIED_BYTES, offset + length - at), "a part")
                    size_bytes += file.write(chunk)
        yield Source(source.path, descriptor, size_bytes)
    finally:
        os.close(descriptor)


def reason_of(error: ImageError, path: Path) -> str:
    """What an error says of the file at `path`, without its name."""
    return error.message.removeprefix(visible(path)).strip()


def unusable(path: Path, problem: str) -> ImageError:
    """An error about what a file holds; the hint shows what the file is."""
    return ImageError(f"{visible(path)} {problem}", f"file {quoted(path)}")


def truncated(
    path: Path, what: str, needed_bytes: int, size_bytes: int, whole: str = "file"
) -> IncompleteImage:
    """An error about a file, or the disk in it, that ends too early."""
    problem = f"is truncated: {what} ends at byte {needed_bytes}, the {whole} at byte {size_bytes}"
    return IncompleteImage(f"{visible(path)} {problem}", f"ls -l {quoted(path)}")


def no_space(dest: Path) -> HostError:
    """An error about a file that there is no room for."""
    return HostError(f"no space left for {visible(dest)}", f"df -h {quoted(dest.parent)}")


def quoted(path: Path) -> str:
    """A path as a shell word, for hints."""
    return shlex.quote(str(path)) if str(path).isprintable() else "PATH"
