"""The archive of an artifact: the same files are the same bytes, and what is hostile is refused."""

from __future__ import annotations

import gzip
import io
import random
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from guestbench.artifact import archive
from guestbench.artifact.archive import Member, read_archive, unpack, write_archive
from guestbench.cli import run_cli
from guestbench.errors import UsageError
from guestbench.host import process

MEMBERS = {
    "run/store.jsonl": Member(b"{}\n" * 400),
    "README.md": Member(b"# Title\n"),
    "run/empty": Member(b""),
    "run/a name, with [signs]": Member(b"x" * archive.BLOCK),
    f"run/{'deep/' * 30}file": Member(b"deep"),
    "reproduce.sh": Member(b"#!/bin/sh\n", program=True),
}


def write(folder: Path, tar: bytes) -> Path:
    """A file with this tar archive in it, compressed."""
    path = folder / "hostile.tar.gz"
    path.write_bytes(gzip.compress(tar, 1, mtime=0))
    return path


def make_tar(*members: tarfile.TarInfo, data: bytes = b"") -> bytes:
    """A tar archive of these, as tarfile writes it, each file with the same contents."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def make_member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """A member that but for its name and kind is as those of guestbench."""
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = kind, 0o644, archive.TIME
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    """Nobody could tell by its digest that an archive is the one that goes with a paper."""
    packed = write_archive(MEMBERS, "top")
    assert write_archive(dict(reversed(MEMBERS.items())), "top") == packed
    path = tmp_path / "one.tar.gz"
    path.write_bytes(packed)
    assert dict(read_archive(path)) == {f"top/{name}": each for name, each in MEMBERS.items()}


def test_tar_and_guestbench_unpack_the_same(tmp_path: Path) -> None:
    """Whoever has no guestbench could not open an archive, or would get other files."""
    path = tmp_path / "one.tar.gz"
    path.write_bytes(write_archive(MEMBERS, "top"))
    (tmp_path / "theirs").mkdir()
    done = process.run(["tar", "-xzf", path, "-C", tmp_path / "theirs"])
    assert not done.stderr
    assert unpack(path, tmp_path / "ours") == tmp_path / "ours" / "top"
    for name, member in MEMBERS.items():
        for side in ("ours", "theirs"):
            file = tmp_path / side / "top" / name
            assert file.read_bytes() == member.data
            assert bool(file.stat().st_mode & stat.S_IXUSR) is member.program


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([make_member("../evil")], "leads out"),
        ([make_member("top/../../evil")], "leads out"),
        ([make_member("/etc/evil")], "leads out"),
        ([make_member("top/./evil")], "printable"),
        ([make_member("top/\x1b[31mevil")], "printable"),
        ([make_member("top/a\\b")], "printable"),
        ([make_member("top/link", tarfile.SYMTYPE, linkname="/etc/passwd")], "is a link"),
        ([make_member("top/link", tarfile.LNKTYPE, linkname="top/file")], "is a link"),
        ([make_member("top/null", tarfile.CHRTYPE, devmajor=1, devminor=3)], "is a device"),
        ([make_member("top/disk", tarfile.BLKTYPE, devmajor=8)], "is a device"),
        ([make_member("top/pipe", tarfile.FIFOTYPE)], "is a pipe"),
        ([make_member("top/folder", tarfile.DIRTYPE)], "is a folder"),
        ([make_member("top/odd", b"S")], "something unknown"),
        ([make_member("top/a"), make_member("top/a")], "twice"),
        ([make_member("top/a"), make_member("top/a/b")], "behind a file"),
        ([make_member("top/b"), make_member("top/a")], "out of order"),
        ([make_member("top/a", mode=0o4755)], "not one of guestbench's"),
        ([make_member("top/a", uid=1000)], "not one of guestbench's"),
        ([make_member("top/a", uname="root")], "not one of guestbench's"),
        ([make_member("one/a"), make_member("two/a")], "2 folders"),
        ([], "0 folders"),
    ],
)
def test_hostile_members_are_one_error_line_and_nothing_is_written(
    members: list[tarfile.TarInfo], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive from a stranger could write where it likes, or make something that is no file."""
    # What tarfile writes is longer: it fills its last record with zeros.
    tar = make_tar(*members)[: archive.BLOCK * len(members)] + archive.END
    path = write(tmp_path, tar)
    assert run_cli(["artifact", "--check", str(path), "-o", str(tmp_path / "out")]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and words in error and error.isprintable()
    assert hint.startswith("hint: tar tvzf ")
    assert not (tmp_path / "out").exists()


def huge(tar: bytes) -> bytes:
    """The archive, its first file claimed to have as many bytes as a header can tell."""
    member = make_member("top/a")
    member.size = 8**11 - 1
    return member.tobuf(tarfile.USTAR_FORMAT) + tar[archive.BLOCK :]


def negative(tar: bytes) -> bytes:
    """The archive, its first file claimed to have fewer than no bytes."""
    member = make_member("top/a")
    member.size = -archive.BLOCK
    return member.tobuf(tarfile.GNU_FORMAT) + tar[archive.BLOCK :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tar: tar[:-1], "cut off"),
        (lambda tar: tar[: archive.BLOCK + 3], "cut off"),
        (lambda tar: tar + b"\0", "behind its end"),
        (lambda tar: tar[: -archive.BLOCK] + b"x" * archive.BLOCK, "behind its end"),
        (lambda tar: b"x" * archive.BLOCK + tar, "damaged"),
        (lambda tar: tar.replace(b"data\0", b"data!"), "hides something"),
        (huge, "MiB"),
        (negative, "not one of guestbench's"),
        (lambda _: b"", "cut off"),
    ],
)
def test_archives_that_are_no_such_are_refused(
    change: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    """A part of an artifact would be taken for the whole, or something be hidden in it."""
    good = gzip.decompress(write_archive({"a": Member(b"data")}, "top"))
    assert len(list(read_archive(write(tmp_path, good)))) == 1
    with pytest.raises(UsageError, match=words):
        list(read_archive(write(tmp_path, change(good))))


@pytest.mark.parametrize("cut", [0, 5, 40, -4])
def test_what_is_not_gzip_or_not_all_of_it_is_refused(cut: int, tmp_path: Path) -> None:
    """A download that broke off would end in a traceback."""
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(write_archive(MEMBERS, "top")[:cut])
    with pytest.raises(UsageError):
        list(read_archive(path))
    path.write_bytes(b"PK\3\4 no gzip at all")
    with pytest.raises(UsageError, match="no gzip"):
        list(read_archive(path))


def test_bombs_are_refused_before_they_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of a kilobyte could fill the disk or the memory."""
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 20)
    bomb = make_tar(make_member("top/a"), data=bytes(1 << 20))
    with pytest.raises(UsageError, match="more than 1 MiB"):
        unpack(write(tmp_path, bomb), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="more than 1 MiB"):
        write_archive({"a": Member(bytes(1 << 20))}, "top")
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    with pytest.raises(UsageError, match="more than 3 files"):
        list(read_archive(write(tmp_path, make_tar(*(make_member(f"top/{n}") for n in range(4))))))


def test_no_byte_can_be_changed_unseen(tmp_path: Path) -> None:
    """Two archives that differ would hold the same files, or one be read as what it is not."""
    good = gzip.decompress(write_archive(MEMBERS, "top"))
    before = {f"top/{name}": each for name, each in MEMBERS.items()}
    draw = random.Random(17)
    refused = 0
    for _ in range(300):
        changed = bytearray(good)
        changed[draw.randrange(len(good))] ^= 1 << draw.randrange(8)
        try:
            found = dict(read_archive(write(tmp_path, bytes(changed))))
        except UsageError:
            refused += 1
        else:
            assert found != before
    assert 0 < refused < 300
