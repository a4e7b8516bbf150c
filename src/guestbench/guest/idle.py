"""Counts what a machine takes of memory over time, between other work; it never waits by itself."""

from __future__ import annotations

from typing import NamedTuple

from guestbench.vmm import Footprint, Lacking, Machine

FIRST_STEP_S = 0.02
STEP_SHARE = 0.02
LAST_STEP_S = 0.5
"""Steps of the series grow with the time since the phase began, so that a boot of 0.1 s and one of a minute
both give a line: from 20 ms, by 2% of the time gone by, up to half a second."""
IDLE_SHARE = 0.15
"""CPU time per second below which a guest counts as idle. An idle Debian takes 0.02 to 0.05 under TCG."""


class Count(NamedTuple):
    """What a machine took at one moment."""

    t_ns: int
    footprint: Footprint
    cpu_ns: int


class Counter:
    """Counts a machine's memory again and again while something else waits (see `vmm.Meanwhile`).

    `counts` are all so far, in the order of their times.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.counts: list[Count] = []
        self._phase_ns = machine.now_ns()
        self._first = 0

    def __call__(self) -> float:
        """Count if it is time to. Returns the seconds until then."""
        now_ns = self._machine.now_ns()
        step_ns = round(
            min(LAST_STEP_S, max(FIRST_STEP_S, (now_ns - self._phase_ns) / 1e9 * STEP_SHARE)) * 1e9
        )
        last_ns = self.counts[-1].t_ns if self.counts else now_ns - step_ns
        if now_ns - last_ns >= step_ns:
            self.count()
            last_ns = now_ns
        return max(0.0, (last_ns + step_ns - now_ns) / 1e9)

    def count(self) -> Count | None:
        """Count now; None if the VMM has gone, or there is nothing to count."""
        memory = self._machine.memory
        footprint = None if isinstance(memory, Lacking) else memory.footprint()
        if footprint is None:
            return None
        count = Count(self._machine.now_ns(), footprint, self._machine.cpu_ns() or 0)
        self.counts.append(count)
        return count

    def begin_phase(self) -> None:
        """From now on steps are short again, and `find_peak` looks no further back."""
        self._phase_ns = self._machine.now_ns()
        self._first = len(self.counts)

    def find_peak(self) -> Footprint | None:
        """The most of each kind of memory since the phase began."""
        seen = [count.footprint for count in self.counts[self._first :]]
        if not seen:
            return None
        return Footprint(
            guest_kib=max(each.guest_kib for each in seen), vmm_kib=max(each.vmm_kib for each in seen)
        )

    def cpu_share(self, seconds: float) -> float:
        """CPU time per second over about the last so many seconds; 0 where too little is known."""
        last = self.counts[-1]
        before = [count for count in self.counts if count.t_ns <= last.t_ns - seconds * 1e9]
        if not before:
            return 0.0
        return (last.cpu_ns - before[-1].cpu_ns) / (last.t_ns - before[-1].t_ns)
