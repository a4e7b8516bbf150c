"""What is named to look at where something cannot be written or read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from guestbench.cli import run_cli
from guestbench.errors import hint_of


@pytest.mark.parametrize(
    ("number", "look"),
    [
        (errno.ENOSPC, "df -h"),
        (errno.EDQUOT, "df -h"),
        (errno.EACCES, "ls -ld"),
        (errno.EPERM, "ls -ld"),
        (errno.EROFS, "ls -ld"),
        (errno.ENOTDIR, "ls -ld"),
    ],
)
def test_hint_shows_what_is_in_the_way(number: int, look: str, tmp_path: Path) -> None:
    """Whoever may not write a folder would be sent to look for room on its disk."""
    (tmp_path / "a b").mkdir()
    error = OSError(number, os.strerror(number))
    assert hint_of(error, tmp_path / "a b") == f"{look} '{tmp_path}/a b'"
    assert hint_of(error, tmp_path / "a b" / "not" / "there") == f"{look} '{tmp_path}/a b'"
    assert hint_of(OSError(errno.ENOMEM, ""), tmp_path) == "free -h"


def test_a_results_folder_that_may_not_be_read_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of root's would be said to be missing, or its disk to be full."""
    (tmp_path / "store.jsonl").write_bytes(b"x")

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert run_cli(["report", str(tmp_path)]) == 3
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"error: cannot read {tmp_path}/store.jsonl: Permission denied",
        f"hint: ls -ld {tmp_path}/store.jsonl",
    ]
