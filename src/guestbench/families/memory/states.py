"""What a running guest takes of memory, seen from the host and from the guest; it never starts a VM.

The host's view is the guest RAM that was ever touched: whatever the guest is, its pages are counted in the
memfd that holds them. The guest's view is what it says itself: /proc/meminfo over the console's shell, its
balloon driver, or a line that it prints. Neither can stand for the other, so both are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from guestbench.errors import ShellError
from guestbench.families.memory import TOUCHED, VMM, Settings
from guestbench.families.memory.meminfo import find_flaw, guest_samples, is_meminfo, parse_meminfo
from guestbench.families.memory.search import WORK_DONE
from guestbench.guest.console import End, Watched, judge_failure, last_words, watch
from guestbench.guest.contract import find_numbers
from guestbench.guest.idle import IDLE_SHARE, Count, Counter
from guestbench.guest.sending import send_program
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell, open_shell
from guestbench.guest.watch import find_vmm_failure, watch_boot
from guestbench.model import (
    READY,
    Command,
    Crashed,
    Gap,
    Incomplete,
    Mark,
    Ok,
    Outcome,
    OwnWork,
    ProgramLoad,
    Sample,
    Series,
    System,
    TrialResult,
    Unsupported,
    VmmFailed,
)
from guestbench.vmm import Footprint, Lacking, Machine

IDLE = "idle"
LOAD = "load"
LOAD_END = "load-end"

POWER_OFF = "power-off"
AT_WORK = "the guest goes to work as soon as it is ready"
GUEST_METRICS = ("memory.guest_total", "memory.guest_used", "memory.guest_available")

LOAD_BEGIN, LOAD_OVER = "load begins", "load ends"
WORK_BEGIN, WORK_END = b"[work begin ", b"[work end "

SHELL_S = 120.0
REPORTS_S = 1.0
"""How long a guest that has done its work may take to print what it knows of its memory."""
MEMINFO = "cat /proc/meminfo"
SAMPLED_LOAD = """( while :; do cat /proc/meminfo; echo; sleep 1; done ) & sampler=$!
{{ {command}
}} >&2; status=$?
kill $sampler; wait $sampler 2>/dev/null; exit $status"""
"""A shell script that runs the load with the guest's own view beside it, a copy of it each second."""


def measure_states(
    machine: Machine,
    system: System,
    log: SerialLog,
    plan: Settings,
    program: Path | None = None,
    ram_kib: int = 0,
) -> TrialResult:
    """Boot to ready, let the guest settle, ask it for its own view, and put it under its load.

    `machine` was started to be observed, with so much RAM, or 0 where that is not known; `program` is the
    workload program, for a load that is one. A guest that fails is an outcome; what was measured by then is
    kept.
    """
    if isinstance(machine.memory, Lacking):
        return TrialResult(outcome=Unsupported(reason=machine.memory.reason), marks=(), samples=())
    trial = _MemoryTrial(machine, system, log, plan, program, ram_kib)
    return trial.to_result(trial.run())


def measure_load(machine: Machine, system: System, log: SerialLog, plan: Settings) -> TrialResult:
    """Watch a guest that was booted with its load, as its only work, and count its memory at that."""
    trial = _MemoryTrial(machine, system, log, plan, None)
    return trial.to_result(trial.watch_load())


