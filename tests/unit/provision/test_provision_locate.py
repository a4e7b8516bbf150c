"""Finding a system's image files: which of several ways wins, and what is said where there is none."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from guestbench import provision
from guestbench.errors import ImageError, UsageError
from guestbench.model import Disk, DiskFormat, Fetch, Guest, GuestFamily, Kernel, Provision, Role, Say, System
from guestbench.provision import cache
from guestbench.provision.cache import read_image
from guestbench.provision.system_images import plan_build, plan_fetch, plan_taking

BUILD: dict[str, object] = {
    "method": "debian-disk",
    "suite": "bookworm",
    "kernel_package": "linux-image-amd64",
    "packages": ["init"],
    "size_mib": 256,
    "cmdline": "",
}
FETCH = Fetch(url="http://host.invalid/a.qcow2", sums_url="http://host.invalid/SUMS")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def quiet(_: str) -> None:
    """Say nothing."""


def make_system(name: str = "debian", boot: Kernel | Disk | None = None, **ways: object) -> System:
    """A system that is provisioned in the given ways."""
    return System(
        name=name,
        title=name,
        family=GuestFamily.LINUX,
        boot=boot or Disk(),
        ready="login: ",
        timeout_s=1,
        provision=msgspec.convert(ways, Provision),
    )


def put_image(plan: cache.Plan, *names: str) -> Path:
    """Put images into the cache as if they had been made: files with their names in them."""

    def build(work: Path, say: Say) -> cache.Made:
        for name in names:
            (work / name).write_text(f"{plan.doing}: {name}")
        return cache.Made(files=names, packages=(cache.Package(name="init", version="1"),))

    return cache.make(plan._replace(build=build), quiet).folder


BOTH = make_system(build=BUILD, fetch=FETCH, differences=("it differs",))


def put_built() -> Path:
    """Put the image of `BOTH` into the cache as if it had been built."""
    return put_image(plan_build(BOTH), "disk.qcow2")


def test_missing_image_names_the_command_that_makes_it() -> None:
    """A user would not know how to come by an image."""
    for ways, hint in (
        ({"build": BUILD, "fetch": FETCH}, "guestbench systems build debian"),
        ({"fetch": FETCH}, "guestbench systems fetch debian"),
        ({}, "guestbench run --system debian=PATH"),
        ({"path": "dist/x", "hint": "make x"}, "make x"),
    ):
        with pytest.raises(ImageError, match="debian has no image") as caught:
            provision.locate(make_system(**ways), {}, {})
        assert caught.value.hint == hint


def test_built_image_is_found_with_its_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report would pass a built image off as the official one."""
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 1, 2, 3, 4, 5, 4, 2, 0)))
    put_built()
    guest = provision.locate(BOTH, {}, {})
    assert guest.origin.kind == "built"
    assert guest.origin.differences == ("it differs",)
    assert guest.origin.detail == "from Debian packages (1 in all), on 2026-01-02"


