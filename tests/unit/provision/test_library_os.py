"""Building the reference unikernel: what it depends on, and what is said where a part cannot be had."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue, load_system
from guestbench.errors import DefinitionError, HostError, ImageError
from guestbench.host import process
from guestbench.model import Role
from guestbench.provision.packages import Unpacked
from guestbench.provision.recipes import find_recipe, library_os
from guestbench.provision.recipes.library_os import LibraryOs

SYSTEM = """
name = "mine"
title = "My program as a unikernel"
family = "unikernel"
ready = "hello"
timeout_s = 10
[boot]
type = "kernel"
initrd = true
cmdline = "mine"
[provision.build]
method = "library-os"
program = "mine"
network = false
"""
NO_MIRROR = HostError("no mirror answers", "ping mirror")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system of a user's own: a static program beside its definition; and a cache that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "system.toml").write_text(SYSTEM)
    source = tmp_path / "mine.c"
    source.write_text('#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n')
    process.run(["gcc", "-static", "-o", mine / "mine", source])
    return mine


def quiet(_: str) -> None:
    """Say nothing."""


def test_a_program_of_the_users_own_becomes_a_unikernel(folder: Path) -> None:
    """Only programs of the project could be run as unikernels."""
    system = load_system(folder, ())
    guest = provision.build(system, {}, quiet, folder=folder)
    provision.check(guest)
    assert Path(guest.images[Role.INITRD].path).read_bytes() == (folder / "mine").read_bytes()
    assert guest.origin.kind == "built" and guest.origin.differences == ()
    again = provision.prepare(system, {}, {}, say=quiet, folder=folder)
    assert again.images == guest.images
    (folder / "mine").write_bytes((folder / "mine").read_bytes() + b"\0")
    changed = provision.prepare(system, {}, {}, say=quiet, folder=folder)
    assert changed.images[Role.INITRD].sha256 != guest.images[Role.INITRD].sha256
    assert changed.images[Role.KERNEL].sha256 == guest.images[Role.KERNEL].sha256


def test_an_image_that_is_not_there_is_built_by_what_the_hint_says(folder: Path) -> None:
    """The hint would name a system that no command knows."""
    with pytest.raises(ImageError) as caught:
        provision.locate(load_system(folder, ()), {}, {}, folder=folder)
    assert caught.value.hint == f"guestbench systems build {folder}"


def test_a_program_that_is_not_there_is_named(folder: Path) -> None:
    """A misspelt program would be found out by the linker, or by the guest."""
    (folder / "mine").rename(folder / "other")
    with pytest.raises(DefinitionError) as caught:
        load_system(folder, ())
    (problem,) = caught.value.problems
    assert problem.endswith('[provision.build] program: no file "mine" beside system.toml; known: other')


def test_without_its_network_stack_it_is_built_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that reaches no mirror would have no unikernel, or one whose dead network nobody explains."""
    system = load_system(folder, ())
    recipe = {"method": "library-os", "program": "mine"}
    system = msgspec.structs.replace(
        system, provision=msgspec.structs.replace(system.provision, build=recipe)
    )
    asked: list[str] = []

    def fetch(package: str, suite: str, say: object) -> Unpacked:
        asked.append(f"{package} {suite}")
        raise NO_MIRROR

    monkeypatch.setattr(library_os, "fetch_source", fetch)
    said: list[str] = []
    guest = provision.build(system, {}, said.append, folder=folder)
    lacks = "without a network: no mirror answers (mended by: ping mirror)"
    assert guest.origin.differences == (lacks,)
    assert f"building mine: done, but {lacks}" in said[-1]
    # What could not be had is asked for again when the user asks, but a run is content.
    provision.prepare(system, {}, {}, say=quiet, folder=folder)
    assert asked == ["lwip bookworm"]
    provision.build(system, {}, quiet, folder=folder)
    assert asked == ["lwip bookworm"] * 2


def test_the_network_is_left_out_where_that_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network costs could not be measured."""

    def fetch(*_: object) -> Unpacked:
        raise AssertionError("nothing is to be fetched")

    monkeypatch.setattr(library_os, "fetch_source", fetch)
    guest = provision.prepare(load_system(folder, ()), {}, {}, say=quiet, folder=folder)
    assert guest.origin.detail.startswith("from source, on ")
    with_network = LibraryOs(program="mine").sources(folder)
    without = LibraryOs(program="mine", network=False).sources(folder)
    assert {name.split("/")[1] for name in with_network.keys() - without.keys()} == {library_os.NETWORK}


def test_its_own_program_is_one_that_all_guests_run() -> None:
    """The reference would run another program than the guests that it is compared with."""
    system = load_catalogue()["reference-unikernel"]
    assert system.provision.build is not None
    names = find_recipe(system.provision.build).sources(Path())
    assert "program/serve.c" in names and "kernel/boot.S" in names
