"""The memory probe on machines that replay a console and tell made-up footprints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from replay import make_system

from guestbench.errors import ShellError
from guestbench.families.memory import Settings
from guestbench.families.memory import least as least_memory
from guestbench.families.memory import states as memory
from guestbench.families.memory.least import try_boot
from guestbench.families.memory.meminfo import find_flaw, guest_samples, is_meminfo, parse_meminfo
from guestbench.families.memory.search import Expectation
from guestbench.families.memory.states import measure_states
from guestbench.guest.idle import Counter
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Answer
from guestbench.model import (
    Command,
    Crashed,
    Incomplete,
    Login,
    MemoryReport,
    Ok,
    OwnWork,
    System,
    TimedOut,
    TrialResult,
    Unsupported,
    VmmFailed,
)
from guestbench.vmm import Chunk, Footprint
from guestbench.vmm.fake import FakeMachine

PLAN = Settings(settle_s=10.0, well_s=2.0)
READY = (1000.0, b"Powered by\r\n[init done]\r\n")
MEMINFO = b"""MemTotal:         481296 kB
MemFree:          450968 kB
MemAvailable:     450720 kB
Buffers:               0 kB
Cached:             2404 kB
SReclaimable:       9052 kB
Slab:              15276 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""


class Counted(FakeMachine):
    """A machine whose guest touches memory and whose VMM uses CPU as functions of the seconds gone by."""

    def __init__(
        self,
        chunks: Sequence[tuple[float, bytes]],
        *,
        exit_status: int | None = None,
        guest_kib: Callable[[float], int] = lambda _: 1000,
        cpu_share: float = 0.01,
    ) -> None:
        super().__init__(
            tuple(Chunk(t_ns=round(ms * 1e6), data=data) for ms, data in chunks), exit_status, ("fake",)
        )
        self._guest_kib = guest_kib
        self._cpu_share = cpu_share
        self.said: dict[str, int] = {}
        self.memory = self
        self.balloon = self

    def footprint(self) -> Footprint | None:
        """The guest as told; a VMM of 40 MB."""
        return Footprint(guest_kib=self._guest_kib(self.now_ns() / 1e9), vmm_kib=40_000)

    def cpu_ns(self) -> int | None:
        """A share of the time."""
        return round(self.now_ns() * self._cpu_share)

    def statistics(self) -> dict[str, int]:
        """As given."""
        return self.said


def counted(machine: FakeMachine, system: System) -> TrialResult:
    """Measure a machine."""
    return measure_states(machine, system, SerialLog(), PLAN)


def values(result: TrialResult, metric: str = "memory.touched") -> dict[str, float]:
    """The values of a metric by their state."""
    return {s.labels["state"]: s.value for s in result.samples if s.metric == metric}


def gaps(result: TrialResult) -> dict[tuple[str, str], str]:
    """The reasons for gaps by metric and state."""
    return {(gap.metric, gap.labels.get("state", "")): gap.reason for gap in result.gaps}


# --- guests without a shell -------------------------------------------------------------------------


def test_an_idle_guest_is_counted_when_ready_and_when_it_has_settled() -> None:
    """The figure at ready would be taken for that of an idle guest, or the other way round."""
    result = counted(Counted([READY], guest_kib=lambda t: round(1000 * t)), make_system())
    assert isinstance(result.outcome, Ok)
    assert values(result) == {"ready": 1000, "idle": pytest.approx(11_000, rel=0.02)}
    assert values(result, "memory.vmm") == {"ready": 40_000, "idle": 40_000}
    assert gaps(result)["memory.touched", "load"] == "no load is defined for this system"


def test_the_series_covers_the_whole_trial_in_fine_steps() -> None:
    """A plot would miss a boot of a tenth of a second, or the minute after it would fill the store."""
    result = counted(Counted([READY], guest_kib=lambda t: round(1000 * t)), make_system())
    touched, vmm = result.series
    assert (touched.metric, vmm.metric) == ("memory.touched", "memory.vmm")
    assert touched.t_ns[0] < 1e6
    assert touched.t_ns[-1] >= 10.9e9
    steps = [b - a for a, b in zip(touched.t_ns, touched.t_ns[1:], strict=False)]
    assert all(step > 0 for step in steps)
    assert max(steps[:10]) < 50e6
    assert 50 < len(steps) < 400
    assert list(touched.values) == sorted(touched.values)


