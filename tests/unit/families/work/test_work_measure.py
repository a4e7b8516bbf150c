"""Giving work to guests: real shells on a pty of this host, and consoles replayed on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from replay import make_system
from shell_guest import start_guest, wait_for_login
from work_factories import (
    CPU,
    DIGEST,
    IRMIN,
    MEMORY,
    MERKLE,
    OCAML,
    begin_line,
    end_line,
    make_kit,
    make_kit_work,
    make_report,
)

from guestbench.families.work import TIME, check_guest
from guestbench.families.work.measure import work_at_boot, work_in_shell, work_of_image
from guestbench.families.work.result import judge, judge_image, to_samples
from guestbench.guest import programs, shell_protocol, shell_question
from guestbench.guest.serial import SerialLog
from guestbench.model import (
    BootWork,
    Crashed,
    FailurePattern,
    ImageWork,
    Incomplete,
    Kit,
    KitWork,
    Login,
    Ok,
    Outcome,
    ShellWork,
    System,
    TimedOut,
    TrialResult,
    Wrong,
)
from guestbench.vmm import Chunk, Lacking, Machine
from guestbench.vmm.fake import FakeMachine

ONE: dict[str, Any] = {"limit": "100"}
WORK = make_kit_work(CPU, make_report("cpu", **ONE))
PARTS = [make_report("memory", op=op, block="1024") for op in ("write", "read")]
TWO = make_kit_work(MEMORY, *PARTS)
SHELL = make_system("debian", login=Login(user="root"), work=ShellWork())
KIT = make_kit(WORK, TWO)
CPU_LINES = begin_line("cpu", **ONE) + end_line("cpu")
OOM = "[    9.131] Out of memory: Killed process 211 (guestwork) total-vm:9kB"


# --- guests with a shell --------------------------------------------------------------------------------

Work = Callable[..., TrialResult]


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """Has a real shell do a workload whose programs are the shell scripts given by name."""
    tools, outputs = tmp_path / "tools", tmp_path / "outputs"
    tools.mkdir()
    outputs.mkdir()
    monkeypatch.setattr(shell_protocol, "FOLDERS", (str(outputs),))
    monkeypatch.setattr(programs, "TOOLS", str(tools))
    monkeypatch.setattr(programs, "MOUNT", "true")

    def work(
        script: str,
        work: KitWork = WORK,
        commands: Mapping[str, str] | None = None,
        give: Callable[..., TrialResult] = work_in_shell,
        system: System = SHELL,
    ) -> TrialResult:
        for name, text in {work.workload.program: script, **(commands or {})}.items():
            (tools / name).write_text(f"#!/bin/sh\n{text}\n")
            (tools / name).chmod(0o755)
        env = {"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin"}
        with start_guest("dash -i", tmp_path, env=env) as machine:
            log = wait_for_login(machine)
            return give(machine, system, log, KIT, work)

    yield work


def say(text: str) -> str:
    """A line of a script that prints a text in one piece."""
    return f"printf '{text}'".replace("\n", "\\n")


def check(result: TrialResult, kind: type[Outcome], *words: str) -> None:
    """The trial ended so, with these words in its reason."""
    assert isinstance(result.outcome, kind), result.outcome
    assert all(word in result.outcome.reason for word in words), result.outcome.reason
    assert result.outcome.reason.isprintable()


def test_a_program_on_the_tools_disk_is_timed_by_its_lines(guest: Work) -> None:
    """A guest with a shell could not be given work, or its boot and login would be part of the time."""
    result = guest(f"{say(begin_line('cpu', **ONE))}; sleep 0.3; {say(end_line('cpu'))}")
    check(result, Ok)
    (report,) = result.work
    assert report.seconds is not None and 0.29 < report.seconds < 5
    values = {(s.metric, s.labels.get("clock")): s.value for s in result.samples}
    assert values["work.cpu", None] == pytest.approx(1200 / report.seconds)
    assert values[TIME, "host"] == report.seconds and values[TIME, "guest"] == 2.0
    assert [mark.name for mark in result.marks] == ["shell"]
    assert result.marks[0].t_ns < report.begin_ns


def test_a_program_gets_its_arguments(guest: Work) -> None:
    """Every guest would do the work with the program's defaults."""
    result = guest(f'[ "$*" = "cpu events=1200" ] || exit 9; {say(CPU_LINES)}')
    check(result, Ok)


