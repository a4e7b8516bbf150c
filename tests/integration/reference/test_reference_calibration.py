"""The instruments against the reference unikernel, which does what it is told: what was told is measured."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import calibration
import pytest
import reference_guest
from calibration import READY, boot, make_system, must_be_ready
from hostile_run import check_safe

from guestbench.definition.systems import load_catalogue
from guestbench.host import process
from guestbench.model import Crashed, Ok, Outcome, Platform, System, TimedOut

pytestmark = pytest.mark.qemu

SMALL = Platform(accel=calibration.PLATFORM.accel, net=calibration.PLATFORM.net, memory_mib=64)
PAGE_KIB = 4


def outcome_of(options: str, folder: Path, timeout_s: float = 30.0) -> Outcome:
    """How a boot with these options ended, judged by the failures that the catalogue knows of this system."""
    told = make_system(options, timeout_s=timeout_s)
    system = System(
        name=told.name,
        title=told.title,
        family=told.family,
        boot=told.boot,
        ready=told.ready,
        timeout_s=told.timeout_s,
        failures=load_catalogue()["reference-unikernel"].failures,
    )
    with boot(reference_guest.kernel(), system, folder, platform=SMALL) as (_, result, _log):
        return result.outcome


# --- quantities ---------------------------------------------------------------------------------------


def test_time_between_markers_is_what_was_told(tmp_path: Path) -> None:
    """Boot times would be wrong by an amount that no one knows."""
    told_ms = (0, 50, 200)
    options = " ".join(f"refuk.ready-after-ms={each}" for each in told_ms)
    with boot(reference_guest.kernel(), make_system(options, ready="[exit 0]"), tmp_path) as (_, result, log):
        must_be_ready(result, log)
    times = [log.time_of(found.end() - 1) / 1e6 for found in re.finditer(re.escape(READY).encode(), log.data)]
    assert len(times) == len(told_ms)
    for told, before, after in zip(told_ms[1:], times, times[1:], strict=False):
        # A stamp may come late on a busy host, the first as well as the second.
        assert told / 2 <= after - before <= told + 500


def test_boot_time_has_in_it_what_was_told(tmp_path: Path) -> None:
    """A guest that takes longer would seem to take as long as others."""
    short = calibration.measure_ready_s(reference_guest.kernel(), 0, tmp_path)
    long = calibration.measure_ready_s(reference_guest.kernel(), 1000, tmp_path)
    assert long >= 1.0
    assert 0.5 <= long - short <= 5.0


def test_touched_memory_is_what_was_told(tmp_path: Path) -> None:
    """Every figure of touched memory would be wrong by as much as this one."""
    few, many = (calibration.measure_touched_kib(reference_guest.kernel(), n, tmp_path) for n in (0, 48))
    assert many - few == pytest.approx(48 * 1024, abs=4 * PAGE_KIB)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 4097, 200_000])
def test_bytes_on_the_console_are_those_that_were_told(count: int, tmp_path: Path) -> None:
    """Markers could be lost or late, as the console would lose, add or change bytes."""
    arrived = calibration.read_bytes(reference_guest.kernel(), count, tmp_path)
    assert arrived == calibration.make_bytes(count)


def test_instructions_are_those_that_were_told(tmp_path: Path) -> None:
    """The reference would not be one: its own work would not be known to the instruction."""
    kernel = reference_guest.kernel()
    least, odd, many = (calibration.count_instructions(kernel, n, tmp_path) for n in (2, 1001, 5_000_000))
    assert odd - least == 999
    assert many - least == 4_999_998


# --- ends ---------------------------------------------------------------------------------------------

FAULTS = {
    "null": (14, "page fault: write"),
    "text": (14, "page fault: write"),
    "rodata": (14, "page fault: write"),
    "stack-exec": (14, "page fault: execute"),
    "data-exec": (14, "page fault: execute"),
    "guard": (14, "page fault: write"),
    "divide": (0, "divide error"),
    "opcode": (6, "invalid opcode"),
    "general": (13, "general protection"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_crash_with_its_reason(fault: str, tmp_path: Path) -> None:
    """A guest that crashed would be counted as slow, or as ready."""
    outcome = outcome_of(f"refuk.fault={fault} refuk.ready-after-ms=0", tmp_path)
    assert isinstance(outcome, Crashed)
    vector, text = FAULTS[fault]
    assert f"[refuk: fault vector={vector} " in outcome.reason
    assert outcome.reason.endswith(f" {text}]")


@pytest.mark.parametrize("option", ["hang", "halt"])
def test_a_guest_that_hangs_has_timed_out(option: str, tmp_path: Path) -> None:
    """A guest that hangs would hold up a run for ever, or be counted as crashed."""
    outcome = outcome_of(f"refuk.{option} refuk.ready-after-ms=0", tmp_path, timeout_s=2.0)
    assert isinstance(outcome, TimedOut)


def test_ready_before_a_hang_is_ready(tmp_path: Path) -> None:
    """What a guest does after its marker would count for its boot."""
    assert isinstance(outcome_of("refuk.ready-after-ms=0 refuk.hang", tmp_path), Ok)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("refuk.touch-mib=1", "powered off or reset itself"),
        ("refuk.touch-mib=64", "not enough memory to touch 64 MiB"),
        ("refuk.touch-mib=1 refuk.nonsense", "no such option: refuk.nonsense"),
        ("refuk.ready-after-ms=x", "not a number: refuk.ready-after-ms=x"),
        ("refuk.ready-after-ms=99999999999999", "refuk.ready-after-ms=99999999999999 is over"),
        ("refuk.touch-mib=1 'program", "quote"),
        ("", "-append"),
        ("program", "-initrd"),
    ],
)
def test_what_cannot_be_done_ends_with_its_reason(options: str, said: str, tmp_path: Path) -> None:
    """A mistake in a boot argument would be a guest that never gets ready, without a word why."""
    outcome = outcome_of(options, tmp_path)
    assert isinstance(outcome, Crashed)
    assert said in outcome.reason


def test_a_flood_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that prints without end would fill the disk with its log."""
    monkeypatch.setattr("guestbench.guest.console.FLOOD_BYTES", 1 << 20)
    outcome = outcome_of("refuk.write-bytes=100000000", tmp_path)
    assert isinstance(outcome, Crashed)
    assert "flooded the console" in outcome.reason


