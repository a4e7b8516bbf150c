"""What a QEMU can do for those that need it, over QMP."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from guestbench.errors import HostError, hint_of
from guestbench.vmm import Chunk, Footprint, Lacking
from guestbench.vmm.qemu.command import BALLOON, MEMFD
from guestbench.vmm.qemu.memory import read_footprint

if TYPE_CHECKING:
    from guestbench.vmm.qemu.qmp import Qmp

BALLOON_PATH = f"/machine/peripheral/{BALLOON}"
BALLOON_POLL_S = 1
QUIT_S = 30.0
SERIAL_WRITE = re.compile(r"@(\d+)\.(\d{6}):serial_write write addr 0x0([03]) val 0x([0-9a-f]{2})")
CLOCK_STEP_NS, CLOCK_SLEW = 2_000_000, 2000
"""A clock that is set moves by more; one that is adjusted, by at most one part in 2000 (adjtimex(2))."""
DIVISOR_LATCH = 0x80
"""The bit of a 16550's register 3 that makes register 0 the baud rate's divisor instead of the next byte."""


class Memfd:
    """The guest's memory, in a memfd of its own. See `vmm.GuestMemory`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def footprint(self) -> Footprint | None:
        """What QEMU takes of the host's memory; None once it has gone."""
        return read_footprint(self._pid, MEMFD)


class AskedBalloon:
    """The guest's balloon driver, which QEMU asks once a second. See `vmm.Balloon`."""

    def __init__(self, qmp: Qmp) -> None:
        self._qmp = qmp
        polling = "guest-stats-polling-interval"
        qmp.command("qom-set", path=BALLOON_PATH, property=polling, value=BALLOON_POLL_S)

    def statistics(self) -> dict[str, int]:
        """What the driver says, in KiB; empty where the guest has none or said nothing yet.

        Statistics that the guest does not know are all ones (virtio 1.2, 5.5.6.3) and are left out.
        """
        try:
            answer = self._qmp.command("qom-get", path=BALLOON_PATH, property="guest-stats")
        except HostError:
            return {}
        match answer:
            case {"last-update": int(since), "stats": dict(stats)} if since:
                known = {name: value for name, value in stats.items() if isinstance(value, int)}
                return {name: value // 1024 for name, value in known.items() if 0 <= value < 2**64 - 1}
        return {}


class BlockCounts:
    """What the plugin counts and writes into `file` when QEMU ends. See `vmm.Histogram`."""

    def __init__(self, qmp: Qmp, file: Path, wait: Callable[[float], int | None]) -> None:
        self._qmp = qmp
        self._file = file
        self._wait = wait

    def finish(self) -> str:
        """End QEMU and read the file."""
        with suppress(HostError):  # the guest may have powered off
            self._qmp.command("quit")
        if self._wait(QUIT_S) is None:
            raise HostError("QEMU does not end, so that its counts are not written", "guestbench doctor")
        try:
            return self._file.read_text("ascii")
        except OSError as error:
            raise HostError(f"{self._file}: {error.strerror}", hint_of(error, self._file.parent)) from error


class SerialTrace:
    """QEMU's trace of the serial port, to the microsecond. See `vmm.Stamps`.

    `file` has the trace, and `now_ns` is the time since QEMU's exec.
    """

    def __init__(self, file: Path, now_ns: Callable[[], int]) -> None:
        self._file = file
        self._now_ns = now_ns
        self._exec_ns = time.time_ns() - now_ns()

    def read(self) -> tuple[Chunk, ...] | Lacking:
        """Each byte written so far, with its time since QEMU's exec."""
        # The trace has the time of day, which somebody may have set meanwhile.
        now_ns = self._now_ns()
        exec_ns = time.time_ns() - now_ns
        if abs(moved_ns := exec_ns - self._exec_ns) > CLOCK_STEP_NS + now_ns // CLOCK_SLEW:
            return Lacking(reason=f"this host's clock was set meanwhile, by {moved_ns / 1e9:+.3f} s")
        written, latched = [], False
        text = self._file.read_text() if self._file.exists() else ""
        for seconds, micros, register, value in SERIAL_WRITE.findall(text):
            if register == "3":
                latched = bool(int(value, 16) & DIVISOR_LATCH)
            elif not latched:
                t_ns = int(seconds) * 10**9 + int(micros) * 1000 - exec_ns
                written.append(Chunk(t_ns=t_ns, data=bytes.fromhex(value)))
        return tuple(written)


class AcpiButton:
    """The power button of ACPI. See `vmm.PowerButton`."""

    def __init__(self, qmp: Qmp) -> None:
        self._qmp = qmp

    def press(self) -> None:
        """Press it."""
        self._qmp.command("system_powerdown")
