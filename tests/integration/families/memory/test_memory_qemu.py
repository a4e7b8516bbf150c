"""Memory on a real QEMU: guests whose needs are known to the page, and guests that misbehave."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest
from small_guests import GUEST, SAY_READY, SYSTEM

from guestbench.families.memory.findings import find_least
from guestbench.families.memory.search import group_boots
from guestbench.host import process
from guestbench.model import Header, Record
from guestbench.run.store import read_store

pytestmark = pytest.mark.qemu

NEED = """
        movl    $0x600D600D, {last}
        cmpl    $0x600D600D, {last}
        je      3f
        mov     $broken, %esi
        call    say
        jmp     halt
3:
"""
"""Fails unless there is memory at `last`."""
TOUCH = """
        mov     ${first}, %edi
        mov     ${pages}, %ecx
4:      movl    $1, (%edi)
        add     $4096, %edi
        dec     %ecx
        jnz     4b
"""
REBOOT = "        lidt    zero\n        int3\nzero:   .long 0, 0\n"
FLOOD = "5:      mov $spam, %esi\n        call say\n        jmp 5b\n"


def run(
    folder: Path, bodies: dict[str, str], options: str = "", systems: tuple[str, ...] = ("floor",)
) -> tuple[int, str]:
    """Measure the memory of guests made of these bodies, and of systems; exit status and what was said."""
    for name, body in bodies.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "guest.S").write_text(GUEST.format(body=body))
        (folder / name / "system.toml").write_text(SYSTEM.format(name=name))
    names = json.dumps([*systems, *(f"./{name}" for name in bodies)])
    (folder / "run.toml").write_text(
        f'name = "run"\ntitle = "Run"\nsystems = {names}\nmetrics = ["memory"]\n'
        f'[memory]\ncycles = 1\nsettle_s = 1\nwell_s = 0.3\n[platform]\naccel = "tcg"\n{options}'
    )
    argv: list[str | Path] = [
        sys.executable,
        "-m",
        "guestbench",
        "run",
        folder / "run.toml",
        "-o",
        folder / "results",
    ]
    done = process.run(argv, check=False)
    return done.status, done.stderr.decode()


def read(folder: Path) -> tuple[Header, tuple[Record, ...]]:
    """What the run stored."""
    return read_store(folder / "results")


def touched(records: tuple[Record, ...], system: str) -> float:
    """KiB of guest RAM touched by an idle system."""
    (record,) = [r for r in records if r.trial.system == system and r.trial.purpose == "memory"]
    (value,) = [
        s.value for s in record.samples if (s.metric, s.labels) == ("memory.touched", {"state": "idle"})
    ]
    return value


def least(folder: Path, system: str) -> int | None:
    """The least RAM found, in MiB."""
    header, records = read(folder)
    found = find_least(header, records, system)
    assert found is not None
    assert found.finished
    return found.least_mib


def test_memory_that_is_known_is_found_to_the_page(tmp_path: Path) -> None:
    """Every memory figure in every report would be wrong by as much as these are."""
    bodies = {
        "needs-six": NEED.format(last=f"{6 * 2**20 - 64:#x}") + SAY_READY,
        "touches-three": TOUCH.format(first=0x400000, pages=768) + SAY_READY,
    }
    status, said = run(tmp_path, bodies)
    assert status == 0, said
    header, records = read(tmp_path)
    floor = touched(records, "floor")
    # 1,116 KiB were measured for such a guest, SeaBIOS and option ROM included, on QEMU 7.2 of Debian 12.
    assert floor == pytest.approx(1116, rel=0.05)
    assert touched(records, "touches-three") - floor == pytest.approx(3072, abs=16)
    assert least(tmp_path, "floor") == 2
    assert least(tmp_path, "needs-six") == 6
    failed = group_boots(records, "needs-six")[5]
    # The firmware ends its last line without a newline.
    reason = "the guest panicked: Booting from ROM..PANIC: no memory here"
    assert all(r.outcome.reason == reason for r in failed)
    assert len(failed) == header.experiment.settings["memory"]["boots"]
    report = (tmp_path / "results" / "comparison_results.md").read_text()
    assert "| `needs-six`" in report
    series = next(r for r in records if r.trial.system == "floor").series[0]
    assert series.values[-1] == floor
    assert len(series.values) > 10


def test_guests_that_misbehave_are_outcomes_and_the_run_goes_on(tmp_path: Path) -> None:
    """A guest that reboots in a loop, floods its console or hangs would stop the run or hang it."""
    bodies = {
        "reboots": REBOOT,
        "reboots-later": SAY_READY + REBOOT,
        "hangs": "        jmp halt\n",
        "good": SAY_READY,
    }
    status, said = run(tmp_path, bodies, "memory_mib = 16\n", ())
    assert status == 4, said
    assert "Traceback" not in said
    _, records = read(tmp_path)
    reasons = {r.trial.system: r.outcome.reason for r in records if r.trial.purpose == "memory"}
    assert "the guest powered off or reset itself" in reasons["reboots"]
    assert "no '[ready]' within 6 s" in reasons["hangs"]
    assert least(tmp_path, "reboots") is None
    assert least(tmp_path, "good") == 2
    # One that goes off after its marker is a program that has ended, unless it has a shell.
    assert least(tmp_path, "reboots-later") == 2


def test_a_flood_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that prints without end would fill the disk with its log."""
    from guestbench import provision
    from guestbench.definition.systems import load_system
    from guestbench.guest.serial import SerialLog
    from guestbench.guest.watch import watch_boot
    from guestbench.model import Accel, Crashed, Platform
    from guestbench.vmm import LaunchSpec, find_vmm

    monkeypatch.setattr("guestbench.guest.console.FLOOD_BYTES", 1 << 20)
    folder = tmp_path / "floods"
    folder.mkdir()
    (folder / "guest.S").write_text(GUEST.format(body=FLOOD))
    (folder / "system.toml").write_text(SYSTEM.format(name="floods"))
    guest = provision.prepare(load_system(folder, ()), {}, {}, say=lambda _: None, folder=folder)
    platform = Platform(accel=Accel.TCG, memory_mib=16)
    spec = LaunchSpec(boot=guest.system.boot, images=guest.images, platform=platform, folder=tmp_path)
    log = SerialLog()
    # On a host whose cores others use, a mebibyte takes a while.
    patient = msgspec.structs.replace(guest.system, timeout_s=60.0)
    with find_vmm(platform.vmm).start(spec) as machine:
        outcome = watch_boot(machine, patient, log).outcome
    assert isinstance(outcome, Crashed)
    assert "flooded the console" in outcome.reason
    assert len(log.data) < 3 << 20


def test_a_memory_size_that_qemu_refuses_is_an_outcome(tmp_path: Path) -> None:
    """A mistake in `memory_mib` would be a traceback, or a guest that never boots without a word why."""
    status, said = run(tmp_path, {}, options=f"memory_mib = {2**24}\n")
    assert status == 4
    assert "Traceback" not in said
    _, records = read(tmp_path)
    assert "the VMM exited with status 1" in records[0].outcome.reason
    assert "it said: qemu-system-x86_64: " in records[0].outcome.reason
