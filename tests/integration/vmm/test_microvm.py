"""QEMU's machine microvm as a platform: no PCI, devices mapped in memory, and three guests that run on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guestbench import provision
from guestbench.cli import run_cli
from guestbench.definition.systems import load_catalogue
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.model import Accel, Ok, Platform, Record, Unknown
from guestbench.model.machine import MEMORY, RegionKind
from guestbench.run.store import read_store
from guestbench.vmm import Lacking, LaunchSpec, Machine, Need, find_vmm

pytestmark = [pytest.mark.qemu, pytest.mark.network]

PLATFORM = Platform(machine="microvm", memory_mib=128, accel=Accel.TCG)
BOOTS = 6
FLOOR, UNIKERNEL, LINUX = "floor", "reference-unikernel", "linux-minimal"

EXPERIMENT = f"""
name = "microvm"
title = "Three guests on microvm"
systems = ["{FLOOR}", "{UNIKERNEL}", "{LINUX}"]
metrics = ["image", "boot", "memory", "work", "net"]
cycles = 1
warmups = 0
seed = 1
[platform]
machine = "microvm"
memory_mib = 128
accel = "tcg"
[memory]
cycles = 1
settle_s = 2
boots = 1
[work]
cycles = 1
workloads = ["cpu"]
transfer_mib = 1
requests = 20
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """What a run of the three guests gives."""
    folder = tmp_path_factory.mktemp("microvm")
    (folder / "microvm.toml").write_text(EXPERIMENT)
    assert run_cli(["run", str(folder / "microvm.toml"), "-o", str(folder / "run")]) == 0
    assert (folder / "run" / "comparison_results.md").stat().st_size > 10_000
    return read_store(folder / "run")[1]


@contextmanager
def booted(name: str, folder: Path, needs: frozenset[Need] = frozenset()) -> Iterator[Machine]:
    """A guest of the catalogue, ready."""
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue[name], {}, catalogue, say=lambda _: None)
    spec = LaunchSpec(
        boot=guest.system.boot, images=guest.images, platform=PLATFORM, folder=folder, needs=needs
    )
    with find_vmm(PLATFORM.vmm).start(spec) as machine:
        assert isinstance(watch_boot(machine, guest.system, SerialLog()).outcome, Ok)
        yield machine


def values(records: tuple[Record, ...], system: str, metric: str) -> list[float]:
    """All values of a metric of a system."""
    found = [record for record in records if record.trial.system == system]
    return [s.value for record in found for s in record.samples if s.metric == metric]


def test_every_family_gives_figures(records: tuple[Record, ...]) -> None:
    """A machine without PCI could not be compared with one that has it."""
    assert all(r.outcome == Ok() for r in records if r.trial.purpose != "memory-min")
    assert all("-machine microvm," in " ".join(r.argv) for r in records if r.argv)
    for system in (FLOOR, UNIKERNEL, LINUX):
        for metric in ("image.file", "boot.ready", "boot.cpu", "memory.touched", "memory.vmm"):
            assert all(value > 0 for value in values(records, system, metric)), (system, metric)
            assert values(records, system, metric), (system, metric)
        sizes = values(records, system, "memory.tried")
        assert 1 <= min(sizes) < 128
    for system in (UNIKERNEL, LINUX):
        for metric in ("work.cpu", "net.goodput_in", "net.goodput_out", "net.echo"):
            assert values(records, system, metric), (system, metric)
            assert all(value > 0 for value in values(records, system, metric)), (system, metric)
    assert values(records, UNIKERNEL, "net.ready")


def test_the_floor_of_a_small_machine_is_lower(records: tuple[Record, ...]) -> None:
    """Boot times on it would be compared with the floor of a machine with PCI and another firmware."""
    (microvm,) = [r for r in records if r.trial.system == FLOOR and r.trial.purpose == "boot"]
    assert [mark.name for mark in microvm.marks] == ["first byte", "ready"]
    assert min(values(records, FLOOR, "memory.touched")) < 1000


def test_what_faces_the_guests_is_without_pci(tmp_path: Path) -> None:
    """The machine's advantage, fewer devices to attack, would not show, or its network card not count."""
    for name, driven in ((FLOOR, False), (UNIKERNEL, True), (LINUX, True)):
        with booted(name, tmp_path, frozenset({Need.INTROSPECTION})) as machine:
            guest = machine.introspection
            assert not isinstance(guest, Lacking)
            devices, virtio, views = guest.list_devices(), guest.list_virtio(), guest.list_views()
        assert not isinstance(devices, Unknown)
        assert devices.count("virtio-net-device") == 1
        assert not any("pci" in each for each in devices)
        assert 5 < len(devices) < 40
        assert not isinstance(virtio, Unknown)
        assert [each.driven for each in virtio] == [driven]
        assert not isinstance(views, Unknown)
        (memory,) = [view for view in views if MEMORY in view.spaces]
        # PCI's configuration space alone takes 256 MiB.
        assert 0 < memory.size_bytes[RegionKind.DEVICE] < 16 << 20


def test_linux_boots_every_time(tmp_path: Path) -> None:
    """On a busy host two boots of three would hang before the console is there."""
    for _ in range(BOOTS):
        with booted(LINUX, tmp_path):
            pass


def test_a_snapshot_goes_on(tmp_path: Path) -> None:
    """Guests with a shell could be given no work on it without a boot for each."""
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue[LINUX], {}, catalogue, say=lambda _: None)
    snapshot = provision.take_snapshot(guest, PLATFORM, lambda _: None)
    with find_vmm(PLATFORM.vmm).start(snapshot.launch_spec(tmp_path)) as machine:
        assert machine.exit_status() is None
