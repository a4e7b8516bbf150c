"""Replays recorded serial logs on a virtual clock; it starts no process and takes no time.

The recording is the guest's first image file (its kernel, or its disk): a `serial.log`, with its
`serial.timing` beside it, as `guest.serial` writes them. After the last byte the machine exits if the
recording says so, else it hangs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guestbench.errors import ImageError
from guestbench.model import Platform
from guestbench.vmm import Chunk, Identity, Lacking, LaunchSpec, Machine, Traits

TRAITS = Traits(replays=True, snapshots=False, accelerates=False)
CPU_SHARE = 0.5
"""CPU time of the fake VMM as a share of its virtual time."""
UNTIMED_BYTE_NS = 1_100
"""What a byte costs in a recording without times: the UART cost of a byte measured under TCG."""
REPLAYED = Lacking(reason="this VMM replays a recording: there is no guest")


class FakeMachine(Machine):
    """A replaying machine. See `guestbench.vmm.Machine`. What is typed into it is kept in `typed`."""

    def __init__(self, chunks: tuple[Chunk, ...], status: int | None, argv: tuple[str, ...]) -> None:
        super().__init__(argv, REPLAYED)
        self._chunks = deque(chunks)
        self._status = status
        self._now_ns = 0
        self.typed = bytearray()

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


def identify() -> Identity:
    """No VMM of this host."""
    return Identity(version="as recorded", path="")


def check(platform: Platform) -> None:
    """Nothing: any platform may be recorded."""


def describe(spec: LaunchSpec) -> tuple[str, ...]:
    """What stands for a command line."""
    return ("fake", str(_recording(spec)))


describe_interactive = describe


@contextmanager
def start(spec: LaunchSpec) -> Iterator[Machine]:
    """Replay the guest's recording.

    Raises:
        ImageError: the recording cannot be read.
    """
    chunks, status = read_recording(_recording(spec))
    yield FakeMachine(chunks, status, describe(spec))


def _recording(spec: LaunchSpec) -> Path:
    return Path(spec.images[spec.boot.roles[0]].path)


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
