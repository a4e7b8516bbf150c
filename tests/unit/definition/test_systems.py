"""The catalogue against recorded consoles: ready, milestones and failures as they really look."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from guestbench.definition.systems import load_catalogue
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import Booted, watch_after, watch_boot
from guestbench.model import FIRST_BYTE, READY, Crashed, Ok, TimedOut
from guestbench.vmm import Chunk
from guestbench.vmm.fake import FakeMachine, read_recording

RECORDINGS = Path(__file__).parents[2] / "recordings"


def replay(system: str, recording: str) -> Booted:
    """What a recording gives with the catalogue's definition of a system."""
    chunks, status = read_recording(RECORDINGS / f"{recording}.log")
    return watch_boot(FakeMachine(chunks, status, ("fake",)), load_catalogue()[system], SerialLog())


@pytest.mark.parametrize("name", ["floor", "linux-minimal", "debian-12-nocloud", "mirage-unikraft"])
def test_every_milestone_is_reached_in_the_order_of_the_definition(name: str) -> None:
    """A milestone's row of the report would be empty, or its step negative."""
    result = replay(name, name)
    assert isinstance(result.outcome, Ok)
    named = [milestone.name for milestone in load_catalogue()[name].milestones]
    assert [mark.name for mark in result.marks] == [FIRST_BYTE, *named, READY]


@pytest.mark.parametrize(
    ("recording", "reason"),
    [
        ("heap", "out of memory: the OCaml heap does not fit: Fatal error: Not enough heap memory"),
        ("fault", "Unikraft met an error it cannot go on from: [    0.123660] CRIT: [libkvmplat]"),
        ("scheduler", "out of memory: Unikraft cannot set up its scheduler: [    0.1180] CRIT:"),
        ("silent", "the VMM exited with status 0 before the guest was ready (the guest powered off or"),
    ],
)
def test_a_unikernel_that_dies_says_why(recording: str, reason: str) -> None:
    """Every way to die would look the same: it powers off with status 0."""
    result = replay("mirage-unikraft", f"mirage-unikraft-{recording}")
    assert isinstance(result.outcome, Crashed)
    assert result.outcome.reason.startswith(reason)


@pytest.mark.parametrize("ready", [b"", b"[init done]\r\n"])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"Fatal error: exception Out_of_memory", "out of memory: the OCaml heap cannot grow"),
        (b"Fatal error: exception Out of memory", "out of memory: the OCaml heap cannot grow"),
        (b"Fatal error: exception Stdlib.Not_found", "the OCaml runtime gave up"),
        (b'Fatal error: exception Failure("no lease")', "the OCaml runtime gave up"),
        (b"round 7: error: Out of memory in ukalloc", "out of memory: Unikraft has no more to give"),
        (b"[    0.2] ERR:  error: Out of memory", "out of memory: Unikraft has no more to give"),
        (b"Fatal error: no domain lock held", "out of memory: the OCaml runtime could not set up its first"),
        (b"x: CPU ISA level is lower\r\nFatal glibc error: CPU does not support x86-64-v3", "the C library"),
    ],
)
def test_a_unikernel_that_gives_up_and_stays_says_why_at_once(ready: bytes, line: bytes, reason: str) -> None:
    """A guest whose VMM never ends would cost the whole time limit, and be late rather than dead."""
    system = load_catalogue()["mirage-unikraft"]
    chunks = (Chunk(t_ns=1_000_000, data=ready or b"Powered by"), Chunk(t_ns=2_000_000, data=line + b"\r\n"))
    machine, log = FakeMachine(chunks, None, ("fake",)), SerialLog()
    booted = watch_boot(machine, system, log)
    told = watch_after(machine, system, log, booted) if ready else booted.outcome.reason
    assert isinstance(booted.outcome, Ok if ready else Crashed)
    assert told.startswith(reason)
    assert told.endswith(line.decode().splitlines()[-1])
    assert machine.now_ns() < 1e9


@pytest.mark.parametrize(("name", "times"), [("floor", 21), ("mirage-unikraft", 3), ("linux-minimal", 5)])
def test_a_guest_whose_firmware_starts_again_and_again_is_counted(name: str, times: int) -> None:
    """Firmware that restarts for want of memory would be a guest that is slow to boot."""
    system = load_catalogue()[name]
    text = system.milestones[0].pattern.encode() + b"1.16.2)\r\n"
    chunks = tuple(Chunk(t_ns=n * 400_000_000, data=text) for n in range(1, times + 1))
    outcome = watch_boot(FakeMachine(chunks, None, ("fake",)), system, SerialLog()).outcome
    assert isinstance(outcome, TimedOut)
    assert f"it reached {system.milestones[0].name!r} {times} times" in outcome.reason


def test_a_unikernel_that_hangs_times_out_with_its_last_line() -> None:
    """The user would not see how far it came."""
    result = replay("mirage-unikraft", "mirage-unikraft-hang")
    assert isinstance(result.outcome, TimedOut)
    assert "Connected Ethernet interface" in result.outcome.reason


@pytest.mark.parametrize("name", ["floor", "linux-minimal", "debian-12-nocloud", "mirage-unikraft"])
def test_a_good_boot_shows_no_failure_text(name: str) -> None:
    """A boot that succeeds would be stopped as a failure on some host where the ready marker comes later."""
    system = load_catalogue()[name]
    log = (RECORDINGS / f"{name}.log").read_bytes()
    assert [f.pattern for f in system.failures if f.pattern.encode() in log] == []


def test_the_fake_vmm_takes_no_time() -> None:
    """The tests of this project would take as long as the guests they replay."""
    system = msgspec.structs.replace(load_catalogue()["debian-12-nocloud"], timeout_s=1e6, ready="never")
    machine = FakeMachine((), None, ("fake",))
    assert isinstance(watch_boot(machine, system, SerialLog()).outcome, TimedOut)
    assert machine.now_ns() >= 1e15