def test_official_image_wins_until_the_user_builds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`systems fetch` or `systems build` would have no effect where the other image is there already."""
    put_built()
    put_image(plan_fetch(BOTH), "disk.qcow2")
    assert provision.locate(BOTH, {}, {}).origin.kind == "fetched"
    provision.build(BOTH, {}, quiet)
    assert provision.locate(BOTH, {}, {}).origin.kind == "built"
    cache.write_choice("debian", "fetched")
    assert provision.locate(BOTH, {}, {}).origin.kind == "fetched"


def test_image_of_another_recipe_is_not_taken() -> None:
    """A changed recipe would boot the old image."""
    put_built()
    other = make_system(build={**BUILD, "cmdline": "quiet"})
    with pytest.raises(ImageError):
        provision.locate(other, {}, {})


def test_truncated_cache_file_counts_as_missing() -> None:
    """A disk that was full once would leave an image that never boots."""
    folder = put_built()
    (folder / "disk.qcow2").write_text("")
    with pytest.raises(ImageError):
        provision.locate(BOTH, {}, {})


def test_path_of_the_user_wins(tmp_path: Path) -> None:
    """`--system NAME=PATH` would be ignored where an image is in the cache."""
    put_built()
    mine = tmp_path / "mine.raw"
    mine.write_bytes(b"\0" * 1024)
    guest = provision.locate(BOTH, {"debian": mine}, {})
    assert guest.origin.kind == "given"
    assert guest.pristine[Role.DISK].path == str(mine)
    assert guest.system.boot == Disk(format=DiskFormat.RAW)


def test_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """A mistyped path would boot another image, or end in a traceback."""
    with pytest.raises(ImageError, match=r"nowhere\.qcow2 does not exist"):
        provision.locate(BOTH, {"debian": tmp_path / "nowhere.qcow2"}, {})


def test_file_in_the_working_folder_is_found(tmp_path: Path) -> None:
    """The unikernel image would not be found where the seed experiment puts it."""
    system = make_system("mirage", Kernel(), path="dist/hello.qemu")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "hello.qemu").write_bytes(b"\x7fELF")
    guest = provision.locate(system, {}, {})
    assert guest.pristine[Role.KERNEL].path == str(tmp_path / "dist" / "hello.qemu")


def test_several_images_are_given_as_a_folder(tmp_path: Path) -> None:
    """A system of kernel and initrd could not be given, or would boot without its initrd."""
    system = make_system("tiny", Kernel(initrd=True))
    (tmp_path / "vmlinuz").write_bytes(b"kernel")
    with pytest.raises(ImageError, match=r"initrd\.gz does not exist"):
        provision.locate(system, {"tiny": tmp_path}, {})
    (tmp_path / "initrd.gz").write_bytes(b"initrd")
    guest = provision.locate(system, {"tiny": tmp_path}, {})
    assert set(guest.images) == {Role.KERNEL, Role.INITRD}
    with pytest.raises(ImageError, match="give a folder"):
        provision.locate(system, {"tiny": tmp_path / "vmlinuz"}, {})


def test_floor_is_built_once_and_again_when_its_source_changes(tmp_path: Path) -> None:
    """A user who changes a guest's source would go on measuring the old guest."""
    source = tmp_path / "floor.S"
    text = ".globl _start\n_start: hlt\n"
    source.write_text(text)
    system = make_system("floor", Kernel(), build={"method": "assembly", "source": "floor.S"})

    def prepare() -> Guest:
        return provision.prepare(system, {}, {}, say=quiet, folder=tmp_path)

    first = prepare()
    assert prepare().pristine == first.pristine
    source.write_text(text + "nop\n")
    assert prepare().pristine != first.pristine


def test_nothing_is_built_where_that_is_forbidden(tmp_path: Path) -> None:
    """`--no-build` would start a build of minutes."""
    (tmp_path / "floor.S").write_text(".globl _start\n_start: hlt\n")
    system = make_system("floor", Kernel(), build={"method": "assembly", "source": "floor.S"})
    with pytest.raises(ImageError, match="has no image"):
        provision.prepare(system, {}, {}, say=quiet, build=False, folder=tmp_path)


def test_system_without_recipe_cannot_be_built() -> None:
    """`systems build mirage-unikraft` would end in a traceback."""
    with pytest.raises(UsageError, match="no recipe"):
        provision.build(make_system(path="x"), {}, quiet)


SHARED = make_system("direct", Kernel(initrd=True, disk=DiskFormat.QCOW2), share="debian")


def test_shared_disk_and_the_files_taken_out_of_it_are_found() -> None:
    """The direct boot would measure another disk than the boot through the boot loader."""
    put_built()
    owner = provision.locate(BOTH, {}, {})
    catalogue = {"debian": BOTH}
    with pytest.raises(ImageError) as caught:
        provision.locate(SHARED, {}, catalogue)
    assert caught.value.hint == "guestbench systems build direct"
    put_image(plan_taking(SHARED, owner.pristine[Role.DISK]), "vmlinuz", "initrd")
    guest = provision.locate(SHARED, {}, catalogue)
    assert guest.images[Role.DISK] == owner.images[Role.DISK]
    assert guest.origin.differences == ("it differs",)
    assert owner.origin.detail in guest.origin.detail


def test_disk_given_for_the_owner_is_shared_too(tmp_path: Path) -> None:
    """`--system debian=PATH` would boot one disk by GRUB and another directly."""
    mine = tmp_path / "mine.raw"
    mine.write_bytes(b"\0" * 1024)
    put_image(plan_taking(SHARED, read_image(mine)), "vmlinuz", "initrd")
    for given in ({"debian": mine}, {"direct": mine}):
        guest = provision.locate(SHARED, given, {"debian": BOTH})
        assert guest.images[Role.DISK].path == str(mine)
        assert guest.system.boot == Kernel(initrd=True, disk=DiskFormat.RAW)