# --- hostile bytes ------------------------------------------------------------------------------------


def test_a_false_marker_is_no_marker(tmp_path: Path) -> None:
    """A guest would count as ready by text that only looks like its marker on a terminal."""
    system = make_system("refuk.hostile refuk.hang", timeout_s=2.0)
    with boot(reference_guest.kernel(), system, tmp_path) as (_, result, log):
        assert isinstance(result.outcome, TimedOut)
        assert "it is there once control characters" in result.outcome.reason
    assert b"[refuk re\x1b[0mady]" in log.data
    assert b"\x1b[2J" in log.data and b"\xff\xfe" in log.data and b"\0" in log.data


HOSTILE = """
name = "hostile"
title = "A guest that prints hostile bytes"
family = "unikernel"
ready = "[refuk ready]"
timeout_s = 20
[boot]
type = "kernel"
cmdline = "refuk.hostile refuk.fault=null"
[[failures]]
pattern = "{pattern}"
reason = "it said what it must not"
[provision]
path = "hostile.elf"
hint = "none"
"""


@pytest.mark.parametrize("pattern", ["onerror", "refuk title", "to left"])
def test_hostile_bytes_leave_the_report_and_the_terminal_inert(pattern: str, tmp_path: Path) -> None:
    """A guest could run a script in the reader's browser, or control the terminal of whoever measures it."""
    guest = tmp_path / "hostile"
    guest.mkdir()
    (guest / "system.toml").write_text(HOSTILE.format(pattern=pattern))
    shutil.copy(reference_guest.kernel(), guest / "hostile.elf")
    (tmp_path / "run.toml").write_text(
        'name = "run"\ntitle = "Run"\nsystems = ["./hostile"]\nmetrics = ["boot"]\ncycles = 1\nwarmups = 0\n'
        '[platform]\naccel = "tcg"\nmemory_mib = 64\n'
    )
    argv: list[str | Path] = [sys.executable, "-m", "guestbench", "run", tmp_path / "run.toml"]
    argv += ["--system", f"hostile={guest / 'hostile.elf'}", "-o", tmp_path / "results"]
    done = process.run(argv, check=False)
    report = (tmp_path / "results" / "comparison_results.md").read_text()
    assert "it said what it must not" in report
    check_safe(report)
    for text in (done.stdout.decode(), done.stderr.decode()):
        assert all(character.isprintable() or character == "\n" for character in text)
