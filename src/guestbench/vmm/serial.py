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

from guestbench.errors import ImageError
from guestbench.vmm import Chunk

COALESCE_NS = 1_000_000
LOG_NAME = "serial.log"
TIMING_NAME = "serial.timing"
UNTIMED_BYTE_NS = 1_100
"""What a byte costs in a recording without times: the UART cost of a byte measured under TCG."""


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


def read_recording(log: Path) -> tuple[tuple[Chunk, ...], int | None]:
    """Read a recording whose bytes are in `log`: its chunks, and the VMM's exit status if it ended.

    Without a `.timing` file beside the log, bytes come one by one at the cost of a UART byte.

    Raises:
        ImageError: the log cannot be read, or its timing is damaged.
    """
    timing = log.with_suffix(".timing")
    try:
        data = log.read_bytes()
        lines = timing.read_text().splitlines() if timing.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{log}: not a serial recording: {error}", f"ls -l {log}") from error
    if lines is None:
        times = enumerate(data)
        return tuple(Chunk(t_ns=i * UNTIMED_BYTE_NS, data=bytes([b])) for i, b in times), None
    return _parse_timing(data, lines, timing)


def _parse_timing(data: bytes, lines: list[str], timing: Path) -> tuple[tuple[Chunk, ...], int | None]:
    chunks: list[Chunk] = []
    status: int | None = None
    offset = 0
    for number, line in enumerate(lines, 1):
        first, _, second = line.partition(" ")
        try:
            if first == "exit":
                status = int(second)
                continue
            count = int(second)
            chunks.append(Chunk(t_ns=int(first) * 1000, data=data[offset : offset + count]))
        except ValueError:
            raise ImageError(f"{timing}:{number}: expected `t_us count`", f"ls -l {timing}") from None
        offset += count
    if offset != len(data):
        raise ImageError(f"{timing}: times {offset} bytes of {len(data)}", f"ls -l {timing}")
    return tuple(chunks), status
