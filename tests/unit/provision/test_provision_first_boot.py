"""Settling a disk: who is settled, when a guest counts as idle, and what is said where it does not work."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guestbench.errors import HostError, TrialError
from guestbench.host import process
from guestbench.model import (
    Disk,
    Guest,
    GuestFamily,
    Image,
    Kernel,
    Origin,
    Platform,
    Provision,
    Role,
    System,
)
from guestbench.provision import cache, first_boot
from guestbench.provision.cache import read_image
from guestbench.vmm import Chunk, Lacking, LaunchSpec, Machine, PowerButton, qemu
from guestbench.vmm.fake import FakeMachine as ReplayingMachine


class FakeMachine(ReplayingMachine):
    """A guest that prints what it is given, idles, and powers off when told to unless it is stubborn."""

    def __init__(self, output: bytes, *, stubborn: bool) -> None:
        super().__init__((), None, ())
        self._output = [Chunk(t_ns=1, data=output)]
        self._stubborn = stubborn
        self._off = False
        self._clock = itertools.count(1)
        self.presses = 0
        self.power_button: PowerButton | Lacking = self

    def press(self) -> None:
        """Count it, and obey."""
        self.presses += 1
        self._off = not self._stubborn

    def now_ns(self) -> int:
        """Time passes with each look at the clock."""
        return next(self._clock) * 1_000_000_000

    def read_serial(self, timeout_s: float) -> Chunk | None:
        """What is left to print; nothing after that."""
        return self._output.pop() if self._output else None

    def cpu_ns(self) -> int | None:
        """It uses none."""
        return 0

    def exit_status(self) -> int | None:
        """Exited once it is off."""
        return 0 if self._off else None

    def wait(self, timeout_s: float) -> int | None:
        """As `exit_status`."""
        return self.exit_status()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small qcow2 image, and limits that suit a machine that takes no time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(first_boot, "IDLE_FOR_S", 0.01)
    monkeypatch.setattr(first_boot, "POWER_OFF_S", 0.01)
    path = tmp_path / "disk.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"])
    return path


def make_guest(disk: Path, *, settle: bool = True, share: str = "") -> Guest:
    """A guest that boots from this disk."""
    system = System(
        name="debian",
        title="Debian",
        family=GuestFamily.LINUX,
        boot=Disk(),
        ready="login: ",
        timeout_s=10,
        provision=Provision(settle=settle, share=share),
    )
    images = {Role.DISK: read_image(disk)}
    return Guest(system=system, images=images, pristine=images, origin=Origin(kind="built", detail=""))


def use_machine(monkeypatch: pytest.MonkeyPatch, machine: FakeMachine) -> list[LaunchSpec]:
    """Boot this machine instead of QEMU; returns the list of what is started."""
    started: list[LaunchSpec] = []

    @contextmanager
    def start(spec: LaunchSpec) -> Iterator[Machine]:
        started.append(spec)
        yield machine

    monkeypatch.setattr(qemu, "start", start)
    return started


def quiet(_: str) -> None:
    """Say nothing."""


def test_disk_is_settled_once_on_a_layer_of_its_own(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First boots would be measured among the others, or the image itself changed."""
    before = disk.read_bytes()
    machine = FakeMachine(b"debian login: ", stubborn=False)
    started = use_machine(monkeypatch, machine)
    guest = first_boot.settle(make_guest(disk), Platform(), quiet)
    again = first_boot.settle(make_guest(disk), Platform(), quiet)
    assert guest == again
    assert len(started) == 1
    assert started[0].writable
    assert started[0].images[Role.DISK].path != str(disk)
    assert machine.presses == 1
    assert guest.origin.settled
    assert guest.pristine[Role.DISK].path == str(disk)
    assert guest.images[Role.DISK].path != str(disk)
    assert disk.read_bytes() == before


def test_a_machine_without_a_power_button_is_told(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk would be cut off in the middle of its first boot, and every later boot repair it."""
    machine = FakeMachine(b"debian login: ", stubborn=False)
    machine.power_button = Lacking(reason="this machine has no ACPI")
    use_machine(monkeypatch, machine)
    with pytest.raises(HostError, match="debian cannot be asked to power off: this machine has no ACPI"):
        first_boot.settle(make_guest(disk), Platform(), quiet)


def test_layer_rests_on_the_pristine_image(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settled disk would be empty."""
    use_machine(monkeypatch, FakeMachine(b"login: ", stubborn=False))
    guest = first_boot.settle(make_guest(disk), Platform(), quiet)
    info = process.run(["qemu-img", "info", guest.images[Role.DISK].path]).stdout.decode()
    assert f"backing file: {disk}" in info


def test_system_that_shares_a_disk_boots_the_settled_one(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The direct boot would be a first boot every time, and the one through the boot loader not."""
    use_machine(monkeypatch, FakeMachine(b"login: ", stubborn=False))
    owner = first_boot.settle(make_guest(disk), Platform(), quiet)
    other = first_boot.settle(make_guest(disk, settle=False, share="debian"), Platform(), quiet)
    assert owner.images == other.images


def test_guests_that_need_no_settling_are_left_as_they_are(disk: Path) -> None:
    """A run of the floor would boot it for nothing."""
    unsettled = make_guest(disk, settle=False)
    assert first_boot.settle(unsettled, Platform(), quiet) is unsettled
    replayed = make_guest(disk)
    assert first_boot.settle(replayed, Platform(vmm="fake"), quiet) is replayed
    image = Image(path="/k", size_bytes=1, mtime_ns=1, sha256="0")
    system = System(
        name="k", title="k", family=GuestFamily.FLOOR, boot=Kernel(), ready="x", timeout_s=1,
        provision=Provision(settle=True),
    )  # fmt: skip
    images = {Role.KERNEL: image}
    diskless = Guest(system=system, images=images, pristine=images, origin=Origin(kind="built", detail=""))
    assert first_boot.settle(diskless, Platform(), quiet) is diskless


def test_guest_that_does_not_get_ready_is_an_error_and_leaves_no_layer(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-made layer would be measured by the next run."""
    use_machine(monkeypatch, FakeMachine(b"panic", stubborn=False))
    with pytest.raises(TrialError, match="did not get ready in its first boot") as caught:
        first_boot.settle(make_guest(disk), Platform(), quiet)
    assert caught.value.hint == "guestbench systems boot debian"
    assert not list((cache.cache_folder() / "images").glob("*"))


def test_guest_that_does_not_power_off_is_an_error(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk cut off in the middle of writing would be measured."""
    use_machine(monkeypatch, FakeMachine(b"login: ", stubborn=True))
    with pytest.raises(TrialError, match="did not power off"):
        first_boot.settle(make_guest(disk), Platform(), quiet)
