"""Counters of a process: right where the kernel has them, and a reason where it has not."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from guestbench.host import counters
from guestbench.host.counters import EVENTS, LOST, REASONS, TASK_CLOCK, Counters, read_energy
from guestbench.model import Unknown

BURN = """
import threading, time
def burn():
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
thread = threading.Thread(target=burn)
thread.start()
thread.join()
print("done", flush=True)
input()
"""


def test_what_a_process_and_its_threads_do_is_counted() -> None:
    """A counter of another process, or of the first thread alone, would pass for the VMM's."""
    argv = [sys.executable, "-c", BURN]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        found = Counters(child.pid, {"time": TASK_CLOCK})
        assert child.stdout.readline() == b"done\n"
        clock = found.read()["time"]
        found.close()
        child.stdin.close()
    if isinstance(clock, Unknown):
        assert clock.reason in {*REASONS.values(), LOST}
    else:
        assert 0.2e9 < clock < 5e9


def test_hardware_counters_are_numbers_or_say_why_not() -> None:
    """A host without counters would stop a run, or be said to have counted nothing."""
    with subprocess.Popen(["sleep", "60"]) as child:
        found = Counters(child.pid)
        values = found.read()
        child.kill()
    found.close()
    assert set(values) == {*EVENTS, "energy"}
    for name in EVENTS:
        value = values[name]
        assert value.reason in {*REASONS.values(), LOST} if isinstance(value, Unknown) else value >= 0


def test_counters_that_stand_still_are_not_believed() -> None:
    """A VMM would be said to have taken next to no cycles."""
    found = Counters(os.getpid(), {"time": TASK_CLOCK})
    # Opened now, for a process that has long been at work, they lack most of its time.
    value = found.read()["time"]
    found.close()
    assert isinstance(value, Unknown)
    assert value.reason in {*REASONS.values(), LOST}


def test_a_process_that_has_gone_has_no_counters() -> None:
    """A VMM that ends at once would end the run in a traceback."""
    child = subprocess.Popen(["true"])
    child.wait()
    found = Counters(child.pid, {"time": TASK_CLOCK})
    assert isinstance(found.read()["time"], Unknown)
    found.close()


@pytest.mark.parametrize(
    ("before", "after", "joules"), [(1_000_000, 3_500_000, 2.5), (9_000_000, 1_000_000, 2.0)]
)
def test_energy_goes_on_where_its_count_begins_again(
    before: int, after: int, joules: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A boot would be said to have taken energy away."""
    (tmp_path / "max_energy_range_uj").write_text("10000000\n")
    readings = iter((before, after))

    def read() -> tuple[int, int] | Unknown:
        (tmp_path / "energy_uj").write_text(f"{next(readings)}\n")
        return read_energy(tmp_path)

    monkeypatch.setattr(counters, "read_energy", read)
    found = Counters(os.getpid(), {})
    assert found.read() == {"energy": joules}


@pytest.mark.parametrize(("text", "reason"), [(None, "shows no energy"), ("lots", "hold no numbers")])
def test_energy_that_cannot_be_read_says_why(text: str | None, reason: str, tmp_path: Path) -> None:
    """A virtual host would be said to take no energy."""
    if text is not None:
        (tmp_path / "energy_uj").write_text(text)
        (tmp_path / "max_energy_range_uj").write_text(text)
    found = read_energy(tmp_path)
    assert isinstance(found, Unknown)
    assert reason in found.reason


def test_a_kernel_that_hides_its_own_part_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cycles of user space alone would be compared with those of everything."""

    def refuse_kernel(number: int, attribute: ctypes.Array[ctypes.c_char], *rest: int) -> int:
        flags = int.from_bytes(attribute.raw[40:48], "little")
        if not flags & counters.EXCLUDE_KERNEL:
            ctypes.set_errno(errno.EACCES)
            return -1
        return os.open("/dev/null", os.O_RDONLY)

    monkeypatch.setattr(counters, "_LIBC", types.SimpleNamespace(syscall=refuse_kernel))
    found = Counters(os.getpid(), {"time": TASK_CLOCK})
    found.close()
    assert found.scope == "user space"
    monkeypatch.setattr(
        counters, "_LIBC", types.SimpleNamespace(syscall=lambda *_: os.open("/dev/null", os.O_RDONLY))
    )
    found = Counters(os.getpid(), {"time": TASK_CLOCK})
    found.close()
    assert found.scope == ""
