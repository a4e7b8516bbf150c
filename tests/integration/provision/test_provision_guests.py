"""The guests that the project builds itself, built for real and booted on a real QEMU."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.host import process
from guestbench.inspect.system import open_system
from guestbench.model import Accel, Guest, Ok, Platform, Role
from guestbench.provision import cache
from guestbench.provision.inspector import build_inspector
from guestbench.provision.system_images import plan_build
from guestbench.vmm import LaunchSpec, Machine, find_vmm

PLATFORM = Platform(accel=Accel.TCG)
ANSWER_S = 60.0


def quiet(_: str) -> None:
    """Say nothing."""


def prepare(name: str) -> Guest:
    """A guest of the catalogue, from the user's cache if it is there: a second test run is quick."""
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue[name], {}, catalogue, say=quiet)
    provision.check(guest)
    return guest


def boot(guest: Guest, folder: Path) -> tuple[str, list[str]]:
    """Boot to ready; returns the serial log, and the names of the milestones in their order."""
    log = SerialLog()
    spec = make_spec(guest, folder)
    with find_vmm(PLATFORM.vmm).start(spec) as machine:
        result = watch_boot(machine, guest.system, log)
    assert isinstance(result.outcome, Ok), result.outcome.reason
    return log.data.decode("utf-8", "replace"), [mark.name for mark in result.marks]


def make_spec(guest: Guest, folder: Path) -> LaunchSpec:
    """How to start a guest."""
    return LaunchSpec(boot=guest.system.boot, images=guest.images, platform=PLATFORM, folder=folder)


def ask(machine: Machine, command: bytes, answer: bytes) -> str:
    """Type a command; everything printed up to `answer`, a regular expression."""
    machine.write_serial(command + b"\n")
    seen, end = b"", time.monotonic() + ANSWER_S
    while time.monotonic() < end:
        chunk = machine.read_serial(1.0)
        seen += chunk.data if chunk else b""
        if re.search(answer, seen):
            return seen.decode("utf-8", "replace")
    raise AssertionError(f"no {answer!r} in {seen!r}")


@pytest.mark.qemu
def test_floor_boots_and_is_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There would be nothing to subtract from the other systems' boot times."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    guest = prepare("floor")
    assert guest.origin.kind == "built"
    assert guest.pristine[Role.KERNEL].size_bytes < 1024
    log, marks = boot(guest, tmp_path)
    assert log.endswith(("[floor ready]", "[floor ready]\r\n"))
    assert marks[-1] == "ready"


@pytest.mark.qemu
@pytest.mark.network
def test_minimal_linux_has_a_login_a_shell_and_a_network(tmp_path: Path) -> None:
    """The minimal Linux would not be comparable: no shell behind its prompt, or no network."""
    guest = prepare("linux-minimal")
    with find_vmm(PLATFORM.vmm).start(make_spec(guest, tmp_path)) as machine:
        result = watch_boot(machine, guest.system, SerialLog())
        assert isinstance(result.outcome, Ok), result.outcome.reason
        names = [mark.name for mark in result.marks]
        assert names == ["first byte", *(each.name for each in guest.system.milestones), "ready"]
        ask(machine, b"root", rb"# ")
        # DHCP goes on beside the login prompt.
        waiting = b"until ip -4 address show eth0 | grep -q inet; do sleep 1; done"
        ask(machine, waiting + b"; ip -4 address show eth0", rb"inet 10\.0\.2\.15/24")
        ask(machine, b"ping -c 1 10.0.2.2", rb"1 packets received")


@pytest.mark.network
def test_minimal_linux_is_the_same_when_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two users with the same packages would measure different images."""
    first = prepare("linux-minimal")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    again = prepare("linux-minimal")
    assert {r: i.sha256 for r, i in first.images.items()} == {r: i.sha256 for r, i in again.images.items()}


@pytest.mark.image
@pytest.mark.network
@pytest.mark.slow
def test_debian_disk_is_what_its_recipe_says(tmp_path: Path) -> None:
    """The built image would not stand for the official one."""
    system = load_catalogue()["debian-12-nocloud"]
    built = cache.make(plan_build(system), quiet)
    path = built.folder / "disk.qcow2"
    there = {package.name for package in built.made.packages}
    assert {"grub-cloud-amd64", "systemd-resolved", "netplan.io", "unattended-upgrades"} <= there
    assert not {"openssh-server", "procps", "cloud-init"} & there
    read = {}
    with open_system(path, build_inspector(quiet), tmp_path) as found:
        assert [part.number for part in found.partitions if part.is_root] == [1]
        assert found.tree.value is not None
        for name in ("/etc/machine-id", "/etc/apt/sources.list", "/etc/shadow"):
            entry = found.tree.value.find_file(name)
            assert entry is not None
            read[name] = found.tree.value.read_whole(entry, 1 << 20).decode()
    assert read["/etc/machine-id"] == ""
    # The mirror it was built from is this host's affair.
    assert "deb " not in read["/etc/apt/sources.list"]
    assert "root::" in read["/etc/shadow"]


@pytest.mark.qemu
@pytest.mark.image
@pytest.mark.network
@pytest.mark.slow
def test_settled_debian_boots_by_grub_and_directly_and_its_image_is_unchanged(tmp_path: Path) -> None:
    """First boots would be measured as ordinary ones, or a run would change the image it measures."""
    guest = provision.settle(prepare("debian-12-nocloud"), PLATFORM, quiet)
    assert guest.origin.settled
    log, marks = boot(guest, tmp_path)
    assert marks == ["first byte", *(each.name for each in guest.system.milestones), "ready"]
    assert "Initializing machine ID" not in log
    direct = provision.settle(prepare("debian-12-direct"), PLATFORM, quiet)
    assert direct.images[Role.DISK] == guest.images[Role.DISK]
    log, marks = boot(direct, tmp_path)
    assert "GRUB" not in log
    for image in (guest.pristine[Role.DISK], guest.images[Role.DISK]):
        assert cache.hash_file(Path(image.path)) == image.sha256
    process.run(["qemu-img", "check", "-q", guest.images[Role.DISK].path])