def test_a_program_is_sent_where_no_disk_can_be_attached(guest: Work, tmp_path: Path) -> None:
    """A guest whose kernel has no driver for the tools disk could not be given work."""
    program = tmp_path / "sent"
    program.write_text(f"#!/bin/sh\n{say(CPU_LINES)}\n")
    assert WORK.program is not None
    sent = msgspec.structs.replace(WORK, program=msgspec.structs.replace(WORK.program, path=str(program)))
    system = msgspec.structs.replace(SHELL, work=ShellWork(disk=False))
    check(guest("exit 1", sent, system=system), Ok)


def test_what_was_printed_before_the_program_began_is_not_its_work(
    guest: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that a guest did at its boot would be taken for that of the trial."""
    monkeypatch.setattr(programs, "MOUNT", f"{say(CPU_LINES)} >/dev/tty")
    result = guest("exit 3")
    check(result, Crashed, "cpu did not begin its work; ended with status 3")
    assert result.work == ()


BEGUN = say(begin_line("cpu", **ONE))
WRONG_DIGEST = say(begin_line("cpu", **ONE) + end_line("cpu", digest="0" * 32))


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("exit 3", Crashed, ("cpu did not begin its work", "ended with status 3")),
        ("echo 'error: no limit' >&2; exit 2", Crashed, ("status 2; it said: error: no limit",)),
        (f"{BEGUN}; kill -SEGV $$", Crashed, ("cpu began but did not end", "signal 11")),
        (f"{say(CPU_LINES)}; exit 1", Crashed, ("cpu ended with status 1",)),
        (f"{say(CPU_LINES)}; exit 255", Crashed, ("cpu ended with status 255",)),
        (WRONG_DIGEST, Wrong, (f"digest {'0' * 32}", f"the same program printed {DIGEST} for 1200")),
        (say(begin_line("cpu", **ONE) + end_line("cpu", done=1)), Wrong, ("for 1 of its work",)),
        (say(begin_line("cpu", limit="99") + end_line("cpu")), Wrong, ("limit=99", "not asked for")),
        (
            say(begin_line("cpu", source="f" * 16, **ONE) + end_line("cpu")),
            Wrong,
            ("source=ffffffffffffffff",),
        ),
        (say(begin_line("memory") + end_line("memory")), Wrong, ("cpu was not asked for", "memory")),
        ("printf '\\033[31m\\377' >&2; exit 7", Crashed, (r"it said: \x1b[31m\xff",)),
    ],
)  # fmt: skip
def test_work_that_is_not_done_as_asked_is_an_outcome_with_its_reason(
    guest: Work, script: str, kind: type[Outcome], words: tuple[str, ...]
) -> None:
    """A program that crashed, or did other work, would count as one that is fast."""
    check(guest(script), kind, *words)


def test_a_program_that_never_ends_is_ended_and_told(guest: Work) -> None:
    """A program that hangs would stop the whole run."""
    brief = msgspec.structs.replace(WORK, workload=msgspec.structs.replace(CPU, timeout_s=1.0))
    result = guest(f"{BEGUN}; sleep 600", brief)
    check(result, Crashed, "took more than 1 s in the guest and was ended")
    assert result.samples == () and result.work[0].end_ns is None


@pytest.mark.parametrize(("digest", "kind"), [(DIGEST, Incomplete), ("0" * 32, Wrong)])
def test_what_was_finished_before_a_program_hung_holds_if_it_is_right(
    guest: Work, digest: str, kind: type[Outcome]
) -> None:
    """Finished work would be lost, or be kept though its result is another than it must be."""
    part: dict[str, Any] = {"op": "write", "block": "1024"}
    begun, ended = begin_line("memory", **part), end_line("memory", digest=digest)
    brief = msgspec.structs.replace(TWO, workload=msgspec.structs.replace(MEMORY, timeout_s=1.0))
    result = guest(f"{say(begun)}; sleep 0.1; {say(ended)}; sleep 600", brief)
    check(result, kind, "took more than 1 s" if kind is Incomplete else "printed digest")
    assert {sample.metric for sample in result.samples} == {"work.memory", TIME}


def test_a_program_killed_for_want_of_memory_is_told_with_the_kernels_line(guest: Work) -> None:
    """A guest that is too small would seem to have a broken program."""
    commands = {"dmesg": f"echo '[    1.0] Booting'; echo '{OOM}'"}
    result = guest(f"{BEGUN}; kill -9 $$", commands=commands)
    check(result, Crashed, "was killed by the guest's kernel for want of memory", OOM)


def test_a_program_killed_by_somebody_else_is_not_out_of_memory(guest: Work) -> None:
    """A kill would be blamed on the guest's memory."""
    check(guest(f"{BEGUN}; kill -9 $$", commands={"dmesg": "true"}), Crashed, "was ended by signal 9")


def test_a_program_that_floods_the_console_is_told(guest: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that prints without end would fill the host's memory."""
    monkeypatch.setattr(shell_question, "FLOOD_BYTES", 1 << 20)
    check(guest(f"{BEGUN}; yes noise"), Crashed, "floods its console")


def test_what_a_program_complains_of_is_kept(guest: Work) -> None:
    """Nobody could look up what a program said."""
    result = guest(f"echo careful >&2; {say(CPU_LINES)}")
    check(result, Ok)
    assert result.raw == {"work-stderr.txt": b"careful\n"}


def test_a_missing_tools_disk_is_told(guest: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest without the disk would fail with a message about a missing program."""
    script = programs.MOUNT
    assert script == "true"
    monkeypatch.setattr(programs, "MOUNT", "echo 'no disk has the serial number guestbench' >&2; exit 3")
    check(guest("true"), Crashed, "the tools disk cannot be mounted in the guest: no disk has the serial")


def test_a_guest_without_a_login_or_a_program_is_told(guest: Work) -> None:
    """A definition with a mistake would end the run with a traceback."""
    check(guest("true", system=msgspec.structs.replace(SHELL, login=None)), Crashed, "no login")
    without = KitWork(workload=CPU, missing="there is no program for it")
    check(guest("true", without), Crashed, "there is no program for it")


def test_the_mount_script_names_the_disk_it_looks_for() -> None:
    """The script would mount the disk that the guest has booted from."""
    assert "= guestbench ]" in programs.MOUNT and "-o ro" in programs.MOUNT
    assert "mkdir -p /run/guestbench && mount -t ext4" in programs.MOUNT


# --- known tools ----------------------------------------------------------------------------------------

SYSBENCH = r"printf 'CPU speed:\n    events per second:   512.50\n'"


@pytest.mark.parametrize(
    ("commands", "kind", "words"),
    [
        ({"mount": "true", "chroot": SYSBENCH}, Ok, ()),
        ({"mount": "exit 1", "chroot": SYSBENCH}, Crashed, ("its tree cannot be prepared",)),
        ({"mount": "true", "chroot": "exit 127"}, Crashed, ("sysbench-cpu: it ended with status 127",)),
        ({"mount": "true", "chroot": "echo 'fast!'"}, Crashed, ("sysbench-cpu: ",)),
    ],
)
def test_a_known_tool_gives_its_figure_or_a_reason(
    guest: Work, commands: dict[str, str], kind: type[Outcome], words: tuple[str, ...]
) -> None:
    """A tool that failed would be a figure beside our own, or stop the run."""

    def give(machine: Machine, system: System, log: SerialLog, kit: Kit, _: KitWork) -> TrialResult:
        return check_guest.run_tool(machine, system, log, kit, "sysbench-cpu")

    result = guest("true", commands=commands, give=give)
    check(result, kind, *words)
    found = {sample.metric: sample.value for sample in result.samples}
    assert found == ({"check.sysbench_cpu": 512.5} if kind is Ok else {})


def test_a_known_tool_without_a_network_is_told(guest: Work) -> None:
    """On a platform without a network the cross-checks would end the run with a traceback."""

    def give(machine: Machine, system: System, log: SerialLog, kit: Kit, _: KitWork) -> TrialResult:
        assert isinstance(machine, FakeMachine)
        machine.forwards = Lacking(reason="the guest has no network")
        return check_guest.run_tool(machine, system, log, kit, "iperf3-in")

    check(
        guest("true", commands={"mount": "true"}, give=give), Crashed, "iperf3-in: the guest has no network"
    )


# --- guests on a virtual clock --------------------------------------------------------------------------


class Replayed(FakeMachine):
    """A console with a given share of CPU time, and words of the VMM."""

    share = 0.0
    said = ""

    def cpu_ns(self) -> int | None:
        """The share of the virtual time."""
        return round(self._now_ns * self.share)

    def complaint(self) -> str:
        """The words."""
        return self.said


def replay(*chunks: tuple[float, str], status: int | None = None, share: float = 0.9) -> Replayed:
    """A machine that prints these texts at these seconds, and then ends with `status` or hangs."""
    parts = tuple(Chunk(t_ns=round(t_s * 1e9), data=text.encode()) for t_s, text in chunks)
    machine = Replayed(parts, status, ())
    machine.share = share
    return machine


BOOTED = make_system(
    "linux-app",
    work=BootWork(cmdline="rdinit=/{program} -- {arguments}"),
    failures=(FailurePattern(pattern="Kernel panic", reason="kernel panic"),),
)


def boot(machine: Replayed) -> TrialResult:
    """What comes of a guest that is booted with its work."""
    return work_at_boot(machine, BOOTED, SerialLog(), KIT, WORK)


def test_a_guest_booted_with_its_work_is_done_when_it_is_off() -> None:
    """A kernel with one program could not be given work, or its boot would be part of the time."""
    result = boot(replay((1, "Linux version\n"), (2, CPU_LINES[:-60]), (5, CPU_LINES[-60:]), status=0))
    check(result, Ok)
    assert result.work[0].seconds == 3.0
    assert {s.metric: s.value for s in result.samples if s.metric == "work.cpu"} == {"work.cpu": 400.0}


@pytest.mark.parametrize(
    ("machine", "kind", "words"),
    [
        (
            replay((1, begin_line("cpu", **ONE)), (2, "[ 2.0] Kernel panic - not syncing: killed\n")),
            Crashed,
            ("kernel panic: [ 2.0] Kernel panic - not syncing: killed",),
        ),
        (
            replay((1, begin_line("cpu", **ONE)), (2, "reboot: Power down\n"), status=0),
            Crashed,
            ("cpu began but did not end; last lines: ", " | reboot: Power down"),
        ),
        (replay((1, "error: no events\n"), status=0), Crashed, ("did not begin", "error: no events")),
        (replay(status=0), Crashed, ("did not begin its work; the serial console stayed silent",)),
        (replay((1, CPU_LINES)), Crashed, ("cpu was done, but the guest did not power off",)),
        (replay((1, begin_line("cpu", **ONE))), TimedOut, ("cpu began but did not end", "more than 15 s")),
        (replay((1, "Run /guestwork\n")), TimedOut, ("did not begin its work; last line: Run", "15 s")),
        (replay((1, "x" * 100)), TimedOut, ("xxx",)),
        (replay((1, CPU_LINES.replace(DIGEST, "e" * 32)), status=0), Wrong, (f"digest {'e' * 32}",)),
    ],
)
def test_a_guest_booted_with_its_work_that_fails_says_how(
    machine: Replayed, kind: type[Outcome], words: tuple[str, ...]
) -> None:
    """A guest that panicked or powered off in the middle of its work would count, or give no reason."""
    check(boot(machine), kind, *words)


def test_a_vmm_that_never_ran_the_guest_is_quoted() -> None:
    """A mistake in the command line would look like a silent guest."""
    machine = replay(status=1)
    machine.said = "qemu: warning\nqemu: no such device"
    check(boot(machine), Crashed, "the VMM said: qemu: no such device")


def test_a_flood_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that prints without end would be waited for to its timeout."""
    monkeypatch.setattr("guestbench.guest.console.FLOOD_BYTES", 1000)
    check(boot(replay(*((1.0, "noise\n" * 100) for _ in range(9)))), Crashed, "it flooded the console")


# --- images that work by themselves ---------------------------------------------------------------------

OLD = ImageWork(timeout_s=20, workload="irmin", begin="[init done]", end="[run done]", count="commits:")
IMAGE = make_system("mirage", work=OLD, workloads=("merkle", "irmin"))
IMAGE_KIT = make_kit(
    make_kit_work(MERKLE, make_report("merkle", 400, commits="400", made=OCAML)),
    KitWork(workload=IRMIN, missing="there is no program for it"),
    WORK,
)
MERKLE_LINES = begin_line("merkle", OCAML, commits=400) + end_line("merkle", 400)


def watch_image(machine: Replayed, own: ImageWork = OLD, kit: Kit = IMAGE_KIT) -> TrialResult:
    """What comes of an image that works by itself."""
    return work_of_image(machine, IMAGE, SerialLog(), kit, own)


def gaps_of(result: TrialResult) -> dict[str, str]:
    """The reasons of a result's gaps by metric."""
    return {gap.metric: gap.reason for gap in result.gaps}


def test_an_image_without_lines_is_watched_to_its_own_end() -> None:
    """The image that a user has already could not be measured."""
    progress = [(1.0 + n / 10, f"\rcommits:   {n}0/50") for n in range(1, 6)]
    result = watch_image(replay((1.0, "[init done]\r\n"), *progress, (3.5, "\r\n[run done]\r\n")))
    check(result, Ok)
    (report,) = result.work
    assert (report.done, report.seconds) == (50, 2.5)
    assert {s.metric: s.value for s in result.samples} == {"work.irmin": 20.0, TIME: 2.5}
    assert gaps_of(result) == {"work.merkle": "this image does no such work"}


def test_an_image_with_lines_has_all_its_workloads_measured() -> None:
    """The workloads of our own image would be taken for one piece of unknown work."""
    merkle = (2, begin_line("merkle", OCAML, commits=400)), (2.5, end_line("merkle", 400))
    irmin = (3, begin_line("irmin", OCAML, commits=50)), (3.5, end_line("irmin", 50))
    machine = replay((1, "[init done]\n"), *merkle, *irmin, (4, "[run done]\n"))
    check(result := watch_image(machine), Ok)
    assert [report.workload for report in result.work] == ["merkle", "irmin"]
    assert result.gaps == ()
    assert machine.now_ns() < 5e9, "its marker is the end, though it stays on"


def test_an_image_that_is_idle_costs_seconds_and_is_told() -> None:
    """An image that serves would be waited for to the timeout, and count as failed."""
    machine = replay((1, "[init done]\r\n"), share=0.02)
    result = watch_image(machine)
    check(result, Ok)
    assert machine.now_ns() < 5e9
    assert (result.work, result.samples) == ((), ())
    assert set(gaps_of(result).values()) == {"this image does no such work"}
    assert set(gaps_of(result)) == {"work.merkle", "work.irmin"}


def test_an_image_that_ended_its_work_with_its_first_words_has_done_it() -> None:
    """A fast benchmark whose texts come in one piece would be no work at all."""
    machine = replay((1, "[init done]\ncommits: 50\n"), (1.0, "[run done]\n"), share=0.0)
    assert machine.read_serial(0) is None
    check(watch_image(machine), Ok)
    together = watch_image(replay((1, "[init done]\ncommits: 50\n[run done]\n"), share=0.0))
    assert [(report.workload, report.done) for report in together.work] == [("irmin", 50)]
    lines = watch_image(replay((1, f"[init done]\n{MERKLE_LINES}[run done]\n")))
    assert "too quick" in gaps_of(together)["work.irmin"] and "too quick" in gaps_of(lines)["work.merkle"]


def test_an_image_that_is_busy_for_too_long_is_timed_out() -> None:
    """An image that computes for ever would stop the run, or be taken for one that is idle."""
    machine = replay((1, "[init done]\r\n"), *((1.0 + n, "\rcommits: 1/50") for n in range(100)))
    result = watch_image(machine)
    check(result, TimedOut, "its work took more than 20 s; last line: commits: 1/50")
    assert 20e9 < machine.now_ns() < 25e9


@pytest.mark.parametrize(
    ("chunks", "status", "kind", "words"),
    [
        ([(1, "[init done]\n"), (2, "CRIT: abort\n")], None, Crashed, ("unikernel aborted: CRIT: abort",)),
        ([(1, "[init done]\n"), (2, "commits: 10/50\n")], 0, Crashed, ("irmin began but did not end",)),
        ([(1, "Powered by\n")], None, TimedOut, ("no '[init done]' within 10 s",)),
        (
            [(1, "[init done]\n"), (2, MERKLE_LINES.replace(DIGEST, "a" * 32)), (3, "[run done]")],
            None,
            Wrong,
            (f"merkle printed digest {'a' * 32}; on the host a program of the same sources",),
        ),
    ],
)  # fmt: skip
def test_an_image_that_fails_says_how(
    chunks: list[tuple[float, str]], status: int | None, kind: type[Outcome], words: tuple[str, ...]
) -> None:
    """A unikernel that aborted, or computed something else, would count."""
    check(watch_image(replay(*chunks, status=status)), kind, *words)


# --- judging --------------------------------------------------------------------------------------------


def test_all_parts_have_to_be_done_in_their_order() -> None:
    """A program that left out the slow part would be the fastest."""
    assert isinstance(judge(TWO, PARTS, ""), Ok)
    left_out = judge(TWO, PARTS[:1], "ended with status 0")
    assert left_out == Crashed(reason="memory did 1 of 2 parts; ended with status 0")
    assert isinstance(judge(TWO, PARTS[::-1], ""), Wrong)


def test_an_image_of_other_sources_or_parameters_is_judged_by_nothing_of_ours() -> None:
    """An image that does other work by design would be called wrong; the report says that it differs."""
    others = [
        make_report("merkle", 400, made=OCAML, digest="b" * 32, commits="400", source="f" * 16),
        make_report("merkle", 9, made=OCAML, digest="b" * 32, commits="9"),
        make_report("unknown", 9),
    ]
    assert isinstance(judge_image(others, IMAGE_KIT, ""), Ok)


def test_samples_are_of_finished_work_that_the_kit_knows() -> None:
    """Work that was not finished, or that took no time, would have an endless rate."""
    reports = [
        make_report("cpu", seconds=None),
        make_report("cpu", seconds=0.0),
        make_report("unknown"),
        make_report("cpu", done=None, seconds=4.0),
    ]
    assert [(s.metric, s.labels["clock"]) for s in to_samples(KIT, reports)] == [
        (TIME, "host"),
        (TIME, "guest"),
    ]