class _MemoryTrial:
    """One memory trial under way: what it has found so far."""

    def __init__(
        self,
        machine: Machine,
        system: System,
        log: SerialLog,
        plan: Settings,
        program: Path | None,
        ram_kib: int = 0,
    ) -> None:
        self._ram_kib = ram_kib
        self._machine = machine
        self._system = system
        self._log = log
        self._plan = plan
        self._program = program
        self._ready_ns = 0
        self.counter = Counter(machine)
        self.marks: list[Mark] = []
        self.samples: list[Sample] = []
        self.gaps: list[Gap] = []
        self.raw: dict[str, bytes] = {}

    def to_result(self, outcome: Outcome) -> TrialResult:
        """What was found, with how it ended."""
        return TrialResult(
            outcome=outcome,
            marks=tuple(self.marks),
            samples=tuple(self.samples),
            series=tuple(_to_series(self.counter.counts)),
            gaps=tuple(self.gaps),
            raw=self.raw,
        )

    def run(self) -> Outcome:
        """Boot, and count in every state that the guest has."""
        boot = watch_boot(self._machine, self._system, self._log, self.counter)
        self.marks += boot.marks
        if not isinstance(boot.outcome, Ok):
            return boot.outcome
        self._ready_ns = next(mark.t_ns for mark in boot.marks if mark.name == READY)
        self._take("ready", self._count())
        self.counter.begin_phase()
        watched = self._watch(self._plan.settle_s, until=None)
        if lost := explain_end(self._machine, self._system, self._log, watched):
            return lost
        return self._observe_work(watched) if self._system.login is None else self._ask_shell()

    # --- guests that cannot be asked: they work by themselves, or not at all ---------------------------

    def _observe_work(self, watched: Watched) -> Outcome:
        """The states of a guest without a shell, which may have begun and even ended its own work by now."""
        work = self._system.load if isinstance(self._system.load, OwnWork) else None
        done = any(mark.name == WORK_DONE for mark in self.marks)
        off = watched.end is End.CLOSED
        busy = self.counter.cpu_share(self._plan.settle_s / 2) > IDLE_SHARE
        if work and not done and not off and busy:
            left_s = work.timeout_s - (self._machine.now_ns() - self._ready_ns) / 1e9
            watched = self._watch(left_s, until=WORK_DONE)
            if lost := explain_end(self._machine, self._system, self._log, watched):
                return lost
            done = watched.end is End.FOUND
            if not done:
                self._miss(LOAD, f"its work did not print {work.end!r} within {work.timeout_s:g} s of ready")
        if done:
            self._miss(IDLE, AT_WORK)
            self._take(LOAD, self.counter.find_peak())
            self._take(LOAD_END, self._count())
            if self._system.memory_reports and not off:
                # What it tells of its memory may come behind the marker, and nothing says that it ends then.
                self._watch(REPORTS_S, until=None)
        else:
            self._take(IDLE, self._count())
            if work is None and not isinstance(self._system.load, ProgramLoad):
                self._miss(LOAD, "no load is defined for this system")
            elif work is None:
                pass  # a boot of its own counts it
            elif off or not busy:
                did = "went off" if off else "is idle"
                self._miss(LOAD, f"this image does no such work: it {did} without {work.end!r}")
        self._read_reports(LOAD if done else IDLE)
        self._read_balloon(LOAD_END if done else IDLE)
        return Ok()

    def _read_reports(self, state: str) -> None:
        """What the guest printed of its memory, where the system's definition says how to find it."""
        printed = set()
        for report in self._system.memory_reports:
            number, word = next(find_numbers(self._log.data, report.before), (None, ""))
            if number is not None:
                kib = number * report.unit_bytes // 1024
                if 0 < self._ram_kib < kib:
                    told = f"unknown: the guest prints {kib} KiB, and the machine has {self._ram_kib} KiB"
                    self.gaps.append(Gap(metric=report.metric, reason=told))
                else:
                    self.samples.append(Sample(metric=report.metric, value=kib, labels={"state": state}))
            elif word:
                told = (
                    f"not available: behind {report.before!r} the guest prints {word!r}, which is no number"
                )
                self.gaps.append(Gap(metric=report.metric, reason=told))
            if word:
                printed.add(report.metric)
        what = "prints no such figure" if printed else "reports none"
        for metric in GUEST_METRICS:
            if metric not in printed:
                self.gaps.append(Gap(metric=metric, reason=f"not available: the guest {what}"))
            elif state != IDLE:
                self.gaps.append(Gap(metric=metric, reason=AT_WORK, labels={"state": IDLE}))

    # --- guests with a shell ----------------------------------------------------------------------------

    def _ask_shell(self) -> Outcome:
        # Before anyone logs in: a login takes memory itself.
        self._take(IDLE, self._count())
        self._read_balloon(IDLE)
        login = self._system.login
        assert login is not None
        try:
            shell = open_shell(self._machine, login, self._log, timeout_s=SHELL_S, meanwhile=self.counter)
            self._read_meminfo(shell)
            self._run_load(shell)
        except ShellError as error:
            if not any(sample.metric == "memory.guest_total" for sample in self.samples):
                self._miss_guest(error.message)
            self._miss(LOAD, error.message)
            return Incomplete(reason=error.message)
        return Ok()

    def _read_meminfo(self, shell: Shell) -> None:
        answer = shell.run(MEMINFO, meanwhile=self.counter)
        self.raw["meminfo-idle.txt"] = answer.stdout
        fields = parse_meminfo(answer.stdout)
        if not is_meminfo(fields):
            self._miss_guest(f"{MEMINFO} printed no such thing (status {answer.status})")
            return
        if flaw := find_flaw(fields, self._ram_kib):
            self._miss_guest(f"unknown: {MEMINFO} is not plausible: {flaw}")
            return
        self.samples += guest_samples(fields, IDLE)

    def _run_load(self, shell: Shell) -> None:
        load = self._system.load
        match load:
            case Command():
                command = load.command
            case ProgramLoad() if self._program is not None:
                command = " ".join((send_program(shell, self._program), *load.arguments))
            case _:
                self._miss(LOAD, "no load is defined for this system")
                return
        self.counter.begin_phase()
        self._mark(LOAD_BEGIN)
        script = SAMPLED_LOAD.format(command=command)
        answer = shell.run(script, timeout_s=load.timeout_s, meanwhile=self.counter)
        self._count()
        self._mark(LOAD_OVER)
        self.raw["meminfo-load.txt"] = answer.stdout
        self.raw["load-output.txt"] = answer.stderr
        if answer.status != 0:
            self._miss(LOAD, f"the load ended with status {answer.status}")
            return
        self._take(LOAD, self.counter.find_peak())
        self._take(LOAD_END, self._count())
        views = [parse_meminfo(text) for text in answer.stdout.split(b"\n\n")]
        whole = [fields for fields in views if is_meminfo(fields)]
        flaw = next(filter(None, (find_flaw(fields, self._ram_kib) for fields in whole)), "")
        if flaw:
            labels = {"state": LOAD}
            reason = f"unknown: {MEMINFO} is not plausible: {flaw}"
            self.gaps += [Gap(metric=metric, reason=reason, labels=labels) for metric in GUEST_METRICS]
        elif whole:
            self.samples += guest_samples(min(whole, key=lambda fields: fields["MemAvailable"]), LOAD)
        self._read_balloon(LOAD_END)

    # --- guests that are booted with their load -----------------------------------------------------------

    def watch_load(self) -> Outcome:
        """Count while a guest does its load, from power-on to the line that says it is done."""
        load = self._system.load
        limit_s = self._system.timeout_s + (load.timeout_s if load else 0.0)
        watched = watch(
            self._machine,
            self._log,
            texts={LOAD_BEGIN: WORK_BEGIN, LOAD_OVER: WORK_END},
            until=LOAD_OVER,
            failures=self._system.failures,
            deadline_ns=round(limit_s * 1e9),
            meanwhile=self.counter,
        )
        self.marks += watched.marks
        if watched.end is End.FOUND:
            self._count()
            self._take(LOAD, self.counter.find_peak())
            self._take(LOAD_END, self._count())
            return Ok()
        if watched.end is End.LOST:
            outcome = judge_failure(self._machine, self._system.failures, self._log, watched)
        else:
            outcome = Crashed(reason=f"the load did not end; {last_words(self._log)}")
        self._miss(LOAD, outcome.reason)
        return outcome

    # --- common -----------------------------------------------------------------------------------------

    def _watch(self, seconds: float, until: str | None) -> Watched:
        load = self._system.load
        watched = watch(
            self._machine,
            self._log,
            texts={WORK_DONE: load.end.encode()} if isinstance(load, OwnWork) else {},
            until=until,
            failures=self._system.failures,
            deadline_ns=self._machine.now_ns() + round(seconds * 1e9),
            meanwhile=self.counter,
        )
        self.marks += watched.marks
        if watched.end is End.CLOSED:
            self._mark(POWER_OFF)
        return watched

    def _mark(self, name: str) -> None:
        self.marks.append(Mark(name=name, t_ns=self._machine.now_ns()))

    def _count(self) -> Footprint | None:
        count = self.counter.count()
        return count.footprint if count else None

    def _take(self, state: str, footprint: Footprint | None) -> None:
        if footprint is None:
            self._miss(state, "the VMM had gone")
            return
        labels = {"state": state}
        self.samples.append(Sample(metric=TOUCHED, value=footprint.guest_kib, labels=labels))
        self.samples.append(Sample(metric=VMM, value=footprint.vmm_kib, labels=labels))

    def _miss(self, state: str, reason: str) -> None:
        self.gaps += [Gap(metric=metric, reason=reason, labels={"state": state}) for metric in (TOUCHED, VMM)]

    def _miss_guest(self, reason: str) -> None:
        self.gaps += [Gap(metric=metric, reason=reason) for metric in GUEST_METRICS]

    def _read_balloon(self, state: str) -> None:
        balloon = self._machine.balloon
        stats = {} if isinstance(balloon, Lacking) else balloon.statistics()
        if not stats:
            why = balloon.reason if isinstance(balloon, Lacking) else "the guest has no balloon driver"
            labels = {"state": state}
            self.gaps.append(Gap(metric="memory.balloon", reason=f"not available: {why}", labels=labels))
        self.samples += [
            Sample(metric="memory.balloon", value=kib, labels={"stat": stat, "state": state})
            for stat, kib in sorted(stats.items())
            if stat.endswith(("-memory", "-caches"))
        ]


