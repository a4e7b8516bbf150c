"""A family that fails: its own trials say why, and all that others measured is in the report."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from in_process import in_process
from replay import make_guest, make_header, make_system, write_recording
from silent_progress import SilentProgress

from guestbench.cli import report
from guestbench.errors import HostError, StoreError, ToolMissing
from guestbench.families.memory.findings import tried
from guestbench.families.surface import probe
from guestbench.model import Experiment, Header, NotMade, Ok, Record, Trial
from guestbench.run import jobs as made_jobs
from guestbench.run.jobs import make_job
from guestbench.run.pool import Local, execute_in_workers
from guestbench.run.store import create_store, read_store
from guestbench.run.trials import make_trials
from guestbench.run.worker import run_trial

REFUSED = HostError("QMP migrate: fd: migration to a file is not supported", "guestbench doctor")


@pytest.fixture
def header(tmp_path: Path) -> Header:
    """A guest that gets ready, of which boots and attack surface are measured."""
    good = write_recording(tmp_path / "good", [(1.0, b"Powered by"), (5.0, b"[init done]")])
    experiment = Experiment(
        name="test", title="Test", systems=("good",), cycles=2, metrics=("boot", "surface")
    )
    return make_header((make_guest(make_system("good"), good),), experiment)


def raising(error: Exception) -> Callable[..., object]:
    """A probe that fails by that."""

    def fail(*_: object) -> object:
        raise error

    return fail


def make(folder: Path, header: Header) -> tuple[Record, ...]:
    """All trials of a run, and its report."""
    with create_store(folder, header) as store:
        records = make_trials(store, header, (), SilentProgress(), Local(in_process))
    report.write(folder, header, records, as_json=False)
    return records


def judge(folder: Path, records: Sequence[Record], reason: str) -> None:
    """The boots are there, the surface says why it is not, and both are in store and report."""
    kinds = {(r.trial.purpose.partition("-")[0], type(r.outcome)) for r in records}
    assert {("boot", Ok), ("surface", NotMade)} <= kinds
    assert ("boot", NotMade) not in kinds
    assert [r.outcome for r in read_store(folder)[1]] == [r.outcome for r in records]
    page = (folder / "comparison_results.md").read_text()
    assert reason in page.replace("\\", "").replace("`", "")
    assert "5.00 ± 0.00 ms" in page


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (REFUSED, f"{REFUSED.message} (mended by: guestbench doctor)"),
        (ToolMissing("nm is not installed", "apt-get install binutils"), "nm is not installed"),
        (
            ZeroDivisionError("division by zero"),
            "a mistake in guestbench: ZeroDivisionError: division by zero",
        ),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/1/smaps"), "/proc/1/smaps"),
    ],
)
def test_a_probe_that_raises_takes_no_other_familys_figures_along(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    """One mistake in one family would cost a night's measurements, and no report would be written."""
    monkeypatch.setattr(probe, "measure", raising(error))
    records = make(tmp_path / "run", header)
    judge(tmp_path / "run", records, reason)
    kept = [tmp_path / "run" / r.artifacts["traceback"] for r in records if "traceback" in r.artifacts]
    assert bool(kept) == ("a mistake in guestbench" in records[-1].outcome.reason)
    assert all(type(error).__name__ in file.read_text() for file in kept)


def test_a_snapshot_that_fails_takes_no_other_familys_figures_along(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A QEMU that refuses to save a state would end a run that needs a state for one of its families only."""

    def find(header: Header, trial: Trial, *_: object) -> None:
        if trial.purpose == "surface":
            raise REFUSED

    monkeypatch.setattr(made_jobs, "_find_state", find)
    judge(tmp_path / "run", make(tmp_path / "run", header), REFUSED.message)


def test_a_worker_process_tells_it_too(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other tests see would not be what users get."""
    monkeypatch.setattr(made_jobs, "_find_state", raising(REFUSED))
    job = make_job(header.trials[-1], header, tmp_path)
    (told,) = execute_in_workers([job], 1, lambda: None)
    assert told.outcome == run_trial(job).outcome
    assert isinstance(run_trial(job).outcome, NotMade)


@pytest.mark.parametrize(
    "error",
    [
        StoreError("cannot write here", "df -h ."),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_full_disk_still_stops_the_run(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Every later trial would be made for nothing."""
    monkeypatch.setattr(probe, "measure", raising(error))
    with pytest.raises(StoreError, match="cannot write"):
        make(tmp_path / "run", header)


def test_a_trial_that_was_not_made_says_nothing_of_the_memory_a_guest_needs(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size would be told to be too small for the guest, though only our probe had failed with it."""
    from guestbench.families.memory import probe as memory

    monkeypatch.setattr(memory, "measure", raising(REFUSED))
    experiment = Experiment(name="test", title="Test", systems=("good",), cycles=1, metrics=("memory",))
    header = make_header(header.guests, experiment)
    records = make(tmp_path / "run", header)
    assert records
    assert all(isinstance(record.outcome, NotMade) for record in records)
    assert [sizes for _, _, sizes in tried(header, records)] == [()]
