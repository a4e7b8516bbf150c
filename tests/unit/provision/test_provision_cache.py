"""The image cache: keys, workspaces, locks and publishing."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import msgspec
import pytest

from guestbench.errors import HostError
from guestbench.host import process
from guestbench.model import Assembly
from guestbench.provision import cache
from guestbench.provision.digest import read_image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_manifest(key: str = "k" * 16, system: str = "floor") -> cache.Manifest:
    """A manifest of an image that holds no files."""
    return cache.Manifest(
        system=system,
        kind="built",
        key=key,
        builder_version=cache.BUILDER_VERSION,
        created="2026-01-02T03:04:05Z",
        recipe=msgspec.Raw(b"{}"),
        files=(),
    )


def test_key_follows_recipe_and_sources(tmp_path: Path) -> None:
    """A changed recipe or source file would boot the image of the old one."""
    source = tmp_path / "a.S"
    source.write_text("one")
    keys = {cache.recipe_key(Assembly(source="a.S"), {"a.S": source})}
    keys.add(cache.recipe_key(Assembly(source="b.S"), {"a.S": source}))
    keys.add(cache.recipe_key(Assembly(source="a.S"), {"b.S": source}))
    source.write_text("two")
    keys.add(cache.recipe_key(Assembly(source="a.S"), {"a.S": source}))
    assert len(keys) == 4


def test_key_is_the_same_from_another_folder(tmp_path: Path) -> None:
    """Moving the project would rebuild every image."""
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.S").write_text("one")
    recipe = Assembly(source="a.S")
    first = cache.recipe_key(recipe, {"a.S": tmp_path / "x" / "a.S"})
    assert first == cache.recipe_key(recipe, {"a.S": tmp_path / "y" / "a.S"})


def test_relative_xdg_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative XDG_CACHE_HOME would scatter gigabytes over the folders that guestbench is run from."""
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "guestbench"


def test_workspace_is_removed_after_a_failure() -> None:
    """A failed build would leave its gigabytes behind."""
    with pytest.raises(RuntimeError), cache.workspace("floor") as work:
        (work / "disk.raw").write_bytes(b"x")
        raise RuntimeError
    assert list((cache.cache_folder() / "work").iterdir()) == []


def test_workspace_of_killed_build_is_removed_by_the_next(tmp_path: Path) -> None:
    """A build ended by SIGKILL would leave its gigabytes behind for ever, outside the cache too."""
    base = cache.cache_folder() / "work"
    stale = base / "floor-killed"
    stale.mkdir(parents=True)
    (base / "floor-killed.lock").touch()
    outside = tmp_path / "outside"
    (outside / "root").mkdir(parents=True)
    (stale / "outside").symlink_to(outside)
    with cache.workspace("floor"):
        assert not stale.exists()
        assert not outside.exists()


def test_workspace_of_running_build_is_left_alone() -> None:
    """Two builds at once would remove each other's files."""
    with cache.workspace("one") as first, cache.workspace("two"):
        assert first.is_dir()


def test_workspace_in_use_by_orphans_is_left_alone() -> None:
    """Programs that outlive a killed build would have their files removed under them."""
    base = cache.cache_folder() / "work"
    stale = base / "floor-killed"
    stale.mkdir(parents=True)
    (base / "floor-killed.lock").touch()
    with cache.outliving_lock(stale), cache.workspace("one"):
        assert stale.exists()
    with cache.workspace("two"):
        assert not stale.exists()


def test_child_keeps_the_outliving_lock() -> None:
    """The lock would be free while the children of a killed build still write."""
    with cache.workspace("one") as work:
        with cache.outliving_lock(work) as lock:
            child = process.start(["sleep", "60"], pass_fds=[lock])
            running = child.__enter__()
        with (work / cache.IN_USE).open("rb") as again:
            with pytest.raises(BlockingIOError):
                fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
            running.kill()
            running.wait(10)
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.__exit__(None, None, None)


def test_publish_replaces_the_image_of_the_same_key() -> None:
    """Building again would fail, or leave a mixture of two images."""
    for content in (b"old", b"new"):
        with cache.workspace("floor") as work:
            (work / "kernel.elf").write_bytes(content)
            folder = cache.publish(work, make_manifest(), ("kernel.elf",))
    assert (folder / "kernel.elf").read_bytes() == b"new"
    assert cache.load_manifest(folder) == make_manifest()
    assert sorted(path.name for path in folder.iterdir()) == ["kernel.elf", "manifest.json"]


def test_damaged_manifest_counts_as_no_image(tmp_path: Path) -> None:
    """A cache damaged by a crash would stop every later run."""
    (tmp_path / "manifest.json").write_text('{"system": "floor"')
    assert cache.load_manifest(tmp_path) is None
    assert cache.load_manifest(tmp_path / "nowhere") is None


def test_unwritable_cache_is_a_host_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache that cannot be written would end in a traceback."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(HostError, match="cannot write to the cache"), cache.workspace("floor"):
        pass


def test_lock_excludes_another_process() -> None:
    """Two runs started together would build the same image twice, into the same place."""
    with cache.locked("floor"):
        path = cache.cache_folder() / "locks" / "floor.lock"
        assert process.run(["flock", "-n", path, "true"], check=False).status == 1
    assert process.run(["flock", "-n", path, "true"], check=False).status == 0


def test_choice_is_remembered() -> None:
    """`systems build` would have no effect where the official image is in the cache."""
    assert cache.read_choice("debian") == ""
    cache.write_choice("debian", "built")
    assert cache.read_choice("debian") == "built"


def test_digest_follows_a_changed_file(tmp_path: Path) -> None:
    """A rebuilt image would be reported under the digest of the old one."""
    image = tmp_path / "disk"
    image.write_bytes(b"one")
    first = read_image(image)
    assert read_image(image) == first
    image.write_bytes(b"two")
    os.utime(image, ns=(time.time_ns(), first.mtime_ns + 1))
    assert read_image(image).sha256 != first.sha256
