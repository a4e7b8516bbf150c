"""`guestbench status`: how far a run is, from its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from factories import make_run

from guestbench.cli import run_cli
from guestbench.run.store import create_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a run is."""
    return tmp_path / "run"


@pytest.mark.parametrize("made", [0, 21])
def test_a_run_that_goes_on_says_what_it_does(
    folder: Path, made: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever waits in another terminal would have to guess whether anything moves."""
    header, records = make_run()
    with create_store(folder, header) as store:
        for record in records[:made]:
            store.append(record)
        trial = folder / "trials" / records[made].trial.id
        trial.mkdir(parents=True)
        (trial / "worker.stderr").touch()
        assert run_cli(["status", str(folder)]) == 0
        told = capsys.readouterr().out
        assert run_cli(["status", str(folder), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert told.startswith(f"{header.run} is running: {made} of 60 planned trials are made.\n")
    assert "Running now:\n  " in told
    assert f"{records[made].trial.system} " in told.split("Running now:\n", 1)[1].splitlines()[0]
    assert "Boot time" in told.split("Still to come", 1)[1]
    assert ("nobody knows" in told) == (made == 0)
    assert (status["state"], status["made"], status["planned"]) == ("running", made, 60)
    assert [each["trial"] for each in status["running"]] == [records[made].trial.id]


def test_a_run_that_was_stopped_says_how_to_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was killed would look as if it went on, or as if it were whole."""
    header, records = make_run()
    with create_store(folder, header) as store:
        for record in records[:-1]:
            store.append(record)
    assert run_cli(["status", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "is stopped: 59 of 60" in told
    assert f"guestbench run --resume {folder} goes on with it." in told
    assert "Running now" not in told


def test_a_whole_run_is_finished(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A finished run would be waited for."""
    header, records = make_run()
    with create_store(folder, header) as store:
        for record in records:
            store.append(record)
    assert run_cli(["status", str(folder)]) == 0
    assert capsys.readouterr().out == f"{header.run} is finished: 60 of 60 planned trials are made.\n"
