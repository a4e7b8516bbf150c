"""Boot time from recorded serial logs: what counts as ready, lost, or late."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay import FAKE, make_guest, make_system, write_recording

from guestbench.definition.systems import load_catalogue
from guestbench.guest.console import place_texts, quote
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import Booted, watch_after, watch_boot
from guestbench.model import Crashed, FailurePattern, Milestone, NotMade, Ok, System, TimedOut
from guestbench.vmm import Chunk, LaunchSpec
from guestbench.vmm.fake import FakeMachine, read_recording, start

MIRAGE_BOOT = (
    (80.0, b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16.2)\r\nBooting from ROM.."),
    (110.0, b"Powered by\r\n"),
    (1300.0, b"2026-01-01T00:00:00Z: [INFO] [dhcp_client_lwt] Lease obtained!\r\n"),
)


def boot(folder: Path, system: System, *args: object, **kwargs: object) -> tuple[Booted, SerialLog]:
    """Replay a recording and watch it boot."""
    guest = make_guest(system, write_recording(folder, *args, **kwargs))  # type: ignore[arg-type]
    log = SerialLog()
    with start(LaunchSpec(boot=system.boot, images=guest.images, platform=FAKE, folder=folder)) as machine:
        return watch_boot(machine, system, log), log


def test_ready_is_stamped_at_the_byte_that_completes_the_marker(tmp_path: Path) -> None:
    """A marker that arrives in pieces would be reported before the guest was ready."""
    chunks = [*MIRAGE_BOOT, (1400.0, b"[init"), (1500.0, b" done"), (1702.25, b"]\r\n")]
    result, _ = boot(tmp_path, make_system(), chunks)
    assert isinstance(result.outcome, Ok)
    assert [(m.name, m.t_ns) for m in result.marks] == [
        ("first byte", 80_000_000),
        ("banner", 110_000_000),
        ("ready", 1_702_250_000),
    ]
    assert result.cpu_ns == 1_702_250_000 / 2


def test_a_marker_without_a_newline_is_seen_at_once(tmp_path: Path) -> None:
    """`login: ` ends without a newline; matching lines would wait for the timeout."""
    system = make_system(ready="login: ", milestones=())
    result, _ = boot(tmp_path, system, [(10.0, b"localhost login:"), (12.0, b" "), (9000.0, b"\n")])
    assert [m.t_ns for m in result.marks if m.name == "ready"] == [12_000_000]


def test_a_guest_that_hangs_times_out_and_says_what_it_said_last(tmp_path: Path) -> None:
    """A hang would be an exception, or leave the user without a clue."""
    result, _ = boot(tmp_path, make_system(), MIRAGE_BOOT)
    assert isinstance(result.outcome, TimedOut)
    assert "'[init done]'" in result.outcome.reason
    assert "10 s" in result.outcome.reason
    assert "Lease obtained!" in result.outcome.reason


def test_a_silent_guest_is_called_silent(tmp_path: Path) -> None:
    """Silence would be reported as an empty quotation."""
    result, _ = boot(tmp_path, make_system(), [])
    assert isinstance(result.outcome, TimedOut)
    assert "stayed silent" in result.outcome.reason
    assert result.marks == ()


def test_a_failure_text_ends_the_trial_with_the_whole_line(tmp_path: Path) -> None:
    """A crash would cost the full timeout, and its reason would be cut off where the pattern ends."""
    chunks = [
        *MIRAGE_BOOT,
        (1400.0, b"Fatal error: x\r\n[    0.115561] CRI"),
        (1401.0, b"T: [libmusl] <abort.c"),
        (1402.0, b" @    7> abort called\r\nmore"),
    ]
    result, log = boot(tmp_path, make_system(), chunks)
    assert isinstance(result.outcome, Crashed)
    expected = "the unikernel aborted: [    0.115561] CRIT: [libmusl] <abort.c @    7> abort called"
    assert result.outcome.reason == expected
    assert bytes(log.data).endswith(b"more")


def test_the_vmm_exiting_early_is_a_crash_with_its_status(tmp_path: Path) -> None:
    """A unikernel that powers off before it is ready exits QEMU with status 0, which is not success."""
    result, _ = boot(tmp_path, make_system(), MIRAGE_BOOT, exit_status=0)
    assert isinstance(result.outcome, Crashed)
    assert "exited with status 0 before the guest was ready" in result.outcome.reason
    assert "Lease obtained!" in result.outcome.reason


@pytest.mark.parametrize(("status", "told"), [(-6, "ended by SIGABRT"), (0, "powered off or reset itself")])
def test_what_ends_a_boot_just_after_ready_is_told(status: int, told: str, tmp_path: Path) -> None:
    """A VMM that aborts when the guest is ready would be a guest that powers itself off."""
    system, log = make_system(), SerialLog()
    guest = make_guest(system, write_recording(tmp_path, [(1.0, b"[init done]\r\n")], exit_status=status))
    with start(LaunchSpec(boot=system.boot, images=guest.images, platform=FAKE, folder=tmp_path)) as machine:
        assert told in watch_after(machine, system, log, watch_boot(machine, system, log))


def test_a_failure_text_after_ready_does_not_count(tmp_path: Path) -> None:
    """A guest that was ready would be reported as never ready."""
    result, _ = boot(tmp_path, make_system(), [*MIRAGE_BOOT, (1500.0, b"[init done]\r\nCRIT: late\r\n")])
    assert isinstance(result.outcome, Ok)


def test_hostile_bytes_are_escaped_in_reasons(tmp_path: Path) -> None:
    """A guest could move the cursor of the user's terminal, or forge a line of output."""
    hostile = b"\x1b]0;owned\x07\x9b31m CRIT: \xff\x00\n"
    result, _ = boot(tmp_path, make_system(), [(1.0, hostile)])
    assert isinstance(result.outcome, Crashed)
    assert result.outcome.reason.isascii()
    assert result.outcome.reason.isprintable()
    assert "\\x1b]0;owned\\x07" in result.outcome.reason


