"""Replays recorded serial logs on a virtual clock; it starts no process and takes no time.

The recording is the guest's first image file (its kernel, or its disk): a `serial.log`, with its
`serial.timing` beside it. After the last byte the machine exits if the recording says so, else it hangs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from guestbench.errors import HostError
from guestbench.vmm import (
    Chunk,
    Footprint,
    LaunchSpec,
    Machine,
    Qmp,
)
from guestbench.vmm.serial import read_recording

if TYPE_CHECKING:
    from guestbench.vmm.link import Link

CPU_SHARE = 0.5
"""CPU time of the fake VMM as a share of its virtual time."""


class FakeMachine:
    """A replaying machine. See `guestbench.vmm.Machine`. What is typed into it is kept in `typed`."""

    def __init__(self, chunks: tuple[Chunk, ...], status: int | None, argv: tuple[str, ...]) -> None:
        self._chunks = deque(chunks)
        self._status = status
        self._now_ns = 0
        self.argv = argv
        self.pid: int | None = None
        self.link: Link | None = None
        self.forwarded: dict[int, int] = {}
        self.typed = bytearray()

    @property
    def qmp(self) -> Qmp:
        """There is none. Raises RuntimeError."""
        raise RuntimeError("the fake VMM has no QMP")

    def now_ns(self) -> int:
        """The virtual time."""
        return self._now_ns

    def read_serial(self, timeout_s: float) -> Chunk | None:
        """The next recorded bytes, if they come within `timeout_s` of virtual time."""
        end_ns = self._now_ns + round(timeout_s * 1e9)
        if self._chunks and self._chunks[0].t_ns <= end_ns:
            chunk = self._chunks.popleft()
            self._now_ns = max(self._now_ns, chunk.t_ns)
            return chunk
        if not self._chunks and self._status is not None:
            return Chunk(t_ns=self._now_ns, data=b"")
        self._now_ns = end_ns
        return None

    def write_serial(self, data: bytes) -> None:
        """Keep what was typed."""
        self.typed += data

    def cpu_ns(self) -> int | None:
        """A fixed share of the virtual time."""
        return round(self._now_ns * CPU_SHARE)

    def footprint(self) -> Footprint | None:
        """Nothing: there is no memory."""
        return None

    def balloon(self) -> dict[str, int]:
        """Nothing: there is no guest."""
        return {}

    def save_state(self, file: Path) -> None:
        """There is none. Raises HostError."""
        raise HostError(f"the fake VMM writes no state to {file}", "guestbench doctor")

    def exit_status(self) -> int | None:
        """The recorded exit status, once everything was read."""
        return None if self._chunks else self._status

    def wait(self, timeout_s: float) -> int | None:
        """The recorded exit status, with `timeout_s` gone by if there is none."""
        if self.exit_status() is None:
            self._now_ns += round(timeout_s * 1e9)
        return self.exit_status()

    def complaint(self) -> str:
        """Nothing."""
        return ""


@contextmanager
def start(spec: LaunchSpec) -> Iterator[Machine]:
    """Replay the guest's recording.

    Raises:
        ImageError: the recording cannot be read.
    """
    recording = Path(spec.images[spec.boot.roles[0]].path)
    chunks, status = read_recording(recording)
    yield FakeMachine(chunks, status, ("fake", str(recording)))