def test_a_guest_that_tells_nothing_of_its_memory_is_not_said_to_use_none() -> None:
    """A unikernel would win every table with a memory use of 0."""
    result = counted(Counted([READY]), make_system())
    assert not [s for s in result.samples if s.metric.startswith("memory.guest")]
    for name in ("total", "used", "available"):
        assert gaps(result)[f"memory.guest_{name}", ""] == "not available: the guest reports none"
    assert "no balloon driver" in gaps(result)["memory.balloon", "idle"]


def test_a_figure_that_the_guest_prints_is_its_own_view() -> None:
    """What a unikernel says of its heap would be lost."""
    report = MemoryReport(metric="memory.guest_used", before="top_heap_words=", unit_bytes=8)
    system = make_system(memory_reports=(report,))
    result = counted(Counted([READY, (2000.0, b"x=1 top_heap_words=577536 y\r\n")]), system)
    (sample,) = [s for s in result.samples if s.metric == "memory.guest_used"]
    assert (sample.value, sample.labels) == (4512, {"state": "idle"})
    silly = counted(Counted([READY, (2000.0, b"top_heap_words=-1\r\n")]), system)
    assert not [s for s in silly.samples if s.metric == "memory.guest_used"]


WORKER = make_system(load=OwnWork(end="[run done]", timeout_s=60.0))


def test_the_guests_own_work_is_its_load() -> None:
    """A benchmark that runs from ready on would be called idle."""
    chunks = [READY, (30_000.0, b"\r\n[run done]\r\n")]
    busy = Counted(chunks, guest_kib=lambda t: 1000 if t < 5 else 9000, cpu_share=1.0)
    result = counted(busy, WORKER)
    assert isinstance(result.outcome, Ok)
    assert values(result) == {"ready": 1000, "load": 9000, "load-end": 9000}
    assert "goes to work" in gaps(result)["memory.touched", "idle"]
    assert [m.name for m in result.marks][-1] == "work done"


def test_what_a_guest_reports_behind_its_marker_is_read() -> None:
    """A unikernel that stays on after its work would have no figure of its own memory."""
    report = MemoryReport(metric="memory.guest_used", before="top_heap_words=", unit_bytes=8)
    system = make_system(load=WORKER.load, memory_reports=(report,))
    chunks = [READY, (30_000.0, b"[run done]\r\n"), (30_200.0, b"top_heap_words=577536\r\n")]
    result = counted(Counted(chunks, cpu_share=1.0), system)
    assert isinstance(result.outcome, Ok)
    (sample,) = [s for s in result.samples if s.metric == "memory.guest_used"]
    assert (sample.value, sample.labels) == (4512, {"state": "load"})
    assert [m.name for m in result.marks].count("work done") == 1


def test_work_that_is_done_before_the_guest_has_settled_counts() -> None:
    """A quick benchmark would be missed."""
    chunks = [READY, (3000.0, b"[run done]\r\n")]
    result = counted(Counted(chunks, exit_status=0, guest_kib=lambda _: 7000), WORKER)
    assert values(result) == {"ready": 7000, "load": 7000, "load-end": 7000}
    assert [m.name for m in result.marks][-2:] == ["work done", "power-off"]


def test_an_image_that_does_no_work_is_idle_at_once() -> None:
    """An image without the benchmark would cost the whole time limit of one."""
    machine = Counted([READY])
    result = counted(machine, WORKER)
    assert "is idle without '[run done]'" in gaps(result)["memory.touched", "load"]
    assert set(values(result)) == {"ready", "idle"}
    assert machine.now_ns() < 12e9


def test_work_that_never_ends_says_so() -> None:
    """A guest that hangs in its work would hang the run."""
    result = counted(Counted([READY], cpu_share=1.0), WORKER)
    assert "within 60 s" in gaps(result)["memory.touched", "load"]


def test_a_guest_that_powers_off_when_done_has_been_counted() -> None:
    """A program that runs to its end would be a crash, and its memory unknown."""
    result = counted(Counted([READY], exit_status=0), WORKER)
    assert isinstance(result.outcome, Ok)
    assert "went off without '[run done]'" in gaps(result)["memory.touched", "load"]
    assert values(result)["idle"] == 1000


def test_a_guest_that_dies_after_ready_is_a_crash() -> None:
    """A unikernel that aborts after its marker would be measured as if it ran."""
    result = counted(Counted([READY, (2000.0, b"CRIT: no memory\r\n")], exit_status=0), make_system())
    assert isinstance(result.outcome, Crashed)
    assert result.outcome.reason == "after it was ready: the unikernel aborted: CRIT: no memory"
    assert "ready" in values(result)