@given(st.binary(max_size=400))
def test_quoted_lines_are_printable_ascii(line: bytes) -> None:
    """Some byte sequence of a guest would reach the terminal or the report raw."""
    assert quote(line).isascii()
    assert quote(line).isprintable()


@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_marks_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    """The same log would give other marks when the host reads it in other pieces."""
    stream = b"SeaBIOS..Powered by Powered by\r\n\x1b[0m[init [init done]\r\nCRIT: after"
    bounds = sorted({0, *cuts, len(stream)})
    chunks = tuple(Chunk(t_ns=stop, data=stream[begin:stop]) for begin, stop in pairwise(bounds))
    result = watch_boot(FakeMachine(chunks, None, ("fake",)), make_system(), SerialLog())
    assert isinstance(result.outcome, Ok)
    marker_end = {"banner": stream.index(b"Powered by") + 10, "ready": stream.index(b"[init done]") + 11}
    for mark in result.marks[1:]:
        arrival = min(bound for bound in bounds if bound >= marker_end[mark.name])
        assert mark.t_ns == arrival
    assert {mark.name for mark in result.marks} == {"first byte", "banner", "ready"}


def test_the_first_listed_pattern_of_a_line_names_the_reason(tmp_path: Path) -> None:
    """The general text that comes first in the line would hide the cause that follows it."""
    system = make_system(
        failures=(
            FailurePattern(pattern="Not enough heap memory", reason="too little memory"),
            FailurePattern(pattern="Fatal error:", reason="the OCaml runtime gave up"),
        )
    )
    chunks = [(1.0, b"Fatal error: "), (2.0, b"Not enough heap memory to reserve minor heaps\r\nCRIT: abort")]
    result, _ = boot(tmp_path, system, chunks)
    assert isinstance(result.outcome, Crashed)
    expected = "too little memory: Fatal error: Not enough heap memory to reserve minor heaps"
    assert result.outcome.reason == expected


