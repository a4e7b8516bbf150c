"""A run that was given so much time: what it makes of its plan, and what it says that it leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from factories import make_record
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import make_guest, make_header, make_system
from report_pages import markdown_of
from silent_progress import SilentProgress

from guestbench.analysis.analyse import analyse
from guestbench.analysis.budget import find_left, fit
from guestbench.analysis.forecast import kind_of
from guestbench.model import Budget, Experiment, Header, Job, Record, Trial
from guestbench.report.budget import tell_plan
from guestbench.run.pool import Local, Tick
from guestbench.run.store import create_store, read_store, reopen_store
from guestbench.run.times import recall_times, remember_times
from guestbench.run.trials import make_trials

RECORDING = Path(__file__)
"""Any file: nothing is booted."""
SECONDS = {"image": 2.0, "boot": 5.0, "cost": 12.0, "surface-image": 3.0, "surface": 9.0}


def make_run(budget_s: float, cycles: int = 5, *, known: bool = True) -> Header:
    """The header of a run of two guests, of which it is `known` how long their trials take."""
    guests = tuple(make_guest(make_system(name), RECORDING) for name in "ab")
    families = ("image", "boot", "cost", "surface")
    experiment = Experiment(name="t", title="T", systems=("a", "b"), cycles=cycles, metrics=families)
    header = make_header(guests, experiment)
    times = {kind_of(trial): take(trial) for trial in header.trials}
    return msgspec.structs.replace(header, budget=Budget(seconds=budget_s, times=times if known else {}))


def take(trial: Trial) -> float:
    """How long a trial takes."""
    return SECONDS.get(trial.purpose, 4.0)


class Host:
    """Makes trials one after the other, by a clock of its own; Ctrl-C comes after `most`."""

    def __init__(self, most: int = 10_000, now: float = 0.0) -> None:
        self.most, self.now = most, now

    def execute(self, jobs: Iterable[Job], _: int, __: Tick) -> Iterator[Record]:
        """Their records."""
        for job in jobs:
            if not self.most:
                raise KeyboardInterrupt
            self.most -= 1
            started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)
            seconds = take(job.trial)
            self.now += seconds
            yield msgspec.structs.replace(
                make_record(job.trial), started=started.isoformat(), wall_ns=round(seconds * 1e9)
            )


def make(header: Header, host: Host) -> tuple[Record, ...]:
    """All that such a run makes."""
    with TemporaryDirectory() as folder, create_store(Path(folder), header) as store:
        return make_trials(store, header, (), SilentProgress(), Local(host.execute))


@settings(max_examples=30)
@given(budget_s=st.floats(1, 400), known=st.booleans())
def test_a_run_keeps_to_its_time_and_its_blocks_stay_whole(budget_s: float, known: bool) -> None:
    """Ten minutes would become an hour, or one guest be measured more often than another."""
    header, host = make_run(budget_s, known=known), Host()
    records = make(header, host)
    rounds: dict[int, float] = {}
    for trial in header.trials:
        rounds[trial.round] = rounds.get(trial.round, 0.0) + take(trial)
    # Here what runs side by side elsewhere comes one after the other; of what nobody knows one is tried.
    slack = max(rounds.values())
    assert host.now <= budget_s + slack * (1 if known else 3)
    made = {record.trial.id for record in records}
    for number in rounds:
        mine = {trial.id for trial in header.trials if trial.round == number}
        assert mine <= made or not mine & made
    kept = fit(header, records)
    assert {trial.id for trial in kept.trials} == made
    found = analyse(header, records)
    assert found.to_come == ()
    assert sum(sum(each.missing.values()) for each in found.dropped) == len(header.trials) - len(made)


def test_cycles_are_fewer_in_all_families_alike() -> None:
    """Half of the time would buy all boots, and nothing of the other families."""
    records = make(make_run(90, cycles=6), Host())
    cycles = {
        purpose: max(r.trial.cycle for r in records if r.trial.purpose == purpose) for purpose in SECONDS
    }
    assert cycles["image"] == cycles["surface-image"] == cycles["surface"] == 1
    assert 2 <= cycles["boot"] < 6
    assert cycles["cost"] in (1, 2)


@pytest.mark.parametrize("stopped_after", [1, 6, 9, 14])
def test_an_interruption_changes_nothing_of_what_fits(tmp_path: Path, stopped_after: int) -> None:
    """The hour in which the lid was closed would count as an hour of measuring."""
    header = make_run(110)
    undisturbed = {record.trial.id for record in make(header, Host())}
    first = Host(stopped_after)
    with create_store(tmp_path, header) as store, pytest.raises(KeyboardInterrupt):
        make_trials(store, header, (), SilentProgress(), Local(first.execute))
    with reopen_store(tmp_path) as (store, again, done):
        records = make_trials(store, again, done, SilentProgress(), Local(Host(now=first.now + 3600).execute))
    assert len(records) < len(header.trials)
    assert {record.trial.id for record in records} == undisturbed
    assert -20 < find_left(*read_store(tmp_path)) < 110


def test_what_is_dropped_is_told_before_and_in_the_report() -> None:
    """A run of few cycles would look as if it had been planned so, or surprise whoever waited for it."""
    header = make_run(90, cycles=6)
    before = list(tell_plan(header, ()))
    assert before[0].startswith("into 1 min 30 s fit ")
    assert "dropped: Boot time: " in before[0] and "× boot" in before[0]
    records = make(header, Host())
    shown = markdown_of(header, records)
    assert "**Dropped to keep to 1 min 30 s:**" in shown
    assert "× boot" in shown.split("Dropped", 1)[1].split("| System", 1)[0]
    assert "The run is not complete" not in shown
    assert next(tell_plan(make_run(10_000), ())).startswith("all ")
    (unknown,) = tell_plan(make_run(110, known=False), ())
    assert "is not known yet" in unknown
    assert list(tell_plan(msgspec.structs.replace(header, budget=None), ())) == []


def test_times_are_remembered_by_what_is_booted_and_by_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan would be made by the times of another host, or of another image."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    records = make(make_run(1000), Host())
    remember_times("host-1", records)
    times: Mapping[str, float] = recall_times("host-1")
    assert times[kind_of(records[0].trial)] == take(records[0].trial)
    other = msgspec.structs.replace(records[0].trial, definition="another image")
    assert kind_of(other) not in times
    assert recall_times("host-2") == {}
    (file,) = (tmp_path / "guestbench" / "times").iterdir()
    file.write_bytes(b"[")
    assert recall_times("host-1") == {}
