"""Standard output and standard error of the command line, which may go away or be full at any moment."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from guestbench.errors import HostError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Talk(io.FileIO):
    """Standard error. There is nobody to tell that it cannot be written, and a run goes on without it."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


class _Data(io.FileIO):
    """Standard output. Whoever closed it wants no more; if it is full, that is an error, told once."""

    _failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            if not self._failed:
                return super().write(data) or 0
        except BrokenPipeError:
            pass
        except OSError as error:
            self._failed = True
            raise HostError(f"cannot write standard output: {error.strerror}", "df -h") from error
        return memoryview(data).nbytes


def guard_streams() -> None:
    """Have no command end halfway because nobody reads what it says. For the start of a process."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file opened would be it, and what is said be written into that: the store.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is not None:
        sys.stderr = _wrap(_Talk(2, "w", closefd=False), sys.stderr)
    if sys.stdout is not None:
        sys.stdout = _wrap(_Data(1, "w", closefd=False), sys.stdout)


def _wrap(raw: io.FileIO, before: io.TextIOBase | object) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None),
        errors=getattr(before, "errors", None),
        line_buffering=getattr(before, "line_buffering", False),
    )
