"""Finding a system's image files: which of several ways wins, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from guestbench import provision
from guestbench.errors import ImageError, UsageError
from guestbench.model import (
    Assembly,
    DebianDisk,
    Disk,
    DiskFormat,
    Fetch,
    Frozen,
    Guest,
    GuestFamily,
    Kernel,
    Provision,
    Role,
    System,
)
from guestbench.provision import cache, shared
from guestbench.provision.locate import build_sources

BUILD = DebianDisk(suite="bookworm", packages=("init",), size_mib=256, cmdline="")
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


def put_image(system: str, recipe: Frozen, kind: str, names: tuple[str, ...], content: str = "") -> Path:
    """Put an image into the cache as if it had been made; returns its folder."""
    sources = build_sources(recipe, Path()) if isinstance(recipe, DebianDisk) else {}
    with cache.workspace(system) as work:
        for name in names:
            (work / name).write_text(content or f"{kind} {name}")
        manifest = cache.Manifest(
            system=system,
            kind=kind,
            key=cache.recipe_key(recipe, sources),
            builder_version=cache.BUILDER_VERSION,
            created="2026-01-02T03:04:05Z",
            recipe=msgspec.Raw(b"{}"),
            files=tuple(cache.describe_file(work / name) for name in names),
            packages=(cache.Package(name="init", version="1"),),
        )
        return cache.publish(work, manifest, names)


BOTH = make_system(build=BUILD, fetch=FETCH, differences=("it differs",))


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


def test_built_image_is_found_with_its_differences() -> None:
    """The report would pass a built image off as the official one."""
    put_image("debian", BUILD, "built", ("disk.qcow2",))
    guest = provision.locate(BOTH, {}, {})
    assert guest.origin.kind == "built"
    assert guest.origin.differences == ("it differs",)
    assert guest.origin.detail == "from Debian packages (1 in all), on 2026-01-02"


def test_official_image_wins_until_the_user_builds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`systems fetch` or `systems build` would have no effect where the other image is there already."""
    put_image("debian", BUILD, "built", ("disk.qcow2",))
    put_image("debian", FETCH, "fetched", ("disk.qcow2",))
    assert provision.locate(BOTH, {}, {}).origin.kind == "fetched"
    provision.build(BOTH, {}, quiet)
    assert provision.locate(BOTH, {}, {}).origin.kind == "built"
    cache.write_choice("debian", "fetched")
    assert provision.locate(BOTH, {}, {}).origin.kind == "fetched"


def test_image_of_another_recipe_is_not_taken() -> None:
    """A changed recipe would boot the old image."""
    put_image("debian", BUILD, "built", ("disk.qcow2",))
    other = make_system(build=msgspec.structs.replace(BUILD, cmdline="quiet"))
    with pytest.raises(ImageError):
        provision.locate(other, {}, {})


def test_truncated_cache_file_counts_as_missing() -> None:
    """A disk that was full once would leave an image that never boots."""
    folder = put_image("debian", BUILD, "built", ("disk.qcow2",))
    (folder / "disk.qcow2").write_text("")
    with pytest.raises(ImageError):
        provision.locate(BOTH, {}, {})


def test_path_of_the_user_wins(tmp_path: Path) -> None:
    """`--system NAME=PATH` would be ignored where an image is in the cache."""
    put_image("debian", BUILD, "built", ("disk.qcow2",))
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
    system = make_system("floor", Kernel(), build=Assembly(source="floor.S"))

    def prepare() -> Guest:
        return provision.prepare(system, {}, {}, say=quiet, folder=tmp_path)

    first = prepare()
    assert prepare().pristine == first.pristine
    source.write_text(text + "nop\n")
    assert prepare().pristine != first.pristine


def test_nothing_is_built_where_that_is_forbidden(tmp_path: Path) -> None:
    """`--no-build` would start a build of minutes."""
    (tmp_path / "floor.S").write_text(".globl _start\n_start: hlt\n")
    system = make_system("floor", Kernel(), build=Assembly(source="floor.S"))
    with pytest.raises(ImageError, match="has no image"):
        provision.prepare(system, {}, {}, say=quiet, build=False, folder=tmp_path)


def test_system_without_recipe_cannot_be_built() -> None:
    """`systems build mirage-unikraft` would end in a traceback."""
    with pytest.raises(UsageError, match="no recipe"):
        provision.build(make_system(path="x"), {}, quiet)


SHARED = make_system("direct", Kernel(initrd=True, disk=DiskFormat.QCOW2), share="debian")


def test_shared_disk_and_the_files_taken_out_of_it_are_found() -> None:
    """The direct boot would measure another disk than the boot through the boot loader."""
    put_image("debian", BUILD, "built", ("disk.qcow2",))
    owner = provision.locate(BOTH, {}, {})
    catalogue = {"debian": BOTH}
    with pytest.raises(ImageError) as caught:
        provision.locate(SHARED, {}, catalogue)
    assert caught.value.hint == "guestbench systems build direct"
    recipe = shared.Extraction(disk_sha256=owner.pristine[Role.DISK].sha256)
    put_image("direct", recipe, "shared", ("vmlinuz", "initrd"))
    guest = provision.locate(SHARED, {}, catalogue)
    assert guest.images[Role.DISK] == owner.images[Role.DISK]
    assert guest.origin.differences == ("it differs",)
    assert owner.origin.detail in guest.origin.detail


def test_disk_given_for_the_owner_is_shared_too(tmp_path: Path) -> None:
    """`--system debian=PATH` would boot one disk by GRUB and another directly."""
    mine = tmp_path / "mine.raw"
    mine.write_bytes(b"\0" * 1024)
    recipe = shared.Extraction(disk_sha256=cache.hash_file(mine))
    put_image("direct", recipe, "shared", ("vmlinuz", "initrd"))
    for given in ({"debian": mine}, {"direct": mine}):
        guest = provision.locate(SHARED, given, {"debian": BOTH})
        assert guest.images[Role.DISK].path == str(mine)
        assert guest.system.boot == Kernel(initrd=True, disk=DiskFormat.RAW)
