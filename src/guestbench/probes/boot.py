"""Boot time: from the exec of the VMM to the byte that completes the ready marker; it never starts a VM.

Markers are literal bytes, searched in the byte stream and not in lines: `login: ` ends without a newline.
A mark carries the time at which the chunk with the marker's last byte arrived.
"""

from __future__ import annotations

from guestbench.model import (
    Better,
    Crashed,
    Frozen,
    Mark,
    Metric,
    MetricFamily,
    Ok,
    Outcome,
    Sample,
    System,
    TimedOut,
)
from guestbench.vmm import Machine
from guestbench.vmm.serial import SerialLog

FIRST_BYTE = "first byte"
READY = "ready"
LINE_END_S = 0.5
"""How long to wait for the rest of a line that says why the guest is lost."""
EXIT_S = 2.0
"""How long a VMM may take to exit once it has closed the console."""
QUOTED_BYTES = 200

METRICS = (
    Metric(
        name="boot.ready",
        title="Boot time",
        family=MetricFamily.BOOT,
        unit="s",
        better=Better.LOWER,
        help="From the exec of the VMM to the byte that completes the ready marker on the serial console, "
        "on the host's monotonic clock.",
    ),
    Metric(
        name="boot.mark",
        title="Milestone",
        family=MetricFamily.BOOT,
        unit="s",
        better=Better.LOWER,
        help="From the exec of the VMM to the byte that completes the milestone's text; label mark=NAME.",
    ),
    Metric(
        name="boot.cpu",
        title="CPU time to ready",
        family=MetricFamily.BOOT,
        unit="s",
        better=Better.LOWER,
        help="CPU time of the VMM process, all threads, user and system, when the ready marker arrived.",
    ),
    Metric(
        name="boot.above_floor",
        title="Boot time above the floor",
        family=MetricFamily.BOOT,
        unit="s",
        better=Better.LOWER,
        help="boot.ready less the median boot.ready of the floor in the same run: what the guest itself adds "
        "to the VMM and its firmware.",
    ),
)


class BootResult(Frozen):
    """What came of a boot: `samples` is empty unless the guest got ready."""

    outcome: Outcome
    marks: tuple[Mark, ...]
    samples: tuple[Sample, ...]


class _Search:
    """Looks for literal texts in a growing log, each once, without reading any byte twice."""

    def __init__(self, patterns: dict[str, bytes]) -> None:
        self._patterns = dict(patterns)

    def find(self, log: bytearray, old_length: int) -> list[str]:
        """Names whose text is complete now and was not at `old_length`, in the order of completion."""
        ends = []
        for name, pattern in self._patterns.items():
            at = log.find(pattern, max(0, old_length - len(pattern) + 1))
            if at >= 0:
                ends.append((at + len(pattern), name))
        for _, name in ends:
            del self._patterns[name]
        return [name for _, name in sorted(ends)]


def watch_boot(machine: Machine, system: System, log: SerialLog) -> BootResult:
    """Read the serial console until the guest is ready, lost, or out of time. All bytes go into `log`."""
    milestones = _Search(
        {m.name: m.pattern.encode() for m in system.milestones} | {READY: system.ready.encode()}
    )
    failures = _Search({f.pattern: f.pattern.encode() for f in system.failures})
    marks: list[Mark] = []
    deadline_ns = round(system.timeout_s * 1e9)
    while (left_ns := deadline_ns - machine.now_ns()) > 0:
        chunk = machine.read_serial(left_ns / 1e9)
        if chunk is None:
            continue
        if not chunk.data:
            return BootResult(outcome=_exited(machine, log), marks=tuple(marks), samples=())
        cpu_ns = machine.cpu_ns()
        if not log.data:
            marks.append(Mark(name=FIRST_BYTE, t_ns=chunk.t_ns))
        old_length = len(log.data)
        log.append(chunk)
        marks += [Mark(name=n, t_ns=chunk.t_ns) for n in milestones.find(log.data, old_length)]
        if any(mark.name == READY for mark in marks):
            return BootResult(outcome=Ok(), marks=tuple(marks), samples=_to_samples(marks, cpu_ns))
        if lost := failures.find(log.data, old_length):
            outcome = _lost(machine, system, log, lost[0])
            return BootResult(outcome=outcome, marks=tuple(marks), samples=())
    reason = f"no {system.ready!r} within {system.timeout_s:g} s; {_last_words(log)}"
    return BootResult(outcome=TimedOut(reason=reason), marks=tuple(marks), samples=())


def _to_samples(marks: list[Mark], cpu_ns: int | None) -> tuple[Sample, ...]:
    samples = [Sample(metric="boot.ready", value=m.t_ns / 1e9) for m in marks if m.name == READY]
    samples += [Sample(metric="boot.mark", value=m.t_ns / 1e9, labels={"mark": m.name}) for m in marks]
    if cpu_ns is not None:
        samples.append(Sample(metric="boot.cpu", value=cpu_ns / 1e9))
    return tuple(samples)


def _exited(machine: Machine, log: SerialLog) -> Crashed:
    status = machine.wait(EXIT_S)
    how = "closed the console" if status is None else f"exited with status {status}"
    said = machine.complaint()
    words = f"it said: {said.splitlines()[-1]}" if said else _last_words(log)
    return Crashed(reason=f"the VMM {how} before the guest was ready; {words}")


def _lost(machine: Machine, system: System, log: SerialLog, pattern: str) -> Crashed:
    at = log.data.find(pattern.encode())
    end_ns = machine.now_ns() + round(LINE_END_S * 1e9)
    while b"\n" not in log.data[at:] and (left_ns := end_ns - machine.now_ns()) > 0:
        chunk = machine.read_serial(left_ns / 1e9)
        if chunk is not None:
            if not chunk.data:
                break
            log.append(chunk)
    start = max(log.data.rfind(b"\n", 0, at), log.data.rfind(b"\r", 0, at)) + 1
    line = bytes(log.data[start : log.data.find(b"\n", at) if b"\n" in log.data[at:] else None])
    # Several texts may be in that line; the system lists the most telling first.
    reason = next(f.reason for f in system.failures if f.pattern.encode() in line)
    return Crashed(reason=f"{reason}: {quote(line)}")


def _last_words(log: SerialLog) -> str:
    lines = [line for line in bytes(log.data).replace(b"\r", b"\n").split(b"\n") if line.strip()]
    return f"last line: {quote(lines[-1])}" if lines else "the serial console stayed silent"


def quote(line: bytes) -> str:
    """A guest's line as printable ASCII, at most 200 bytes of it; other bytes are escaped as in C."""
    text = line.strip()[:QUOTED_BYTES].decode("latin-1")
    return "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in text)
