"""Recordings of a serial console: the bytes, and when each of them came; it never interprets them.

A recording is two files. `serial.log` has the raw bytes. `serial.timing` has a line `t_us count` for each
run of bytes, microseconds since the exec of the VMM, and may end with a line `exit STATUS` where the VMM
ended by itself. Runs that came within a millisecond of each other are one line.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from guestbench.vmm import Chunk

COALESCE_NS = 1_000_000
LOG_NAME = "serial.log"
TIMING_NAME = "serial.timing"


class SerialLog:
    """Everything a serial console has said so far. `data` is the bytes, `first_ns` when the first came."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.first_ns: int | None = None
        # Plain numbers: a guest that prints byte by byte makes a chunk of each.
        self._ends = array("q")
        self._times = array("q")

    def append(self, chunk: Chunk) -> None:
        """Keep a chunk's bytes and their time."""
        if self.first_ns is None and chunk.data:
            self.first_ns = chunk.t_ns
        if chunk.data:
            self.data += chunk.data
            self._ends.append(len(self.data))
            self._times.append(chunk.t_ns)

    def time_of(self, at: int) -> int:
        """When the byte at `at` arrived, in nanoseconds since the exec of the VMM. Raises IndexError."""
        return self._times[bisect_right(self._ends, at)]

    def write(self, folder: Path, exit_status: int | None = None) -> None:
        """Write the recording into `folder`. Raises OSError."""
        (folder / LOG_NAME).write_bytes(self.data)
        lines = [f"{t_ns // 1000} {count}\n" for t_ns, count in self._runs()]
        if exit_status is not None:
            lines.append(f"exit {exit_status}\n")
        (folder / TIMING_NAME).write_text("".join(lines))

    def _runs(self) -> Iterator[tuple[int, int]]:
        """The time and the length of each run of bytes that came within a millisecond of its first."""
        began_ns, began_at, end = 0, 0, 0
        for next_end, t_ns in zip(self._ends, self._times, strict=True):
            if end and t_ns - began_ns >= COALESCE_NS:
                yield began_ns, end - began_at
                began_at = end
            if began_at == end:
                began_ns = t_ns
            end = next_end
        if end:
            yield began_ns, end - began_at
