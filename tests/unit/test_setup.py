"""Set-up on machines that lack something, with stand-ins for apt, dpkg, sudo and Python."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from guestbench.host import process

ROOT = Path(__file__).parents[2]
PACKAGES = "src/guestbench/host/debian-packages.txt"
TOOLS = ("sed", "cat", "sha256sum", "mkdir", "dirname", "env", "sh", "true", "cp")

PYTHON = """\
case "$*" in
    *--require-hashes*) ;;
    *--editable*) echo '#!/bin/sh' >.venv/bin/guestbench ;;
    *version_info*) exit 0 ;;
    *version*) echo "Python 3.11.2 /usr" ;;
    "-m venv --clear .venv")
        mkdir -p .venv/bin
        cp "$(command -v python3)" .venv/bin/python ;;
esac
"""


class Machine:
    """A clone of the project's set-up, on a machine whose programs are scripts that note their calls."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "a clone"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.calls.touch()
        self.bin.mkdir()
        shutil.copytree(ROOT / "tools", self.clone / "tools")
        (self.clone / PACKAGES).parent.mkdir(parents=True)
        shutil.copy(ROOT / PACKAGES, self.clone / PACKAGES)
        for name in ("requirements.lock", "requirements-tests.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.clone)
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self.add("dpkg-query", 'echo "installed "')
        self.add("apt-get", "")
        self.add("id", "echo 0")
        self.add("python3", PYTHON)

    def add(self, name: str, script: str) -> None:
        """Add a program that notes its arguments and then does `script`."""
        file = self.bin / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.calls}"\n{script}\n')
        file.chmod(0o755)

    def set_up(self, *arguments: str) -> tuple[int, str]:
        """Run set-up; returns its exit status and what it said."""
        # The script appends the sbin folders itself; an empty root keeps this machine's programs out.
        script = (self.clone / "tools" / "setup.sh").read_text().replace(":/usr/sbin:/sbin", "")
        (self.clone / "tools" / "setup.sh").write_text(script)
        done = process.run(
            [self.bin / "sh", self.clone / "tools" / "setup.sh", *arguments],
            env={"PATH": str(self.bin), "MAKEFLAGS": "", "PYTHON": "python3"},
            check=False,
        )
        assert done.stdout == b""
        return done.status, done.stderr.decode()

    def called(self, name: str) -> list[str]:
        """The arguments of each call of a program."""
        lines = self.calls.read_text().splitlines()
        return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which everything is there."""
    return Machine(tmp_path)


LACKS_TWO = """\
case "$*" in
    *" zstd"|*" gcc") exit 1 ;;
    *) echo "installed " ;;
esac
"""


def test_machine_with_everything_is_left_alone(machine: Machine) -> None:
    """Each run would install packages, or make the environment again."""
    assert machine.set_up()[0] == 0
    assert machine.called("apt-get") == []
    made = machine.called("python3")
    assert any("--require-hashes" in call and "--no-cache-dir" in call for call in made)
    assert machine.set_up() == (0, "")
    again = machine.called("python3")[len(made) :]
    assert not any("pip" in call or "venv" in call for call in again)


def test_changed_lock_makes_a_new_environment(machine: Machine) -> None:
    """After an update the tool would run with the old libraries."""
    machine.set_up()
    with (machine.clone / "requirements.lock").open("a") as lock:
        lock.write("# newer\n")
    machine.set_up()
    assert len([call for call in machine.called("python3") if "venv" in call]) == 2


def test_interrupted_environment_is_made_again(machine: Machine) -> None:
    """A set-up that was interrupted could never be finished."""
    good = (machine.bin / "python3").read_text()
    machine.add("python3", PYTHON.replace("*--require-hashes*)", "*--require-hashes*) exit 1"))
    status, said = machine.set_up()
    assert status == 3
    assert "error: pip could not install" in said
    (machine.bin / "python3").write_text(good)
    assert machine.set_up()[0] == 0
    assert len([call for call in machine.called("python3") if "venv" in call]) == 2


def test_root_installs_what_is_missing_and_only_that(machine: Machine) -> None:
    """A fresh machine would not get its packages, or all of them anew."""
    machine.add("dpkg-query", LACKS_TWO)
    assert machine.set_up()[0] == 0
    assert machine.called("apt-get") == [
        "update -qq",
        "install -y --no-install-recommends -qq -o Dpkg::Use-Pty=0 gcc zstd",
    ]


def test_removed_package_counts_as_missing(machine: Machine) -> None:
    """A package whose configuration files remain would be taken for an installed one."""
    machine.add("dpkg-query", 'case "$*" in *" make") echo "config-files " ;; *) echo "installed " ;; esac')
    machine.set_up()
    assert machine.called("apt-get")[-1].endswith(" make")


def test_failed_update_does_not_stop_an_install_that_works(machine: Machine) -> None:
    """One unreachable source of packages would stop the set-up."""
    machine.add("dpkg-query", LACKS_TWO)
    machine.add("apt-get", 'test "$1" != update')
    assert machine.set_up()[0] == 0


def test_failed_install_says_what_to_type(machine: Machine) -> None:
    """A user would be left with apt's words alone."""
    machine.add("dpkg-query", LACKS_TWO)
    machine.add("apt-get", "exit 100")
    status, said = machine.set_up()
    assert status == 3
    assert "error: apt-get could not install: gcc zstd" in said
    assert "hint: apt-get update && apt-get install -y --no-install-recommends gcc zstd" in said


