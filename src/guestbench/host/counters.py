"""Hardware counters of a process, as the kernel keeps them (perf_event_open), and the energy of a CPU.

A counter is opened for a process that has just been started, and counts what that and all threads and
processes that it starts do. Where a host has none, or allows none, the reason takes the place of the value.
Constants and layout: linux/perf_event.h; energy: the kernel's powercap framework (intel-rapl).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

from guestbench.model import Unknown

SYSCALL = 298
"""perf_event_open on x86-64."""
HARDWARE, SOFTWARE = 0, 1
EVENTS: dict[str, tuple[int, int]] = {
    "cycles": (HARDWARE, 0),
    "instructions": (HARDWARE, 1),
    "cache_misses": (HARDWARE, 3),
}
"""By name, the kernel's type and number of an event."""
CLOCK, TASK_CLOCK = "clock", (SOFTWARE, 1)
"""Nanoseconds on a CPU: an event that needs no hardware."""
LOST = "the kernel's counters lost the process"
MOST_LOST_S = 0.05
"""How much of a process's time its counters may miss: what it took before they were opened."""
USER_SPACE = "user space"
ATTRIBUTE_BYTES = 64
TIME_ENABLED, TIME_RUNNING = 1, 2
INHERIT, EXCLUDE_KERNEL, EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
CLOSE_ON_EXEC = 1 << 3
RAPL = Path("/sys/class/powercap/intel-rapl:0")
REASONS = {
    errno.ENOENT: "this host's CPU shows no such counter",
    errno.EOPNOTSUPP: "this host's CPU shows no such counter",
    errno.ENODEV: "this host's CPU shows no such counter",
    errno.EACCES: "the kernel allows nobody but root to count (kernel.perf_event_paranoid)",
    errno.EPERM: "the kernel allows nobody but root to count (kernel.perf_event_paranoid)",
    errno.ENOSYS: "the kernel has no counters",
}


class Counter:
    """One event of one process, counted from now on."""

    def __init__(self, pid: int, event: tuple[int, int]) -> None:
        """Begin to count. Raises OSError where that cannot be."""
        kind, number = event
        for excluded in (0, EXCLUDE_KERNEL):
            flags = INHERIT | EXCLUDE_HYPERVISOR | excluded
            layout = struct.pack(
                "=IIQQQQQ", kind, ATTRIBUTE_BYTES, number, 0, 0, TIME_ENABLED | TIME_RUNNING, flags
            )
            attribute = ctypes.create_string_buffer(layout.ljust(ATTRIBUTE_BYTES, b"\0"), ATTRIBUTE_BYTES)
            self._fd = _LIBC.syscall(SYSCALL, attribute, pid, -1, -1, CLOSE_ON_EXEC)
            if self._fd >= 0:
                self.scope = USER_SPACE if excluded else ""
                return
            code = ctypes.get_errno()
            if code not in (errno.EACCES, errno.EPERM):
                break
        raise OSError(code, os.strerror(code))

    def read(self) -> float | Unknown:
        """How often it has happened so far; estimated where it shared the CPU's counters with others."""
        value, enabled, running = struct.unpack("=QQQ", os.read(self._fd, 24))
        if not running:
            return Unknown(reason="the CPU's counters were taken by others")
        return float(value * enabled / running)

    def close(self) -> None:
        """Count no more."""
        os.close(self._fd)


_LIBC = ctypes.CDLL(None, use_errno=True)


class Counters:
    """Counters of a process by their names, each open or with the reason why it is not."""

    def __init__(self, pid: int, events: dict[str, tuple[int, int]] | None = None) -> None:
        self._pid = pid
        self._open: dict[str, Counter | Unknown] = {}
        for name, event in {CLOCK: TASK_CLOCK, **(EVENTS if events is None else events)}.items():
            try:
                self._open[name] = Counter(pid, event)
            except OSError as error:
                reason = REASONS.get(error.errno or 0, error.strerror or "it cannot be opened")
                self._open[name] = Unknown(reason=reason)
        self._energy = read_energy()

    @property
    def scope(self) -> str:
        """What is counted of the process where the kernel hides its own part; empty where it is all."""
        opened = (counter for counter in self._open.values() if isinstance(counter, Counter))
        return next((counter.scope for counter in opened), "")

    def read(self) -> dict[str, float | Unknown]:
        """All counts so far, and `energy`: joules of the whole CPU package since the counters were opened."""
        found: dict[str, float | Unknown] = {}
        for name, counter in self._open.items():
            try:
                found[name] = counter.read() if isinstance(counter, Counter) else counter
            except OSError as error:
                found[name] = Unknown(reason=error.strerror or "it cannot be read")
        # Seen once in fifty processes that had just been started: counters that stand still.
        clock, used_s = found.pop(CLOCK), _read_cpu_s(self._pid)
        if not isinstance(clock, Unknown) and clock / 1e9 < 0.9 * used_s - MOST_LOST_S:
            found = dict.fromkeys(found, Unknown(reason=LOST))
        return {**found, "energy": _subtract(read_energy(), self._energy)}

    def close(self) -> None:
        """Close what is open."""
        for counter in self._open.values():
            if isinstance(counter, Counter):
                counter.close()


def _read_cpu_s(pid: int) -> float:
    """CPU time of a process so far, all its threads, in seconds, to a tick of 10 ms; 0 where it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_energy(folder: Path = RAPL) -> tuple[int, int] | Unknown:
    """Microjoules of the first CPU package, and where their count begins again at 0."""
    try:
        return int((folder / "energy_uj").read_text()), int((folder / "max_energy_range_uj").read_text())
    except FileNotFoundError:
        return Unknown(reason="this host shows no energy of its CPU (RAPL)")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its files hold no numbers"
        return Unknown(reason=f"the energy of the CPU (RAPL) cannot be read: {reason}")


def _subtract(now: tuple[int, int] | Unknown, before: tuple[int, int] | Unknown) -> float | Unknown:
    for side in (now, before):
        if isinstance(side, Unknown):
            return side
    assert not isinstance(now, Unknown)
    assert not isinstance(before, Unknown)
    spent = now[0] - before[0]
    return (spent if spent >= 0 else spent + now[1]) / 1e6
