"""`guestbench setup` on hosts that lack something."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from guestbench.cli import run_cli
from guestbench.host import doctor, process

Lack = Callable[..., Path]


@pytest.fixture
def lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lack:
    """Make a host that lacks programs, with an apt-get and a sudo that note their calls."""
    calls = tmp_path / "calls"
    calls.touch()

    def make(*programs: str, root: bool = True, apt: str = "exit 0") -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in {name for name in process.DEBIAN_PACKAGES if not name.startswith("/")} - set(programs):
            (folder / name).touch(0o755)
        scripts = {
            "apt-get": f'echo "apt-get $*" >>{calls}\n{apt}',
            "sudo": f'echo sudo >>{calls}\nexec "$@"',
        }
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setattr("shutil.which", _finder(folder))
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
        return calls

    return make


def _finder(folder: Path) -> Callable[..., str | None]:
    return lambda name, path=None: str(folder / name) if (folder / name).exists() else None


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize(
    ("programs", "packages"),
    [(["zstd"], "zstd"), (["mke2fs", "debugfs", "gcc"], "e2fsprogs gcc"), (["ocamlopt"], "ocaml-nox")],
)
def test_the_line_names_each_package_once(
    lack: Lack, capsys: pytest.CaptureFixture[str], programs: list[str], packages: str, root: bool
) -> None:
    """A user would type a line that fails or leaves something missing, or root a sudo that is not there."""
    calls = lack(*programs, root=root)
    assert run_cli(["setup"]) == 0
    sudo = "" if root else "sudo "
    assert capsys.readouterr().out == f"{sudo}apt-get install --no-install-recommends --yes {packages}\n"
    assert calls.read_text() == ""


def test_where_nothing_is_missing_nothing_is_printed(lack: Lack, capsys: pytest.CaptureFixture[str]) -> None:
    """A script would run an apt-get with nothing to install."""
    lack()
    assert run_cli(["setup"]) == run_cli(["setup", "--install"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("root", [True, False])
def test_install_installs(lack: Lack, tmp_path: Path, root: bool) -> None:
    """The packages would still be missing."""
    calls = lack(
        "zstd", root=root, apt=f'case "$1" in install) : >"{tmp_path}/bin/zstd" ;; *) exit 100 ;; esac'
    )
    assert run_cli(["setup", "--install"]) == 0
    said = [line for line in calls.read_text().splitlines() if line != "sudo"]
    assert said == ["apt-get update", "apt-get install --no-install-recommends --yes zstd"]
    assert calls.read_text().count("sudo") == (0 if root else 2)


@pytest.mark.parametrize("apt", ["exit 100", "exit 0"])
def test_what_cannot_be_installed_is_an_error(
    lack: Lack, capsys: pytest.CaptureFixture[str], apt: str
) -> None:
    """A user would believe that all is there."""
    lack("zstd", apt=apt)
    assert run_cli(["setup", "--install"]) == 3
    assert capsys.readouterr().err.endswith("could not install what is missing\nhint: guestbench doctor\n")


def test_other_systems_are_told_what_is_missing(
    lack: Lack, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A user of another Linux would be told to type apt-get."""
    lack("zstd", "gcc")
    (tmp_path / "bin" / "apt-get").unlink()
    assert run_cli(["setup"]) == 3
    assert "error: not a Debian system, and these are not there: gcc, zstd" in capsys.readouterr().err


def test_a_library_that_is_missing_is_found_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs for guests could not be linked, and no line would say what to install."""
    gone = "/usr/lib/x86_64-linux-gnu/guestbench-has-no-such-file.a"
    monkeypatch.setattr(process, "DEBIAN_PACKAGES", {gone: "libc6-dev", "sh": "dash"})
    assert doctor.find_missing() == (gone,)
    assert doctor.find_apt_line()[-1] == "libc6-dev"
