"""guestbench from a wheel, in an environment of its own outside the clone, as pip and pipx install it."""

from __future__ import annotations

import csv
import json
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from guestbench import __version__
from guestbench.host import process

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src"
PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this clone."""
    folder = tmp_path_factory.mktemp("wheel")
    process.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, ROOT])
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in a fresh environment; the libraries that it needs are the tested ones."""
    folder = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    process.run([*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel])
    # A folder named in a .pth is searched, but a .pth in it, such as the clone's own, is not read.
    (site,) = folder.glob("lib/python*/site-packages")
    (lock,) = {path for path in sys.path if path.endswith("site-packages")}
    (site / "lock.pth").write_text(f"{lock}\n")
    return folder / "bin" / "guestbench"


def call(program: Path, folder: Path, *arguments: str | Path) -> process.Completed:
    """What the installed program prints, called in a folder of its own with no image built yet."""
    environment = {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
    return process.run([program, *arguments], cwd=folder, env=environment, timeout_s=600, check=False)


def test_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    """A C source, a template or a table that is read when it is needed would be missing there and then."""
    listing = process.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "src/guestbench"])
    ours = {name.removeprefix("src/") for name in listing.stdout.decode().split("\0") if name}
    with zipfile.ZipFile(wheel) as file:
        theirs = {name for name in file.namelist() if name.startswith("guestbench/")}
    assert {name for name in ours if (PACKAGE / name).is_file()} <= theirs
    assert len(ours) > 400


def test_installed_program_is_the_wheels(installed: Path, tmp_path: Path) -> None:
    """The tests below would try the clone."""
    code = "import guestbench; print(guestbench.__file__)"
    done = process.run([installed.with_name("python"), "-c", code], cwd=tmp_path, env={"PYTHONPATH": ""})
    assert Path(done.stdout.decode().strip()).is_relative_to(installed.parents[1])
    assert call(installed, tmp_path, "--version").stdout.decode() == f"guestbench {__version__}\n"


def test_installed_program_knows_its_host_and_its_guests(installed: Path, tmp_path: Path) -> None:
    """The first commands that a user types would fail."""
    checks = json.loads(call(installed, tmp_path, "doctor", "--json").stdout)
    assert {"Python", "QEMU", "memory"} <= {check["name"] for check in checks}
    systems = call(installed, tmp_path, "systems", "list")
    assert systems.status == 0
    assert all(
        name in systems.stdout.decode() for name in ("floor", "reference-unikernel", "debian-12-nocloud")
    )
    assert call(installed, tmp_path, "workloads").status == 0


@pytest.mark.qemu
def test_installed_program_builds_guests_and_measures_them(installed: Path, tmp_path: Path) -> None:
    """Whoever installs guestbench with pipx could not measure."""
    own = ("--only-system", "floor", "--cycles", "2", "--warmups", "0", "--metrics", "image,boot,cost")
    done = call(installed, tmp_path, "run", *own, "--accel", "tcg", "--set", "cost.boots=1", "-o", "results")
    assert done.status == 0, done.stderr.decode()
    with (tmp_path / "results" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["metric"] == "boot.ready" for row in rows) == 4  # the floor twice in each block
    # Of its own C source: the plugin that counts.
    assert any(row["metric"] == "cost.instructions_guest" for row in rows)
    assert "<html" in (tmp_path / "results" / "report.html").read_text()
