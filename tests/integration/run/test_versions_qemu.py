"""`guestbench ab` and `bisect` on a real QEMU: what was planted is found, and nothing else."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import reference_guest
from git_history import git, make_history
from small_guests import GUEST, SAY_READY, SYSTEM

from guestbench.host import process

pytestmark = pytest.mark.qemu

REFERENCE = """
name = "mine"
title = "The reference unikernel, ready after {ms} ms"
family = "unikernel"
ready = "[refuk ready]"
timeout_s = 20
[boot]
type = "kernel"
cmdline = "refuk.ready-after-ms={ms} refuk.halt"
[provision]
path = "kernel.elf"
hint = "none"
"""
PLATFORM = ("--accel", "tcg", "--set", "platform.memory_mib=64", "--set", "platform.net=none")
HANGS_IN_HALF = """        rdtsc
        test    $0x2000, %eax
        jnz     halt
"""
"""A bit of the time stamp counter that changes every few microseconds: each boot is a coin's throw."""


def call(*arguments: str | Path, cwd: Path) -> process.Completed:
    """Run guestbench ahead of what else the host does, where that is allowed."""
    first = ["chrt", "--rr", "1"]
    calm = shutil.which("chrt") and process.run([*first, "true"], check=False).status == 0
    argv = [*(first if calm else ()), sys.executable, "-m", "guestbench", *arguments, *PLATFORM]
    return process.run(argv, cwd=cwd, check=False, timeout_s=600)


def make_version(folder: Path, ms: int) -> Path:
    """A folder with a build of the reference unikernel that gets ready so late."""
    folder.mkdir()
    shutil.copy(reference_guest.kernel(), folder / "kernel.elf")
    (folder / "system.toml").write_text(REFERENCE.format(ms=ms))
    return folder


@pytest.mark.parametrize(("ms", "states"), [(5, {"failed", "inconclusive"}), (150, {"failed"})])
def test_a_planted_delay_is_never_passed_and_a_large_one_is_found(
    tmp_path: Path, ms: int, states: set[str]
) -> None:
    """A commit that makes boot slower would be let through.

    A delay of 5 ms of 90 is found on a quiet host. A busy one may leave it undecided, and so exits with 0.
    """
    old, new = make_version(tmp_path / "a", 0), make_version(tmp_path / "b", ms)
    gate = ("--fail-on", "boot.ready>1%", "--cycles", "20", "-o", tmp_path / "out")
    done = call("ab", old, new, *gate, "--json", cwd=tmp_path)
    assert done.status in (0, 1), done.stderr.decode()[-2000:]
    (decision,) = json.loads(done.stdout)["diff"]["decisions"]
    assert decision["state"] in states
    assert done.status == (decision["state"] == "failed")


def test_nothing_is_found_where_nothing_was_planted(tmp_path: Path) -> None:
    """CI would stop commits that changed nothing."""
    old, new = make_version(tmp_path / "a", 0), make_version(tmp_path / "b", 0)
    done = call("ab", old, new, "--cycles", "40", "-o", tmp_path / "out", cwd=tmp_path)
    assert done.status == 0, done.stdout.decode()
    assert "the same file: this is an A/A run" in done.stderr.decode()


def test_a_version_that_hangs_in_half_of_its_boots_fails(tmp_path: Path) -> None:
    """The boots that get ready would speak for those that do not."""
    for name, more in (("a", ""), ("b", HANGS_IN_HALF)):
        (tmp_path / name).mkdir()
        definition = SYSTEM.format(name="mine").replace("timeout_s = 6", "timeout_s = 2")
        (tmp_path / name / "system.toml").write_text(definition)
        (tmp_path / name / "guest.S").write_text(GUEST.format(body=more + SAY_READY))
    done = call("ab", tmp_path / "a", tmp_path / "b", "--json", "-o", tmp_path / "out", cwd=tmp_path)
    assert done.status == 1, done.stderr.decode()[-2000:]
    diff = json.loads(done.stdout)["diff"]
    (boots,) = (each for each in diff["failures"] if each["purpose"] == "boot")
    assert 0 < boots["failed"] < boots["of"] == 20
    failed = {each["gate"] for each in diff["decisions"] if each["state"] == "failed"}
    assert failed == {"boot.ready>5%", "failures"}


def test_bisect_finds_a_planted_delay(tmp_path: Path) -> None:
    """The commit that made boot slower would have to be looked for by hand."""
    delays = [0, 0, 0, 0, 0, 0, 60, 60, 60, 60]
    commits = [{"guest/system.toml": REFERENCE.format(ms=ms), "notes": str(n)} for n, ms in enumerate(delays)]
    repository = tmp_path / "repository"
    hashes = make_history(repository, commits)
    build = f"cp {reference_guest.kernel()} guest/kernel.elf"
    asked = (
        "--build",
        build,
        "--image",
        "guest",
        "--fail-on",
        "boot.ready>20%",
        "--state",
        tmp_path / "state",
    )
    done = call("bisect", hashes[0], "main", *asked, "--json", cwd=repository)
    assert done.status == 0, done.stderr.decode()[-2000:]
    found = json.loads(done.stdout)
    assert found["commits"] == [hashes[6]]
    assert len(found["bisection"]["steps"]) <= 5
    assert len(git(repository, "worktree", "list").splitlines()) == 1