def test_user_with_sudo_installs_through_it(machine: Machine) -> None:
    """A user with the right to install would have to do it by hand."""
    machine.add("dpkg-query", LACKS_TWO)
    machine.add("id", "echo 1000")
    machine.add("sudo", 'shift; exec "$@"')
    assert machine.set_up()[0] == 0
    assert "-n env DEBIAN_FRONTEND=noninteractive apt-get update -qq" in machine.called("sudo")
    assert (
        machine.called("apt-get")[-1] == "install -y --no-install-recommends -qq -o Dpkg::Use-Pty=0 gcc zstd"
    )


@pytest.mark.parametrize("sudo", ["exit 1", None])
def test_user_without_rights_gets_the_line_to_type(machine: Machine, sudo: str | None) -> None:
    """A user without root would not learn what to ask the administrator for."""
    machine.add("dpkg-query", LACKS_TWO)
    machine.add("id", "echo 1000")
    if sudo is not None:
        machine.add("sudo", sudo)
    status, said = machine.set_up()
    assert status == 3
    assert machine.called("apt-get") == []
    hint = "sudo apt-get update && sudo apt-get install -y --no-install-recommends gcc zstd"
    assert f"hint: {hint} \n" in said or f"hint: {hint}\n" in said
    assert not (machine.clone / ".venv").exists()


LACKS_BROWSER = 'case "$*" in *" chromium"|*" xfsprogs") exit 1 ;; *) echo "installed " ;; esac'


def test_what_only_tests_need_is_installed_for_tests_alone(machine: Machine) -> None:
    """A user who only compares would have to install a browser, or tests would be skipped for want of one."""
    machine.add("dpkg-query", LACKS_BROWSER)
    assert machine.set_up()[0] == 0
    assert machine.called("apt-get") == []
    assert machine.set_up("tests")[0] == 0
    installed = "install -y --no-install-recommends -qq -o Dpkg::Use-Pty=0 chromium xfsprogs"
    assert machine.called("apt-get")[-1] == installed


def test_documents_need_libraries_and_no_package(machine: Machine) -> None:
    """Whoever builds the documents would have to install a browser, or would have no Sphinx."""
    machine.add("dpkg-query", LACKS_BROWSER)
    assert machine.set_up("docs")[0] == 0
    assert machine.called("apt-get") == []
    assert any("requirements-tests.lock" in call for call in machine.called("python3"))


@pytest.mark.parametrize("lacks", ["right", "mirror"])
def test_tests_go_without_what_cannot_be_installed(machine: Machine, lacks: str) -> None:
    """Without root or a mirror no test at all could be run."""
    machine.add("dpkg-query", LACKS_BROWSER)
    machine.add(*(("id", "echo 1000") if lacks == "right" else ("apt-get", "exit 100")))
    status, said = machine.set_up("tests")
    assert status == 0
    assert "tests are skipped that need these packages: chromium xfsprogs\n" in said


def test_other_system_is_told_which_programs_it_lacks(machine: Machine) -> None:
    """A user of another Linux would be told to type apt-get."""
    (machine.bin / "dpkg-query").unlink()
    machine.add("gcc", "")
    status, said = machine.set_up()
    assert status == 3
    assert "not a Debian system" in said
    assert "qemu-system-x86_64" in said
    assert " gcc" not in said
    assert f"hint: cat {PACKAGES}" in said


def test_old_python_is_refused(machine: Machine) -> None:
    """An old Python would fail somewhere inside, without a word of its age."""
    machine.add("python3", 'case "$*" in --version) echo "Python 3.9.2" ;; *) exit 1 ;; esac')
    status, said = machine.set_up()
    assert status == 3
    assert "error: Python 3.9.2 is too old; Python 3.11 or newer is needed" in said


def test_missing_python_is_told(machine: Machine) -> None:
    """A machine without Python would end in the shell's own words."""
    (machine.bin / "python3").unlink()
    status, said = machine.set_up()
    assert status == 3
    assert "error: python3 is not on PATH" in said


def test_scripts_are_shell_without_errors() -> None:
    """A fresh machine would stop at a syntax error."""
    process.run(["sh", "-n", ROOT / "tools" / "setup.sh"])
    process.run(["bash", "-n", ROOT / ".ci" / "run"])
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("failing", ["", "fuzz_parsers", "fuzz_unikernel"])
def test_fuzzing_tries_each_part_whatever_became_of_the_other(failing: str, tmp_path: Path) -> None:
    """A parser that fails would hide for months what fails in the unikernel."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name, script in {
        "tools/setup.sh": "",
        ".venv/bin/python": f'echo "$@" >>said\ncase "$*" in *{failing or "nothing"}.py*) exit 1 ;; esac\n',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}")
        (tmp_path / name).chmod(0o755)
    done = process.run(["make", "fuzz", "MINUTES=2", "ARGS=--seed 7"], cwd=tmp_path, check=False)
    assert (done.status != 0) == bool(failing)
    assert (tmp_path / "said").read_text().splitlines() == [
        f"benchmarks/fuzz_{part}.py --minutes 2 --seed 7" for part in ("parsers", "unikernel")
    ]
