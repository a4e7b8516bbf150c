"""The attack surface of real guests: right where it is known by construction, the same inside and outside."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import misbehaving_guest
import msgspec
import pytest
from small_guests import GUEST, SAY_READY, SYSTEM

from guestbench import provision
from guestbench.cli.systems.exec import execute
from guestbench.definition.systems import load_system
from guestbench.families.surface.probe import measure_running
from guestbench.guest.serial import SerialLog
from guestbench.host import process
from guestbench.images.inspection import Inspection
from guestbench.model import Accel, Ok, Platform, Provenance, Record
from guestbench.run.store import read_store
from guestbench.vmm import LaunchSpec, Need, find_vmm

pytestmark = [pytest.mark.qemu, pytest.mark.network]

Values = dict[tuple[str, str], float]


def run(folder: Path, *systems: str, boots: int = 2) -> tuple[Record, ...]:
    """Measure the attack surface of these systems of the default experiment."""
    argv = [sys.executable, "-m", "guestbench", "run", "seed", "--metrics", "surface", "--accel", "tcg"]
    argv += ["--set", f"surface.boots={boots}", "-o", str(folder)]
    for system in systems:
        argv += ["--only-system", system]
    process.run(argv)
    _, records = read_store(folder)
    assert all(isinstance(record.outcome, Ok) for record in records)
    return records


def find(records: tuple[Record, ...], system: str, purpose: str = "surface") -> Record:
    """The first record of this system and purpose."""
    return next(r for r in records if r.trial.system == system and r.trial.purpose == purpose)


def values(record: Record) -> Values:
    """The values of a record by metric and the value of their label."""
    return {
        (s.metric.removeprefix("surface."), next(iter(s.labels.values()), "")): s.value
        for s in record.samples
    }


def ask(system: str, command: str) -> list[str]:
    """The lines that a command prints in a guest."""
    answer = execute(system, command, None, Platform(accel=Accel.TCG))
    assert answer.status == 0, answer.stderr
    return answer.stdout.decode().splitlines()


def test_what_is_known_by_construction_is_what_is_found(tmp_path: Path) -> None:
    """The figures of guests of which everything is known would be wrong, and so every other."""
    records = run(tmp_path / "run", "floor", "linux-minimal")
    floor = find(records, "floor")
    bare = values(floor)
    assert (bare["paging", ""], bare["nx", ""], bare["null_mapped", ""]) == (0, 0, 1)
    assert bare["wx_pages", ""] == 512 * 256
    assert {s.metric for s in floor.samples if s.provenance is Provenance.DECLARED} >= {"surface.users"}
    assert "surface.open_tcp" in {gap.metric for gap in floor.gaps}
    assert values(find(records, "floor", "surface-image"))["syscalls", ""] == 0

    linux = values(find(records, "linux-minimal"))
    assert (linux["open_tcp", ""], linux["closed_tcp", ""], linux["open_udp", ""]) == (0, 65535, 0)
    assert (linux["users", ""], linux["suid", ""], linux["sgid", ""]) == (1, 0, 0)
    # init and its getty or login shell.
    assert 1 <= linux["processes", "user"] <= 3
    assert linux["modules", ""] == len(ask("linux-minimal", "cat /etc/modules"))
    assert 380 <= linux["syscalls", ""] <= 470
    assert (linux["wx_pages", ""], linux["nx", ""], linux["write_protect", ""]) == (0, 1, 1)
    assert linux["null_mapped", ""] == 0
    assert linux["virtio_driven", ""] == 1

    report = (tmp_path / "run" / "comparison_results.md").read_text()
    assert "### What each gives up" in report
    for record in records:
        for name in record.artifacts.values():
            assert (tmp_path / "run" / name).is_file()


def test_the_reference_unikernel_is_protected_as_it_was_built(tmp_path: Path) -> None:
    """No guest would show that the probe can find full protection, only that it finds what is missing."""
    records = run(tmp_path / "run", "reference-unikernel")
    found = values(find(records, "reference-unikernel"))
    assert (found["paging", ""], found["nx", ""], found["write_protect", ""]) == (1, 1, 1)
    assert (found["wx_pages", ""], found["text_writable", ""], found["user_pages", ""]) == (0, 0, 0)
    assert (found["null_mapped", ""], found["stack_guard", ""]) == (0, 1)
    assert (found["open_tcp", ""], found["closed_tcp", ""]) == (4, 65_531)
    assert found["virtio_driven", ""] == 1
    image = find(records, "reference-unikernel", "surface-image")
    inside = values(image)
    assert inside["wx_segments", ""] == 0
    assert 30 <= inside["syscalls", ""] == inside["syscall_handlers", ""] <= 120
    # The kernel itself moves from boot to boot, not only the program.
    bases = {
        s.value
        for r in records
        if r.trial.purpose in ("surface", "surface-boot")
        for s in r.samples
        if s.metric == "surface.text_base"
    }
    assert len(bases) > 1


def test_a_guest_that_misbehaves_shows_exactly_that(tmp_path: Path) -> None:
    """One page that can be written and executed, one open port or a missing guard page would go unseen."""
    platform = Platform(accel=Accel.TCG)
    system = misbehaving_guest.SYSTEM
    spec = LaunchSpec(
        boot=system.boot,
        images=misbehaving_guest.build(tmp_path),
        platform=platform,
        folder=tmp_path,
        needs=frozenset({Need.INTROSPECTION, Need.LINK}),
    )
    with find_vmm(platform.vmm).start(spec) as machine:
        result = measure_running(machine, system, SerialLog(), resumed=False)
    assert isinstance(result.outcome, Ok)
    found = {s.metric.removeprefix("surface."): s for s in result.samples}
    assert found["wx_pages"].value == 1
    assert (found["open_tcp"].value, found["open_tcp"].detail) == (1, str(misbehaving_guest.OPEN_PORT))
    assert found["closed_tcp"].value == 65_534
    assert found["stack_guard"].value == 0
    assert (found["nx"].value, found["write_protect"].value, found["null_mapped"].value) == (1, 1, 0)
    assert found["text_writable"].value == 0


def test_a_guest_that_powers_off_is_looked_at_still(tmp_path: Path) -> None:
    """A program that runs to its end would stop the run, or its memory protection be unknown."""
    power_off = "        mov $0x604, %dx\n        mov $0x2000, %ax\n        outw %ax, %dx\n"
    (tmp_path / "guest.S").write_text(GUEST.format(body=SAY_READY + power_off))
    (tmp_path / "system.toml").write_text(SYSTEM.format(name="ends"))
    guest = provision.prepare(load_system(tmp_path, ()), {}, {}, say=lambda _: None, folder=tmp_path)
    platform = Platform(accel=Accel.TCG)
    for there in (True, False):
        spec = LaunchSpec(
            boot=guest.system.boot,
            images=guest.images,
            platform=platform,
            folder=tmp_path,
            needs=frozenset({Need.INTROSPECTION}),
        )
        with find_vmm(platform.vmm).start(spec) as machine:
            if not there:
                assert machine.pid is not None
                os.kill(machine.pid, signal.SIGKILL)
                assert machine.wait(30) is not None  # a killed QEMU answers until the kernel has ended it
            result = measure_running(machine, guest.system, SerialLog(), resumed=not there)
        assert isinstance(result.outcome, Ok)
        seen = {sample.metric for sample in result.samples}
        missing = {gap.metric for gap in result.gaps}
        # Where QEMU has ended, what cannot be read any more is missing, and the run goes on.
        assert "surface.paging" in (seen if there else missing)


@pytest.mark.image
@pytest.mark.slow
def test_debian_is_the_same_inside_and_from_its_image(tmp_path: Path) -> None:
    """Either the guest or its image would be read wrongly, and nobody could tell which."""
    records = run(tmp_path / "run", "debian-12-nocloud", boots=1)
    record = find(records, "debian-12-nocloud")
    live = values(record)
    # As measured for Debian 12 before; the number of packages, and what they bring, moves with its mirrors.
    assert live["syscalls", ""] == pytest.approx(430, abs=3)
    assert live["modules", ""] == pytest.approx(53, abs=5)
    assert live["users", ""] == pytest.approx(25, abs=2)
    assert live["suid", ""] == pytest.approx(11, abs=1)
    assert live["sgid", ""] == 4
    assert (live["wx_pages", ""], live["nx", ""], live["null_mapped", ""]) == (0, 1, 0)
    tcp = next(s for s in record.samples if s.metric == "surface.open_tcp")
    assert (tcp.value, tcp.detail) == (1, "5355")
    assert live["closed_tcp", ""] == 65_534
    # It takes about 25 s from the snapshot; 90 are allowed on a quiet host.
    assert record.wall_ns / 1e9 < 5 * 90

    image = find(records, "debian-12-nocloud", "surface-image")
    inspection = msgspec.json.decode(
        (tmp_path / "run" / image.artifacts["inspect-disk"]).read_bytes(), type=Inspection
    )
    assert inspection.files is not None
    files = inspection.files.value
    assert files is not None and files.packages.value is not None
    assert files.suid.value is not None and files.users.value is not None
    packages = ask("debian-12-nocloud", "dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\\n'")
    installed = {line.removeprefix("installed ") for line in packages if line.startswith("installed ")}
    assert {f"{package.name} {package.version}" for package in files.packages.value} == installed
    suid = (tmp_path / "run" / record.artifacts["surface-suid"]).read_text().splitlines()
    assert {file.path for file in files.suid.value} == set(suid)
    passwd = (tmp_path / "run" / record.artifacts["surface-passwd"]).read_text().splitlines()
    assert {user.name for user in files.users.value} == {line.partition(":")[0] for line in passwd}
    assert image.wall_ns / 1e9 < 5 * 30