@pytest.mark.parametrize(
    ("line", "of_host"),
    [
        (
            b"[    1.2] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug\r\n",
            True,
        ),
        (
            b"[    1.2] ..MP-BIOS bug\r\n[    1.3] Kernel panic - not syncing: IO-APIC + timer doesn't work!",
            True,
        ),
        (b"[    1.2] Kernel panic - not syncing: System is deadlocked on memory\r\n", False),
        (b"No bootable device: IO-APIC + timer works\r\n", False),
    ],
)
@pytest.mark.parametrize("name", ["linux-app", "linux-minimal", "debian-12-nocloud", "alpine"])
def test_what_the_host_does_to_a_guest_is_no_failure_of_the_guest(
    name: str, line: bytes, of_host: bool, tmp_path: Path
) -> None:
    """A busy host would make a kernel seem to crash, or to need more memory."""
    failures = load_catalogue()[name].failures
    result, _ = boot(tmp_path, make_system(failures=failures), [*MIRAGE_BOOT, (1500.0, line)])
    assert isinstance(result.outcome, NotMade if of_host else Crashed)
    assert ("the host was too busy" in result.outcome.reason) is of_host


def test_a_recording_reads_back_as_it_was_heard(tmp_path: Path) -> None:
    """Replaying a trial's own artifact would not reproduce the trial."""
    path = write_recording(tmp_path, [(1.0, b"a"), (1.5, b"b"), (3.0, b"\xff\n"), (9.0, b"c")], exit_status=0)
    chunks, status = read_recording(path)
    assert chunks == (
        Chunk(t_ns=1_000_000, data=b"ab"),
        Chunk(t_ns=3_000_000, data=b"\xff\n"),
        Chunk(t_ns=9_000_000, data=b"c"),
    )
    assert status == 0


# --- texts that are no marker, and markers that are hidden ------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"Kernel command line: console=ttyS0 ready=login: x\nKernel panic - not syncing: no init\n",
        b"[    0.000000] Command line: motd=login: x quiet\r\n\x1b]0;login: \x07more\r\n",
    ],
)
def test_a_marker_that_nobody_sees_is_none(said: bytes, tmp_path: Path) -> None:
    """A kernel that prints its command line and panics would have booted faster than any other."""
    booted, _ = boot(tmp_path, make_system(ready="login: "), [(1.0, said)])
    assert not isinstance(booted.outcome, Ok)
    assert "ready" not in {mark.name for mark in booted.marks}


BEHIND = make_system(
    ready="login: ",
    milestones=(
        Milestone(name="banner", pattern="Powered by"),
        Milestone(name="init", pattern="Run /init", required=True),
        Milestone(name="network", pattern="link is up"),
    ),
)


@pytest.mark.parametrize(
    ("said", "ready_ms"),
    [
        ([(1.0, b"motd=login: x\n"), (2.0, b"Run /init\n"), (3.0, b"login: ")], 3),
        ([(1.0, b"login: login: Run /init as init\nlogin: ")], 1),
        ([(1.0, b"login: Run /in"), (2.0, b"it\nlog"), (3.0, b"in: ")], 3),
        ([(1.0, b"Run /initlogin: ")], 1),
        ([(1.0, b"log"), (2.0, b"Run /init"), (3.0, b"in: "), (4.0, b"login: ")], 4),
        ([(1.0, b"login: \n"), (2.0, b"Powered by\nlink is up\nlogin: ")], None),
        ([(1.0, b"login: \n"), (2.0, b"Run /init\n")], None),
    ],
)
def test_a_marker_counts_behind_the_milestones_that_are_required(
    said: list[tuple[float, bytes]], ready_ms: int | None, tmp_path: Path
) -> None:
    """A text that firmware or kernel prints by chance would be a boot faster than any other."""
    booted, _ = boot(tmp_path, BEHIND, said)
    ready = [mark.t_ns for mark in booted.marks if mark.name == "ready"]
    assert ready == ([] if ready_ms is None else [ready_ms * 1_000_000])
    if ready_ms is None:
        assert isinstance(booted.outcome, TimedOut)
        missing = "it came, but not behind the milestone 'init', as it must"
        assert (missing in booted.outcome.reason) == (b"Run /init" not in b"".join(data for _, data in said))


