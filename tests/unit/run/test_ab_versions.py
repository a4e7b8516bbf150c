"""What a word on the command line of `guestbench ab` names: an image, a folder, or a system."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from image_files import elf64, mbr_disk, pvh_note
from replay import FAKE, make_guest, make_header, make_system, write_recording

from guestbench.errors import UsageError
from guestbench.model import Accel, AccelChoice, Experiment, GuestFamily, Kernel
from guestbench.run.ab import NEW, OLD, find_version, make_request, tell_alike
from guestbench.run.prepare import prepare
from guestbench.run.request import Version

KERNEL = elf64(note=pvh_note())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_an_image_is_booted_as_the_one_system_that_boots_such_images(folder: Path) -> None:
    """Whoever has but two files would have to know the catalogue."""
    (folder / "hello.qemu").write_bytes(KERNEL)
    assert find_version("hello.qemu", None) == Version(reference="mirage-unikraft", image=Path("hello.qemu"))
    (folder / "disk.raw").write_bytes(mbr_disk())
    # Debian 13 is distributed as well, and its disk is booted and watched as this one's.
    assert find_version("disk.raw", None).reference == "debian-12-nocloud"


def test_an_image_that_may_be_of_several_systems_is_refused(folder: Path) -> None:
    """The wrong marker would be waited for in each boot."""
    for name in ("vmlinuz", "initrd.gz"):
        (folder / name).write_bytes(b"\x1f\x8b" if name == "initrd.gz" else KERNEL)
    with pytest.raises(UsageError) as told:
        find_version(str(folder), None)
    assert "guestbench" in told.value.hint
    assert find_version(str(folder), "linux-app").reference == "linux-app"


def test_a_system_of_the_catalogue_is_a_version_unless_there_is_such_a_file(folder: Path) -> None:
    """Two guests of the catalogue could not be compared in a word, or a file not be given by its name."""
    assert find_version("linux-app", None) == Version(reference="linux-app")
    (folder / "linux-app").write_bytes(KERNEL)
    assert find_version("linux-app", "floor") == Version(reference="floor", image=Path("linux-app"))


def test_versions_of_the_null_guest_are_compared(folder: Path) -> None:
    """A change of the smallest guest there is would be taken for one of the host."""
    recording = write_recording(folder / "recorded", [(1.0, b"[floor ready]")])
    version = Version(reference="floor", image=recording, told="commit 1234")
    request = make_request("a and b", version, version, metrics=("boot",), cycles=2)
    request = msgspec.structs.replace(request, settings={"platform": {"vmm": "fake"}})
    header = prepare(request, lambda _: None)
    families = {guest.system.name: guest.system.family for guest in header.guests}
    assert families == {"floor": GuestFamily.FLOOR, OLD: GuestFamily.UNIKERNEL, NEW: GuestFamily.UNIKERNEL}
    assert header.find_guest(OLD).origin.detail == "commit 1234"
    assert sum(trial.system == NEW for trial in header.trials) == 3


def test_nothing_is_booted_to_look_at_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--metrics image` would boot a user's guest to find out about KVM."""
    booted: list[str] = []

    def choose(*_: object) -> AccelChoice:
        booted.append("try")
        return AccelChoice(requested=Accel.AUTO, used=Accel.TCG, reason="")

    monkeypatch.setattr("guestbench.run.prepare.choose_accel", choose)
    recording = write_recording(folder / "recorded", [(1.0, b"[floor ready]")])
    version = Version(reference="floor", image=recording)
    for families, expected in ((("image",), []), (("image", "boot"), ["try"])):
        request = make_request("a and b", version, version, metrics=families, cycles=2)
        request = msgspec.structs.replace(request, settings={"platform": {"vmm": "fake"}})
        header = prepare(request, lambda _: None)
        assert booted == expected
        assert header.trials
    assert (
        "nothing is booted"
        in prepare(msgspec.structs.replace(request, metrics=("image",)), lambda _: None).accel.reason
    )


@pytest.mark.parametrize(
    ("change", "text", "told"),
    [
        ({}, b"ready", "the same file: this is an A/A run"),
        ({"boot": Kernel(cmdline="quiet")}, b"ready", "the same file; their definitions differ in: boot"),
        ({"boot": Kernel(cmdline="quiet")}, b"other", "the definitions of OLD and NEW differ in: boot"),
        ({"title": "Another"}, b"other", ""),
    ],
)
def test_how_far_versions_differ_is_told(
    change: dict[str, object], text: bytes, told: str, folder: Path
) -> None:
    """A difference of two definitions would be taken for one of two images, or nothing for something."""
    old = make_guest(make_system(OLD, title="The same"), write_recording(folder / "a", [(1.0, b"ready")]))
    system = make_system(NEW, **{"title": "The same", **change})
    header = make_header(
        (old, make_guest(system, write_recording(folder / "b", [(1.0, text)]))),
        Experiment(name="ab", title="ab", systems=(OLD, NEW), metrics=("boot",), platform=FAKE),
    )
    found = tell_alike(header)
    assert told in found if told else not found
