"""The image cache: keys, workspaces, locks and publishing."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from guestbench.errors import HostError, ToolFailed
from guestbench.host import process
from guestbench.model import Say
from guestbench.provision import cache
from guestbench.provision.cache import read_image
from guestbench.provision.digests import digest_file


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def plan(
    text: str, facts: object = "", files: Mapping[str, Path] | None = None, lacks: str = ""
) -> cache.Plan:
    """Something to be made: a file with this text in it, alone and in a folder."""

    def build(work: Path, say: Say) -> cache.Made:
        (work / "text").write_text(text)
        (work / "scratch").write_text("")
        (work / "folder").mkdir()
        (work / "folder" / "inner").write_text(text)
        return cache.Made(files=("text", "folder"), lacks=lacks)

    return cache.Plan("thing", "making a thing", build, facts, files or {})


def quiet(_: str) -> None:
    """Say nothing."""


def test_key_follows_facts_and_files(tmp_path: Path) -> None:
    """A changed recipe or source file would boot the image of the old one."""
    source = tmp_path / "a.S"
    source.write_text("one")
    keys = {plan("", "facts", {"a.S": source}).key}
    keys.add(plan("", "other", {"a.S": source}).key)
    keys.add(plan("", "facts", {"b.S": source}).key)
    source.write_text("two")
    keys.add(plan("", "facts", {"a.S": source}).key)
    source.chmod(0o4755)
    keys.add(plan("", "facts", {"a.S": source}).key)
    assert len(keys) == 5


def test_key_is_the_same_from_another_folder(tmp_path: Path) -> None:
    """Moving the project would rebuild every image."""
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.S").write_text("one")
    first = plan("", "", {"a.S": tmp_path / "x" / "a.S"}).key
    assert first == plan("", "", {"a.S": tmp_path / "y" / "a.S"}).key


def test_what_is_there_is_not_made_again() -> None:
    """Every run would build its images anew."""
    said: list[str] = []
    kept = cache.make(plan("old"), said.append)
    assert said == ["making a thing: done (0 s)"]
    assert cache.make(plan("new"), said.append) == kept == cache.find(plan("new"))
    assert (kept.folder / "text").read_text() == (kept.folder / "folder" / "inner").read_text() == "old"
    assert len(said) == 1
    assert sorted(path.name for path in kept.folder.iterdir()) == ["folder", "manifest.json", "text"]


def test_what_lacks_something_is_made_again_when_asked_for() -> None:
    """A part that a host could not have once would be missing for ever."""
    said: list[str] = []
    kept = cache.make(plan("old", lacks="without a lid"), said.append)
    assert said == ["making a thing: done, but without a lid (0 s)"]
    assert cache.find(plan("old")) == kept
    assert (cache.make(plan("new"), quiet).folder / "text").read_text() == "new"


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


def test_what_is_made_again_replaces_the_old() -> None:
    """Building again would fail, or leave a mixture of two images."""
    cache.make(plan("old"), quiet)
    kept = cache.make(plan("new"), quiet, renew=lambda made: True)
    assert (kept.folder / "text").read_text() == (kept.folder / "folder" / "inner").read_text() == "new"
    assert list((cache.cache_folder() / "work").iterdir()) == []


NO_MANIFESTS = (b"", b'{"name": "thing"', b'{"system": "floor"}', b'{"\xff": 1}', b"[" * 100_000)


@pytest.mark.parametrize("manifest", NO_MANIFESTS)
def test_damaged_manifest_and_one_of_another_version_count_as_nothing(manifest: bytes) -> None:
    """A cache damaged by a crash, or filled by an older version, would stop every later run."""
    kept = cache.make(plan("old"), quiet)
    (kept.folder / "manifest.json").write_bytes(manifest)
    assert cache.find(plan("old")) is None
    assert cache.find(plan("old", facts="never made")) is None
    assert (cache.make(plan("new"), quiet).folder / "text").read_text() == "new"


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


def truncate(folder: Path) -> None:
    """Cut a file short."""
    os.truncate(folder / "text", 1)


def alter(folder: Path) -> None:
    """Put other bytes of the same number into a file, and set its time back."""
    facts = (folder / "text").stat()
    (folder / "text").write_text("bad")
    os.utime(folder / "text", ns=(facts.st_atime_ns, facts.st_mtime_ns))


def alter_inner(folder: Path) -> None:
    """Put other bytes into a file of a folder that is kept."""
    (folder / "folder" / "inner").write_text("bad")


def swap(folder: Path) -> None:
    """Put another thing, whole and of the same form, in its place."""
    other = cache.make(plan("new", facts="another"), quiet).folder
    other.rename(folder.with_name("aside"))
    folder.rename(other)
    folder.with_name("aside").rename(folder)


def lie(folder: Path) -> None:
    """Have the manifest name another digest."""
    manifest = folder / "manifest.json"
    manifest.write_text(re.sub(r'"sha256": "\w+"', f'"sha256": "{"0" * 64}"', manifest.read_text()))


def empty(folder: Path) -> None:
    """Remove all that is in it."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (truncate, "text has 1 bytes of 3"),
        (alter, "text has another digest"),
        (alter_inner, "folder/inner has another digest"),
        (swap, "it is thing-"),
        (lie, "has another digest"),
        (empty, "it has no manifest.json"),
        (lambda folder: (folder / "text").unlink(), "text is missing"),
    ],
)
def test_what_is_not_as_it_was_made_is_made_anew(harm: Callable[[Path], object], told: str) -> None:
    """A guest would be measured with an image that a crash or another program has damaged."""
    harm(cache.make(plan("old"), quiet).folder)
    said: list[str] = []
    assert cache.find(plan("old")) is None
    again = cache.make(plan("new"), said.append)
    assert said[0].startswith("making a thing: it is made anew, as that in the cache is damaged: ")
    assert told in said[0]
    assert (again.folder / "text").read_text() == (again.folder / "folder" / "inner").read_text() == "new"
    assert cache.make(plan("newer"), said.append) == again == cache.find(plan(""))
    assert len(said) == 2