def test_a_guest_that_floods_its_console_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that prints without end would fill the host's memory and disk."""
    monkeypatch.setattr("guestbench.guest.console.FLOOD_BYTES", 10_000)
    flood = [(1001.0 + n, b"spam " * 200) for n in range(5000)]
    result = counted(Counted([READY, *flood]), make_system())
    assert isinstance(result.outcome, Crashed)
    assert "flooded the console" in result.outcome.reason
    before = counted(Counted(flood), make_system())
    assert isinstance(before.outcome, Crashed)
    assert "flooded the console" in before.outcome.reason


def test_a_vmm_that_counts_nothing_is_unsupported() -> None:
    """A guest on such a VMM would be said to touch nothing."""
    result = counted(FakeMachine((), None, ("fake",)), make_system())
    assert isinstance(result.outcome, Unsupported)


# --- guests with a shell ----------------------------------------------------------------------------


class ScriptedShell:
    """A shell with prepared answers; one that is an exception is raised."""

    def __init__(self, *answers: Answer | ShellError) -> None:
        self._answers = list(answers)
        self.commands: list[str] = []

    def run(self, command: str, **_: object) -> Answer:
        """The next answer."""
        self.commands.append(command)
        answer = self._answers.pop(0)
        if isinstance(answer, ShellError):
            raise answer
        return answer


LINUX = make_system(login=Login(user="root"), load=Command(command="stress", timeout_s=9.0))
LOADED = MEMINFO.replace(b"450720", b"385876")


def with_shell(monkeypatch: pytest.MonkeyPatch, *answers: Answer | ShellError) -> ScriptedShell:
    """Let every login lead to a scripted shell."""
    shell = ScriptedShell(*answers)
    monkeypatch.setattr(memory, "open_shell", lambda *_, **__: shell)
    monkeypatch.setattr(least_memory, "open_shell", lambda *_, **__: shell)
    return shell


def test_linux_is_asked_when_idle_and_under_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest's own view would be missing, or that under load be one from after it."""
    load = Answer(status=0, stdout=MEMINFO + b"\n" + LOADED + b"\n" + MEMINFO[:60], stderr=b"67108864\n")
    shell = with_shell(monkeypatch, Answer(status=0, stdout=MEMINFO, stderr=b""), load)
    machine = Counted([READY])
    machine.said = {"stat-free-memory": 5, "stat-swap-in": 9}
    result = counted(machine, LINUX)
    assert isinstance(result.outcome, Ok)
    assert values(result, "memory.guest_used") == {"idle": 30576, "load": 95420}
    assert values(result, "memory.guest_available") == {"idle": 450720, "load": 385876}
    assert values(result, "memory.guest_total") == {"idle": 481296, "load": 481296}
    assert set(values(result)) == {"ready", "idle", "load", "load-end"}
    assert result.raw["meminfo-idle.txt"] == MEMINFO
    assert result.raw["load-output.txt"] == b"67108864\n"
    assert "stress\n" in shell.commands[1]
    stats = {s.labels["stat"]: s.value for s in result.samples if s.metric == "memory.balloon"}
    assert stats == {"stat-free-memory": 5}


def test_a_wrong_login_keeps_the_hosts_view_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in `[login]` would throw away what was measured, or pass unnoticed."""

    def refuse(*_: object, **__: object) -> None:
        raise ShellError("the login of 'root' was refused", "guestbench systems boot x")

    monkeypatch.setattr(memory, "open_shell", refuse)
    result = counted(Counted([READY]), LINUX)
    assert result.outcome == Incomplete(reason="the login of 'root' was refused")
    assert set(values(result)) == {"ready", "idle"}
    assert gaps(result)["memory.guest_used", ""] == "the login of 'root' was refused"
    assert gaps(result)["memory.touched", "load"] == "the login of 'root' was refused"


def test_a_guest_that_stops_answering_under_load_keeps_its_idle_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A guest that hangs under load would lose what it had said before."""
    idle = Answer(status=0, stdout=MEMINFO, stderr=b"")
    with_shell(monkeypatch, idle, ShellError("no answer within 9 s", "x"))
    result = counted(Counted([READY]), LINUX)
    assert isinstance(result.outcome, Incomplete)
    assert values(result, "memory.guest_used") == {"idle": 30576}
    assert ("memory.guest_used", "") not in gaps(result)
    assert gaps(result)["memory.touched", "load"] == "no answer within 9 s"


