"""The store: what survives a kill, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from replay import make_guest, make_header, make_system, write_recording

from guestbench.errors import StoreError
from guestbench.model import (
    Experiment,
    Header,
    Record,
)
from guestbench.run.store import (
    STORE_NAME,
    create_store,
    read_store,
    reopen_store,
)
from guestbench.run.trials import SilentProgress, make_trials
from guestbench.run.worker import run_trial

BOTH = ("image", "boot")
EXPERIMENT = Experiment(name="test", title="Test", systems=("tiny",), cycles=3, metrics=BOTH)


@pytest.fixture
def header(tmp_path: Path) -> Header:
    """A run of one replaying guest."""
    recording = write_recording(tmp_path / "recording", [(1.0, b"hello "), (5.0, b"[init done]")])
    return make_header((make_guest(make_system(), recording),), EXPERIMENT)


def finish(folder: Path, header: Header) -> tuple[Record, ...]:
    """Make all trials of a run in this process."""
    with create_store(folder, header) as store:
        return make_trials(store, header, (), SilentProgress(), lambda jobs, *_: map(run_trial, jobs))


def test_everything_written_is_read_back(tmp_path: Path, header: Header) -> None:
    """A report made later would differ from the run."""
    records = finish(tmp_path / "run", header)
    assert len(records) == 5
    assert read_store(tmp_path / "run") == (header, records)


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.999])
def test_a_kill_in_the_middle_of_a_line_loses_only_that_trial(
    tmp_path: Path, header: Header, kept: float
) -> None:
    """A crash while a record is written would make the whole store unreadable."""
    records = finish(tmp_path / "run", header)
    path = tmp_path / "run" / STORE_NAME
    data = path.read_bytes()
    last = data.rfind(b"\n", 0, -1) + 1
    path.write_bytes(data[: last + int((len(data) - last - 1) * kept)])
    assert read_store(tmp_path / "run")[1] == records[:-1]
    with reopen_store(tmp_path / "run") as (store, _, done):
        assert done == records[:-1]
        store.append(records[-1])
    assert path.read_bytes() == data


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path, header: Header) -> None:
    """`-o DIR` twice would destroy the first run's measurements."""
    finish(tmp_path / "run", header)
    before = (tmp_path / "run" / STORE_NAME).read_bytes()
    with pytest.raises(StoreError, match="holds a run already"), create_store(tmp_path / "run", header):
        pass
    assert (tmp_path / "run" / STORE_NAME).read_bytes() == before


def test_two_runs_cannot_write_the_same_store(tmp_path: Path, header: Header) -> None:
    """A second `--resume` beside a running one would interleave records."""
    with (
        create_store(tmp_path / "run", header),
        pytest.raises(StoreError, match="another run"),
        reopen_store(tmp_path / "run"),
    ):
        pass


def test_a_store_of_another_version_is_refused_by_its_number(tmp_path: Path, header: Header) -> None:
    """A later format would be misread, or end in a traceback."""
    folder = tmp_path / "run"
    folder.mkdir()
    newer = msgspec.json.decode(msgspec.json.encode(header))
    newer["version"] = 999
    newer["surprise"] = True
    (folder / STORE_NAME).write_bytes(msgspec.json.encode(newer) + b"\n")
    with pytest.raises(StoreError, match=r"format 999.*reads format 4"):
        read_store(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ended before its first trial"),
        (b"\xff\xfe\n", "damaged"),
        (b"{}\n", "damaged"),
        (b'{"version": 1, "kind": "header"}\n', "damaged"),
        (b"[" * 100_000 + b"\n", "damaged"),
    ],
)
def test_a_damaged_store_is_one_error(tmp_path: Path, content: bytes, words: str) -> None:
    """A damaged file would end in a traceback."""
    (tmp_path / STORE_NAME).write_bytes(content)
    with pytest.raises(StoreError, match=words):
        read_store(tmp_path)


def test_a_missing_store_is_one_error(tmp_path: Path) -> None:
    """`guestbench report` on a wrong folder would end in a traceback."""
    with pytest.raises(StoreError, match="No such file"):
        read_store(tmp_path / "nowhere")


def test_a_full_disk_keeps_what_was_measured(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk would leave half a line behind, or lose finished trials."""
    records = finish(tmp_path / "run", header)
    path = tmp_path / "run" / STORE_NAME
    before = path.read_bytes()
    real_write = os.write
    calls = []

    def write_some_then_fail(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real_write(descriptor, data[:20])

    with reopen_store(tmp_path / "run") as (store, _, _):
        monkeypatch.setattr(os, "write", write_some_then_fail)
        with pytest.raises(StoreError, match=r"No space left.*kept"):
            store.append(records[0])
        monkeypatch.undo()
    assert len(calls) == 2
    assert path.read_bytes() == before
