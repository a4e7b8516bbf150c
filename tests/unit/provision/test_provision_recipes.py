"""Recipes: one of another package, and what makes images be built anew."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from factories import make_system
from other_package import installed

from guestbench import provision
from guestbench.definition.systems import load_system
from guestbench.errors import DefinitionError, UsageError
from guestbench.model import SERVER, Provision, Role
from guestbench.provision import programs, versions
from guestbench.provision.recipes import Recipe, assembly, debian_initramfs, find_recipe, library_os
from guestbench.provision.system_images import plan_build
from guestbench.registry import RECIPES

KETTLE = """
from pathlib import Path
from typing import Annotated, ClassVar

from guestbench.model import SERVER, Provision, Role
from guestbench.model.kinds import within
from guestbench.provision.cache import Made, Package
from guestbench.provision.recipes import Recipe


class Kettle(Recipe, tag="kettle"):
    images: ClassVar = {Role.KERNEL: "kernel"}
    litres: Annotated[int, within(1, 5)] = 1
    lid: bool = True

    def sources(self, folder):
        return {"water": folder / "water"}

    def build(self, site, work, say):
        say(f"boiling for {site.system}")
        (work / "kernel").write_bytes((site.folder / "water").read_bytes() * self.litres)
        return Made(files=("kernel",), packages=(Package(name="tea", version="1"),))

    def describe(self, made):
        return f"{made.packages[0].name} and water"


RECIPE = Kettle
"""

SYSTEM = """
name = "teapot"
title = "Teapot"
family = "unikernel"
ready = "hot"
timeout_s = 10
[boot]
type = "kernel"
[provision.build]
method = "kettle"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A system beside a package, installed for this process, that offers its recipe."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = tmp_path / "teapot"
    own.mkdir()
    (own / "water").write_bytes(b"w")
    (own / "system.toml").write_text(SYSTEM)
    entry_points = "[guestbench.recipes]\nkettle = teahouse.recipe\n"
    with installed(tmp_path / "site", "teahouse", entry_points, {"recipe.py": KETTLE}):
        yield own


def quiet(_: str) -> None:
    """Say nothing."""


def test_a_recipe_of_another_package_builds_images(folder: Path) -> None:
    """Nobody could add a way to build images without changing this project."""
    assert "kettle" in RECIPES.names()
    system = load_system(folder, ())
    assert system.provision.build == {"method": "kettle", "litres": 1, "lid": True}
    said: list[str] = []
    guest = provision.build(system, {}, said.append, folder=folder)
    assert Path(guest.images[Role.KERNEL].path).read_bytes() == b"w"
    assert guest.origin.detail.startswith("from tea and water, on ")
    assert said == ["building teapot: boiling for teapot (0 s)", "building teapot: done (0 s)"]
    (folder / "system.toml").write_text(SYSTEM + "litres = 2\n")
    more = provision.prepare(load_system(folder, ()), {}, {}, say=quiet, folder=folder)
    assert Path(more.images[Role.KERNEL].path).read_bytes() == b"ww"


def test_its_settings_are_checked_as_those_of_ours_are(folder: Path) -> None:
    """A mistyped setting would be ignored, or end in a traceback."""
    (folder / "system.toml").write_text(SYSTEM.replace("timeout_s = 10", "") + "litres = 9\nlids = true\n")
    with pytest.raises(DefinitionError) as caught:
        load_system(folder, ())
    assert [each.split("system.toml: ")[1] for each in caught.value.problems] == [
        "timeout_s: missing; a number is needed",
        "[provision.build] lids: unknown key; did you mean lid?",
        "[provision.build] litres: at most 5 is possible, found 9",
    ]


def test_it_is_there_for_whoever_runs_the_command(folder: Path) -> None:
    """It would be found by tests alone."""
    argv = [sys.executable, "-m", "guestbench", "systems", "build", str(folder)]
    here = {"PYTHONPATH": str(folder.parent / "site"), "XDG_CACHE_HOME": str(folder.parent / "other")}
    done = subprocess.run(argv, env={**os.environ, **here}, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == b"w"


def test_a_system_whose_recipe_is_not_installed_says_so(folder: Path) -> None:
    """A run folder from another machine would end in a traceback."""
    del folder
    with pytest.raises(UsageError, match=r"there is no 'teapot' among guestbench.recipes; there are: "):
        find_recipe({"method": "teapot"})


# --- what images depend on --------------------------------------------------------------------------------

FLOOR = assembly.Assembly(source="a.S")
UNIKERNEL = library_os.LibraryOs(program=SERVER)
LINUX = debian_initramfs.DebianInitramfs(
    suite="bookworm", kernel_package="linux-image-cloud-amd64", programs=(SERVER,)
)
OPTIMISED = ("-O3",)


def key_of(recipe: Recipe, folder: Path) -> str:
    """The key of the images of a system in `folder`."""
    build = msgspec.json.decode(msgspec.json.encode(recipe))
    return plan_build(make_system("mine", provision=Provision(build=build)), folder).key


@pytest.mark.parametrize(
    ("recipe", "module", "flags"),
    [
        (FLOOR, assembly, "FLAGS"),
        (UNIKERNEL, library_os, "FLAGS"),
        (UNIKERNEL, programs, "C_FLAGS"),
        (LINUX, programs, "C_FLAGS"),
    ],
)
def test_a_changed_flag_of_the_compiler_builds_anew(
    recipe: Recipe, module: object, flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest would be measured that was compiled otherwise than the code says."""
    (tmp_path / "a.S").write_text("hlt\n")
    before = key_of(recipe, tmp_path)
    assert key_of(recipe, tmp_path) == before
    monkeypatch.setattr(module, flags, OPTIMISED)
    assert key_of(recipe, tmp_path) != before


@pytest.mark.parametrize("recipe", [FLOOR, UNIKERNEL, LINUX])
def test_another_compiler_builds_anew(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest would be measured that another compiler than the host's has made."""
    (tmp_path / "a.S").write_text("hlt\n")
    before = key_of(recipe, tmp_path)
    monkeypatch.setattr(versions, "_ask", lambda tool, option: f"{tool.name} of tomorrow")
    assert key_of(recipe, tmp_path) != before


def test_another_version_of_a_recipe_builds_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mended recipe would go on giving its broken images."""
    (tmp_path / "a.S").write_text("hlt\n")
    before = key_of(FLOOR, tmp_path)
    monkeypatch.setattr(assembly.Assembly, "version", 2)
    assert key_of(FLOOR, tmp_path) != before
