"""Snapshots on a real QEMU: a guest that is ready at once, as often as one likes, its image untouched."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import msgspec
import pytest

from guestbench import provision
from guestbench.cli.systems.exec import execute
from guestbench.definition.systems import load_catalogue
from guestbench.errors import TrialError, UsageError
from guestbench.guest.programs import open_tools
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell, open_shell
from guestbench.model import Accel, Guest, Platform, Role, Start
from guestbench.provision.snapshot import Snapshot
from guestbench.vmm import Identity, Machine, find_vmm, qemu

pytestmark = [pytest.mark.qemu, pytest.mark.network]

PLATFORM = Platform(accel=Accel.TCG)


def prepare(name: str) -> Guest:
    """A guest of the catalogue."""
    catalogue = load_catalogue()
    return provision.prepare(catalogue[name], {}, catalogue, say=lambda _: None)


def take(guest: Guest, said: list[str] | None = None, platform: Platform = PLATFORM) -> Snapshot:
    """Its snapshot; what is said about making it goes into `said`."""
    talk = said if said is not None else []
    return provision.take_snapshot(guest, platform, talk.append)


def enter(snapshot: Snapshot, machine: Machine) -> Shell:
    """A shell in a machine that goes on from a snapshot."""
    login = snapshot.guest.system.login
    assert login is not None
    return open_shell(machine, login, SerialLog())


def hash_images(guest: Guest) -> dict[Role, str]:
    """The digests of its images as they are now."""
    return {
        role: hashlib.sha256(Path(image.path).read_bytes()).hexdigest()
        for role, image in guest.images.items()
    }


def test_two_guests_go_on_from_one_snapshot_at_the_same_time(tmp_path: Path) -> None:
    """Probes could not run side by side, or one would see what the other did."""
    guest = prepare("linux-minimal")
    snapshot = take(guest)
    said: list[str] = []
    assert take(guest, said) == snapshot
    assert said == []
    start = find_vmm(PLATFORM.vmm).start
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with (
        start(snapshot.launch_spec(folders[0])) as one,
        start(snapshot.launch_spec(folders[1])) as two,
    ):
        shells = [enter(snapshot, one), enter(snapshot, two)]
        shells[0].run("echo mine >/file")
        assert shells[0].run("cat /file").stdout == b"mine\n"
        assert shells[1].run("cat /file").status == 1


def test_an_open_shell_goes_on_without_a_login(tmp_path: Path) -> None:
    """Each trial of work would wait for a login; or what one did would be there for the next."""
    guest = prepare("linux-minimal")
    guest = msgspec.structs.replace(guest, system=msgspec.structs.replace(guest.system, work=None))
    snapshot = provision.take_snapshot(guest, PLATFORM, lambda _: None, Start(with_shell=True))
    assert snapshot.state != take(guest).state
    for _ in range(2):
        log = SerialLog()
        with find_vmm(PLATFORM.vmm).start(snapshot.launch_spec(tmp_path)) as machine:
            shell = open_tools(machine, guest.system, log, snapshot.shell)
            assert shell.run("cat /file; echo mine >/file").stdout == b""
            assert shell.run("cat /file; exit 3").stdout == b"mine\n"
            long = shell.run("head -c 200000 /dev/zero")
            assert (long.status, long.stdout) == (0, bytes(200_000))
        assert b"ogin" not in log.data


def test_another_machine_gets_another_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state of 512 MiB would be resumed with 128, or one of another QEMU or image, and crash."""
    guest = prepare("linux-minimal")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    smaller = msgspec.structs.replace(PLATFORM, memory_mib=128)
    states = {take(guest).state, take(guest, platform=smaller).state}
    monkeypatch.setattr(qemu, "identify", lambda: Identity("another QEMU", "/qemu"))
    states.add(take(guest).state)
    assert len(states) == 3


def test_a_guest_that_does_not_get_ready_has_no_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every later probe would start from a guest that hangs."""
    guest = prepare("linux-minimal")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    system = msgspec.structs.replace(guest.system, ready="never said", timeout_s=1.0)
    with pytest.raises(TrialError, match="linux-minimal did not get ready for a snapshot: no 'never said'"):
        take(msgspec.structs.replace(guest, system=system))
    assert not list((tmp_path / "guestbench" / "images").glob("*"))


@pytest.mark.image
@pytest.mark.slow
def test_debian_goes_on_at_once_and_its_image_stays_as_it_was(tmp_path: Path) -> None:
    """A probe would cost a boot of a minute, or what it writes would be in the image that others measure."""
    guest = prepare("debian-12-nocloud")
    before = hash_images(guest)
    snapshot = take(guest)
    kept = hash_images(snapshot.guest)
    for _ in range(2):
        began = time.monotonic()
        with find_vmm(PLATFORM.vmm).start(snapshot.launch_spec(tmp_path)) as machine:
            # It takes 0.3 s; a boot takes 45, and more where this takes longer.
            assert time.monotonic() - began < 15
            shell = enter(snapshot, machine)
            assert shell.run("ls /var/tmp/written-by-a-probe").status != 0
            assert shell.run("echo x >/var/tmp/written-by-a-probe; sync").status == 0
    assert hash_images(guest) == before
    assert hash_images(snapshot.guest) == kept


def test_exec_gives_a_commands_output_and_status() -> None:
    """`guestbench systems exec` would not be usable in a script."""
    answer = execute("linux-minimal", "echo out; echo err >&2; exit 7", None, Platform(accel=Accel.TCG))
    assert (answer.status, answer.stdout, answer.stderr) == (7, b"out\n", b"err\n")
    with pytest.raises(UsageError, match="floor has no"):
        execute("floor", "true", None, Platform(accel=Accel.TCG))
