"""Having less in the cache: what was used least recently goes, and nothing that is in use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from guestbench.cli import cli, run_cli
from guestbench.model import Say
from guestbench.provision import cache
from guestbench.provision.prune import list_entries, measure, prune

NAMES = ("alpha", "beta", "gamma")
SIZE = 64 * 1024

USE = """
import sys
from guestbench.provision import cache
plan = cache.Plan(sys.argv[1], "making", lambda work, say: 1 / 0, "")
assert cache.find(plan) is not None
print("found", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for age, name in enumerate(NAMES):
        cache.make(plan(name), lambda _: None)
        os.utime(cache.use_lock(folder(name).name), (1e9 + age, 1e9 + age))
    let_go()


def let_go() -> None:
    """Be as a process that uses nothing."""
    for descriptor in cache._held.values():
        os.close(descriptor)
    cache._held.clear()


def plan(name: str) -> cache.Plan:
    """Something that takes SIZE bytes."""

    def build(work: Path, say: Say) -> cache.Made:
        (work / "data").write_bytes(os.urandom(SIZE))
        return cache.Made(files=("data",))

    return cache.Plan(name, f"making {name}", build, "")


def folder(name: str) -> Path:
    """Where it is kept."""
    return cache.cache_folder() / "images" / f"{name}-{plan(name).key}"


def there() -> set[str]:
    """What is there."""
    return {name for name in NAMES if folder(name).exists()}


@contextmanager
def user(name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has found it, and lives."""
    argv = [sys.executable, "-c", USE, name]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"found\n"
        try:
            yield process
        finally:
            process.kill()


def test_those_used_least_recently_go_first() -> None:
    """The images that everybody uses would be built again after each pruning."""
    entries = list_entries()
    assert [entry.name for entry in entries] == [folder(name).name for name in NAMES]
    assert entries[0].used == "2001-09-09T01:46:40Z"
    assert all(SIZE <= entry.size_bytes < 2 * SIZE and not entry.in_use for entry in entries)
    cache.find(plan("alpha"))  # now used last
    let_go()
    pruned = prune(measure(entries) - 1)
    assert there() == {"alpha", "gamma"}
    assert [entry.name for entry in pruned.removed] == [folder("beta").name]
    assert pruned.left_bytes == measure(list_entries())
    assert prune(pruned.left_bytes).removed == ()


def test_what_a_process_uses_stays() -> None:
    """An image would be removed under a run that boots it for the next hour."""
    with user("alpha"), user("gamma"):
        assert [entry.in_use for entry in list_entries()] == [False, True, True]
        pruned = prune(0)
        assert there() == {"alpha", "gamma"}
        assert pruned.in_use_bytes == pruned.left_bytes > 0
    assert len(prune(0).removed) == 2
    assert there() == set()
    assert list_entries() == ()


def test_what_a_killed_process_used_goes() -> None:
    """What a run used that was ended by SIGKILL would be kept for ever."""
    with user("alpha") as process:
        process.kill()
        process.wait()
        assert len(prune(0).removed) == 3


def test_what_is_being_made_stays() -> None:
    """What another process is just making again would be taken from under it."""
    with cache.locked(folder("beta").name):
        assert len(prune(0).removed) == 2
        assert there() == {"beta"}


def test_what_is_pruned_is_made_again_and_leaves_nothing() -> None:
    """A pruned cache would fill up with digests and halves of images."""
    prune(0)
    base = cache.cache_folder()
    assert [list((base / name).iterdir()) for name in ("images", "work", "digests")] == [[], [], []]
    assert cache.find(plan("alpha")) is None
    cache.make(plan("alpha"), lambda _: None)
    assert there() == {"alpha"}


def test_a_dry_run_removes_nothing() -> None:
    """A look at what would go would cost it."""
    said = CliRunner().invoke(cli, ["cache", "prune", "--max-size", "0", "--dry-run"])
    assert said.output.splitlines()[:3] == [folder(name).name for name in NAMES]
    assert "would be removed; 0 bytes left" in said.output.splitlines()[-1]
    assert there() == set(NAMES)


@pytest.mark.parametrize("size", ["", "10", "-1GiB", "1e3MiB", "5 parsecs", "٣GiB", "9" * 40 + "GiB"])
def test_what_is_no_size_is_told(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped size would remove everything."""
    assert run_cli(["cache", "prune", "--max-size", size]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and "no size such as" in error
    assert hint == "hint: guestbench cache prune --help"
    assert there() == set(NAMES)


def test_a_size_has_a_unit() -> None:
    """1.5 GiB would be taken for one, or MB for MiB."""
    for size, left in (("0.1MiB", {"gamma"}), ("200 MB", {"gamma"}), ("0", set[str]())):
        CliRunner().invoke(cli, ["cache", "prune", "--max-size", size], catch_exceptions=False)
        assert there() == left


def test_the_list_says_what_is_in_use() -> None:
    """Nobody could tell why an image stays."""
    with user("beta"):
        lines = CliRunner().invoke(cli, ["cache", "list"]).output.splitlines()
    assert lines[-2].endswith(f"{folder('beta').name} in use")
    assert "in 3 entries" in lines[-1]


def test_an_empty_cache_has_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first command of a new user would end in a traceback."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    for argv in (["cache", "list"], ["cache", "list", "--json"], ["cache", "prune"]):
        assert CliRunner().invoke(cli, argv, catch_exceptions=False).exit_code == 0
