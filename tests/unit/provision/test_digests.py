"""Digests of image files: what they are of, that holes cost nothing, and that long reading is told."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guestbench.cli import run_cli
from guestbench.model import GIB
from guestbench.provision import cache, digests
from guestbench.provision.cache import read_image
from guestbench.provision.digests import BLOCK_BYTES, digest_file


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def by_the_book(data: bytes) -> str:
    """The digest of a large file by its definition."""
    digest = hashlib.sha256(f"{len(data)}\n".encode())
    for number in range(-(-len(data) // BLOCK_BYTES)):
        block = data[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
        if any(block):
            digest.update(number.to_bytes(8, "little") + block)
    return f"blocks:{digest.hexdigest()}"


def test_digest_of_an_ordinary_file_is_its_sha256(tmp_path: Path) -> None:
    """Nobody could check an image of a report with other tools."""
    file = tmp_path / "image"
    for data in (b"", b"image", os.urandom(3 * BLOCK_BYTES + 5)):
        file.write_bytes(data)
        assert digest_file(file) == hashlib.sha256(data).hexdigest()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 4 * BLOCK_BYTES + 1000),
    st.lists(st.tuples(st.integers(0, 4 * BLOCK_BYTES), st.binary(min_size=1, max_size=9)), max_size=4),
)
def test_digest_of_a_large_file_follows_its_contents_and_not_its_holes(
    tmp_path: Path, size: int, pieces: list[tuple[int, bytes]]
) -> None:
    """A copy of a disk would seem to be another, or another disk the same."""
    sparse, full = tmp_path / "sparse", tmp_path / "full"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "LARGE_BYTES", -1)
        with sparse.open("wb") as file:
            for at, data in pieces:
                file.seek(at)
                file.write(data)
            file.truncate(size)
        data = sparse.read_bytes()
        full.write_bytes(data)
        assert digest_file(sparse) == digest_file(full) == by_the_book(data)


def test_holes_of_a_large_disk_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of 20 GiB that holds a few MiB would keep a user waiting for a minute."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(20 * GIB)
        file.seek(7 * GIB + 5)
        file.write(b"x" * (3 * BLOCK_BYTES))
    read: list[int] = []
    real = os.pread

    def pread(descriptor: int, length: int, at: int) -> bytes:
        read.append(length)
        return real(descriptor, length, at)

    monkeypatch.setattr(os, "pread", pread)
    before = digest_file(disk)
    assert before.startswith("blocks:")
    assert sum(read) <= 6 * BLOCK_BYTES
    with disk.open("r+b") as again:
        again.seek(20 * GIB - 1)
        again.write(b"y")
    assert digest_file(disk) != before


def test_digest_is_not_remembered_for_another_file_of_the_same_time(tmp_path: Path) -> None:
    """A file that was copied over with its times kept would be reported under the digest of the old one."""
    image = tmp_path / "disk"
    image.write_bytes(b"one")
    first = read_image(image)
    facts = image.stat()
    image.write_bytes(b"two")
    os.utime(image, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    second = read_image(image)
    assert second.mtime_ns == first.mtime_ns
    assert second.sha256 == hashlib.sha256(b"two").hexdigest()
    other = tmp_path / "other"
    other.write_bytes(b"six")
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.rename(image)
    assert read_image(image).sha256 == hashlib.sha256(b"six").hexdigest()


def test_digest_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run would read gigabytes again."""
    image = tmp_path / "disk"
    image.write_bytes(b"one")
    first = read_image(image)
    monkeypatch.setattr(cache, "digest_file", lambda *_: pytest.fail("it was read again"))
    assert read_image(image) == first


@pytest.mark.parametrize("large", [False, True])
def test_long_reading_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    """A user would not know why nothing happens for half a minute."""
    monkeypatch.setattr(digests, "LARGE_BYTES", -1 if large else 1 << 40)
    file = tmp_path / "image"
    file.write_bytes(b"x" * (4 * BLOCK_BYTES))
    said: list[str] = []
    digest_file(file, said.append)
    assert said == []
    now = time.monotonic()
    ticks = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: now + 0.6 * next(ticks))
    digest_file(file, said.append)
    assert len(said) == 1
    assert said[0].startswith(f"reading {file} for its digest: 0.0 of 0.0 GiB")


def test_command_prints_what_reports_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody could check the digest of a large image."""
    file = tmp_path / "image"
    file.write_bytes(b"image")
    assert run_cli(["digest", str(file)]) == 0
    assert capsys.readouterr().out == f"{hashlib.sha256(b'image').hexdigest()}  {file}\n"
    monkeypatch.setattr(digests, "LARGE_BYTES", 1)
    file.write_bytes(b"other")
    assert run_cli(["digest", str(file)]) == 0
    assert capsys.readouterr().out == f"{by_the_book(b'other')}  {file}\n"
    assert run_cli(["digest", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