def test_a_thing_is_read_for_its_digest_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run would read gigabytes of images before its first trial."""
    read: list[Path] = []

    def count(path: Path, say: Say = lambda _: None) -> str:
        read.append(path)
        return digest_file(path, say)

    monkeypatch.setattr(cache, "digest_file", count)
    kept = cache.make(plan("old"), quiet)
    assert sorted(path.name for path in read) == ["inner", "text"]
    for _ in range(2):
        assert cache.find(plan("old")) == kept
    assert read_image(kept.folder / "text").size_bytes == 3
    assert len(read) == 2


def test_a_digest_that_cannot_be_remembered_is_told_all_the_same(tmp_path: Path) -> None:
    """A full disk would end a run in a traceback before anything was to be written of it."""
    image = tmp_path / "disk"
    image.write_bytes(b"one")
    cache.cache_folder().mkdir(parents=True)
    (cache.cache_folder() / "digests").write_text("")
    assert read_image(image).sha256 == hashlib.sha256(b"one").hexdigest()


@pytest.mark.parametrize(
    ("complaint", "free", "told"),
    [
        ("cc1: error: writing a.o: No space left on device", 1 << 40, "cannot write to the cache"),
        ("collect2: error: ld returned 1 exit status", 1000, "cannot write to the cache"),
        ("a.c:1: error: expected ;", 1 << 40, "^gcc failed with status 1"),
    ],
)
def test_a_program_that_a_full_disk_stops_is_not_to_blame(
    complaint: str, free: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk would be told as a failure of the linker, with a hint that mends nothing."""
    monkeypatch.setattr(cache, "_free_bytes", lambda _: free)

    def build(work: Path, say: Say) -> cache.Made:
        raise ToolFailed("gcc failed with status 1", "guestbench doctor", status=1, stderr=complaint)

    with pytest.raises(HostError, match=told) as caught:
        cache.make(cache.Plan("thing", "making a thing", build, ""), quiet)
    assert caught.value.hint.startswith("df -h " if told.startswith("cannot") else "guestbench doctor")
    assert list((cache.cache_folder() / "work").iterdir()) == []


@pytest.mark.parametrize("note", [b"", b"{}", b'{"\xff": 1}', b"[" * 100_000])
def test_a_note_that_cannot_be_read_is_none(note: bytes, tmp_path: Path) -> None:
    """A file of the cache that a crash left would end every run of that image in a traceback."""
    image = tmp_path / "image"
    image.write_bytes(b"x")
    found = cache.read_image(image)
    for each in (cache.cache_folder() / "digests").iterdir():
        each.write_bytes(note)
    assert list(cache.list_notes()) == []
    assert cache.read_image(image) == found