def test_a_load_that_fails_is_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a program that was killed at once would be printed as that of the load."""
    idle = Answer(status=0, stdout=MEMINFO, stderr=b"")
    with_shell(monkeypatch, idle, Answer(status=137, stdout=MEMINFO, stderr=b"Killed"))
    result = counted(Counted([READY]), LINUX)
    assert gaps(result)["memory.touched", "load"] == "the load ended with status 137"
    assert "load" not in values(result)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"sh: cat: not found\n",
        b"MemTotal: 1 kB\nMemFree: 1 kB\n",
        b"\x00\xff" * 100,
        b"MemTotal: -5 kB\nMemFree: 1e9 kB\nMemAvailable: 9999999999999999999999 kB\n",
    ],
)
def test_a_guest_that_prints_something_else_has_no_view(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """A guest without /proc, or one that lies, would put nonsense into a table."""
    assert not is_meminfo(parse_meminfo(text))
    idle = Answer(status=1, stdout=text, stderr=b"")
    with_shell(monkeypatch, idle, Answer(status=0, stdout=text, stderr=b""))
    result = counted(Counted([READY]), LINUX)
    assert not [s for s in result.samples if s.metric.startswith("memory.guest")]
    assert "printed no such thing" in gaps(result)["memory.guest_used", ""]


@pytest.mark.parametrize(
    ("fields", "flaw"),
    [
        (
            {"MemAvailable": 99_490_604 + 481_296},
            "MemAvailable of 99971900 kB is more than MemTotal of 481296 kB",
        ),
        ({"MemTotal": 0}, "MemTotal is 0 kB"),
        ({"MemFree": 481_297}, "MemFree of 481297 kB is more than MemTotal"),
        ({"Cached": 10**14}, "Cached of 100000000000000 kB is more than MemTotal"),
        ({"SwapTotal": 5, "SwapFree": 6}, "SwapFree of 6 kB is more than SwapTotal of 5 kB"),
    ],
)
def test_a_view_that_cannot_be_true_is_refused(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, int], flaw: str
) -> None:
    """A guest that lies would be shown with less than no memory in use."""
    told = parse_meminfo(MEMINFO) | fields
    text = "".join(f"{name}: {kib} kB\n" for name, kib in told.items()).encode()
    assert flaw in find_flaw(parse_meminfo(text), 0)
    with_shell(
        monkeypatch, Answer(status=0, stdout=text, stderr=b""), Answer(status=0, stdout=text, stderr=b"")
    )
    result = counted(Counted([READY]), LINUX)
    assert not [s for s in result.samples if s.metric.startswith("memory.guest")]
    for state in ("", "load"):
        assert flaw in gaps(result)["memory.guest_used", state]
    assert not find_flaw(parse_meminfo(MEMINFO), 0)


def test_more_memory_than_the_machine_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that claims more memory than it was given would be shown with it."""
    answer = Answer(status=0, stdout=MEMINFO, stderr=b"")
    for ram_kib, claims in ((481_295, True), (481_296, False), (0, False)):
        with_shell(monkeypatch, answer, answer)
        result = measure_states(Counted([READY]), LINUX, SerialLog(), PLAN, ram_kib=ram_kib)
        assert bool([s for s in result.samples if s.metric == "memory.guest_used"]) is not claims
        assert ("more than the machine's RAM" in gaps(result).get(("memory.guest_used", ""), "")) is claims
    report = MemoryReport(metric="memory.guest_used", before="top_heap_words=", unit_bytes=8)
    system = make_system(memory_reports=(report,))
    for ram_kib, claims in ((7, True), (8, False), (0, False)):
        machine = Counted([READY, (2000.0, b"top_heap_words=1024\n")])
        result = measure_states(machine, system, SerialLog(), PLAN, ram_kib=ram_kib)
        assert bool(values(result, "memory.guest_used")) is not claims
        assert ("the guest prints 8 KiB" in gaps(result).get(("memory.guest_used", ""), "")) is claims


def test_meminfo_is_read_as_free_reads_it() -> None:
    """`used` would be another figure than the one that `free` prints."""
    fields = parse_meminfo(MEMINFO.replace(b"\n", b"\r\n"))
    assert is_meminfo(fields)
    assert "HugePages_Total" not in fields
    samples = {(s.metric, s.labels.get("field", "")): s.value for s in guest_samples(fields, "idle")}
    assert samples["memory.guest_used", ""] == 481296 - 450720
    assert samples["memory.guest_meminfo", "Slab"] == 15276