def _to_series(counts: Sequence[Count]) -> Iterator[Series]:
    """Everything counted, over time."""
    times = tuple(count.t_ns for count in counts)
    touched = tuple(count.footprint.guest_kib for count in counts)
    own = tuple(count.footprint.vmm_kib for count in counts)
    for metric, values in ((TOUCHED, touched), (VMM, own)):
        yield Series(metric=metric, t_ns=times, values=values)


def explain_end(machine: Machine, system: System, log: SerialLog, watched: Watched) -> Outcome | None:
    """Why a guest that was ready is not well any more, by how a wait ended; None if it is well.

    A guest with a shell is to stay on; any other may power off when it has done its work.
    """
    if watched.end is End.CLOSED and (broken := find_vmm_failure(machine)):
        return VmmFailed(reason=f"after the guest was ready {broken.reason}")
    match watched.end:
        case End.LOST:
            lost = judge_failure(machine, system.failures, log, watched)
            return type(lost)(reason=f"after it was ready: {lost.reason}")
        case End.FLOOD:
            return Crashed(reason=f"after it was ready it flooded the console; {last_words(log)}")
        case End.CLOSED if system.login is not None:
            return Crashed(reason=f"after it was ready it powered off or reset itself; {last_words(log)}")
        case End.LATE | End.FOUND | End.CLOSED:
            return None