def test_milestones_that_may_be_skipped_keep_no_guest_from_being_ready(tmp_path: Path) -> None:
    """A healthy guest whose kernel is quiet would never be ready."""
    booted, _ = boot(tmp_path, BEHIND, [(1.0, b"Run /init\n"), (2.0, b"login: ")])
    assert isinstance(booted.outcome, Ok)
    loose = make_system(ready="login: ", milestones=(Milestone(name="banner", pattern="Powered by"),))
    booted, _ = boot(tmp_path, loose, [(1.0, b"login: ")])
    assert isinstance(booted.outcome, Ok)


@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_what_is_required_does_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    """The same log would be ready or not as the host happens to read it."""
    stream = b"x login: Run /init\r\nlogin: more login: "
    bounds = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    chunks = tuple(Chunk(t_ns=stop, data=stream[begin:stop]) for begin, stop in pairwise(bounds))
    marks = {
        mark.name: mark.t_ns for mark in watch_boot(FakeMachine(chunks, None, ()), BEHIND, SerialLog()).marks
    }
    end = stream.index(b"login: more") + len(b"login: ")
    assert marks["ready"] == min(bound for bound in bounds if bound >= end)
    placed = place_texts(stream, bounds[1:], {"init": b"Run /init", "ready": b"login: "}, "ready", ("init",))
    assert bounds[1:][placed["ready"]] == marks["ready"]


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        (b"[init\r done]\r\n", "last lines: [init | done]"),
        (b"[init d[    2.948528] scsi 1:0:0:0: CD-ROM QEMU\none]\n", "CD-ROM QEMU | one]"),
    ],
)
def test_a_marker_in_pieces_is_told(said: bytes, pieces: str, tmp_path: Path) -> None:
    """The last line alone would hide why a guest that says that it is ready is not."""
    booted, _ = boot(tmp_path, make_system(ready="[init done]"), [(1.0, said)])
    assert isinstance(booted.outcome, TimedOut)
    assert (
        "it is there once control characters and kernel messages in it are taken out" in booted.outcome.reason
    )
    assert pieces in booted.outcome.reason


def test_a_guest_that_starts_again_and_again_is_told(tmp_path: Path) -> None:
    """Firmware that restarts for want of memory would be a guest that is slow."""
    system = make_system(milestones=(Milestone(name="firmware", pattern="SeaBIOS (version"),))
    booted, _ = boot(tmp_path, system, [(n / 10, b"SeaBIOS (version 1.16.2)\r\n") for n in range(1, 8)])
    assert isinstance(booted.outcome, TimedOut)
    assert "it reached 'firmware' 7 times" in booted.outcome.reason


@pytest.mark.parametrize(
    ("later", "remark"),
    [
        ([], ""),
        ([(1500.0, b"[init done]\r\nCRIT: late\r\n")], "the unikernel aborted: CRIT: late"),
        ([(1500.0, b"[init done]\r\n"), (1700.0, b"CRIT: later\r\n")], "the unikernel aborted: CRIT: later"),
        ([(1500.0, b"[init done]\r\n"), (9000.0, b"CRIT: much later\r\n")], ""),
    ],
)
def test_what_follows_at_once_on_being_ready_is_told(
    later: list[tuple[float, bytes]], remark: str, tmp_path: Path
) -> None:
    """A guest that panics just after its marker would have a boot time and nothing else."""
    system = make_system()
    chunks = later or [(1500.0, b"[init done]\r\n"), (9000.0, b"-")]
    guest, log = make_guest(system, write_recording(tmp_path, [*MIRAGE_BOOT, *chunks])), SerialLog()
    spec = LaunchSpec(boot=system.boot, images=guest.images, platform=FAKE, folder=tmp_path)
    with start(spec) as machine:
        booted = watch_boot(machine, system, log)
        assert isinstance(booted.outcome, Ok)
        assert watch_after(machine, system, log, booted) == remark