def test_the_peak_is_that_of_its_phase() -> None:
    """What was used during the boot would be reported as used under load."""
    machine = Counted([], guest_kib=lambda t: 500 if t < 1 else 100)
    counter = Counter(machine)
    counter.count()
    machine.wait(2.0)
    counter.begin_phase()
    assert counter.find_peak() is None
    counter.count()
    peak = counter.find_peak()
    assert peak is not None
    assert peak.guest_kib == 100


# --- the search's boots -----------------------------------------------------------------------------

EXPECTED = Expectation(ready_s=1.0, work_ends=True, work_s=5.0)


def tried(machine: FakeMachine, system: System, expected: Expectation | None = EXPECTED) -> object:
    """The outcome of a boot with some memory."""
    return try_boot(machine, system, SerialLog(), PLAN, expected).outcome


def test_a_boot_that_stays_well_is_enough() -> None:
    """The least RAM would be too large."""
    assert isinstance(tried(Counted([READY]), make_system()), Ok)
    done = [READY, (3000.0, b"[run done]")]
    assert isinstance(tried(Counted(done, exit_status=0), WORKER), Ok)


def test_a_hang_costs_a_few_boot_times_and_not_the_systems_limit() -> None:
    """A search would take a minute for each size with which the guest hangs."""
    machine = Counted([(100.0, b"Powered by\r\n")])
    outcome = tried(machine, make_system(timeout_s=300.0))
    assert isinstance(outcome, TimedOut)
    assert machine.now_ns() < 10e9
    slow = Counted([])
    tried(slow, make_system(timeout_s=20.0), None)
    assert slow.now_ns() == pytest.approx(20e9, rel=0.01)


@pytest.mark.parametrize(
    ("chunks", "exit_status", "words"),
    [
        ([READY, (1500.0, b"CRIT: abort called\r\n")], 0, "after it was ready: the unikernel aborted"),
        ([READY], 0, "ready, but it went off before it printed '[run done]'"),
        ([READY], None, "ready, but no '[run done]' within 15 s"),
        ([(100.0, b"SeaBIOS\r\n")], 0, "the VMM exited with status 0 before the guest was ready"),
        ([], None, "the serial console stayed silent"),
    ],
)
def test_a_guest_that_does_not_stay_well_says_why(
    chunks: list[tuple[float, bytes]], exit_status: int | None, words: str
) -> None:
    """A unikernel that aborts after its ready marker would be said to run with that memory."""
    outcome = tried(Counted(chunks, exit_status=exit_status), WORKER)
    assert isinstance(outcome, Crashed | TimedOut)
    assert words in outcome.reason


@pytest.mark.parametrize("chunks", [[], [READY], [(100.0, b"SeaBIOS\r\n")], [(100.0, b"Powered by\r\n")]])
@pytest.mark.parametrize(("status", "name"), [(-6, "SIGABRT"), (-11, "SIGSEGV"), (-9, "SIGKILL")])
def test_a_vmm_that_breaks_is_told_as_the_vmms(
    chunks: list[tuple[float, bytes]], status: int, name: str
) -> None:
    """A VMM that aborts after ready would be a guest with memory enough, and before it one without."""
    outcome = tried(Counted(chunks, exit_status=status), make_system())
    assert isinstance(outcome, VmmFailed)
    assert f"the VMM itself ended by {name}; it said nothing" in outcome.reason


def test_a_guest_whose_shell_does_not_answer_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Linux that has a prompt and no memory left to start a shell would pass."""
    with_shell(monkeypatch, ShellError("no shell answers on the console", "x"))
    outcome = tried(Counted([READY]), LINUX)
    assert outcome == Crashed(reason="ready, but not well: no shell answers on the console")
    with_shell(monkeypatch, Answer(status=0, stdout=b"", stderr=b""))
    assert isinstance(tried(Counted([READY]), LINUX), Ok)


def test_a_linux_that_goes_off_after_its_prompt_is_not_well() -> None:
    """A guest that reboots in a loop prints its prompt each time, and would pass."""
    outcome = tried(Counted([READY], exit_status=0), LINUX)
    assert isinstance(outcome, Crashed)
    assert "powered off or reset itself" in outcome.reason
