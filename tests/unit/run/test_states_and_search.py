"""States that trials go on from, made side by side; and a search, asked again whenever a boot has ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
from replay import make_guest, make_header, make_system, write_recording
from silent_progress import SilentProgress

from guestbench.errors import GuestbenchError, HostError, TrialError
from guestbench.families.memory.findings import find_least
from guestbench.model import Crashed, Experiment, Header, Job, Ok, Record, Start, State, Trial
from guestbench.run import pool
from guestbench.run.jobs import Failed
from guestbench.run.plan import list_tasks
from guestbench.run.pool import Execute, Local, StateMade, Tick, execute_in_workers
from guestbench.run.store import create_store
from guestbench.run.trials import make_trials
from guestbench.run.worker import run_trial


@pytest.fixture
def header(tmp_path: Path) -> Header:
    """A guest that gets ready, and one that hangs."""
    good = write_recording(tmp_path / "good", [(1.0, b"Powered by"), (5.0, b"[init done]")])
    hang = write_recording(tmp_path / "hang", [(1.0, b"Powered by")])
    guests = make_guest(make_system("good"), good), make_guest(make_system("hang"), hang)
    experiment = Experiment(name="test", title="Test", systems=("good", "hang"), metrics=("memory",))
    return make_header(guests, experiment)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [("good", HostError, "no snapshot of good can be kept"), ("hang", TrialError, "hang did not get ready")],
)
def test_why_a_state_could_not_be_made_is_told(
    tmp_path: Path, header: Header, name: str, kind: type[GuestbenchError], words: str
) -> None:
    """A guest that hangs would stop trials that need no state of it, or be waited for again and again."""
    state = make_state(header, name, tmp_path)
    (made,) = execute_in_workers([state], 2, lambda: None)
    assert isinstance(made, StateMade) and made.state == state
    assert type(made.error) is kind and words in str(made.error)
    assert not (tmp_path / "states").exists()


def test_a_worker_that_is_killed_over_a_state_stops_nothing(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel ends a process for want of memory the whole run would end."""
    dying = tmp_path / "dying"
    dying.write_text("#!/bin/sh\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    states = [make_state(header, name, tmp_path) for name in ("good", "hang")]
    told = [
        str(made.error) for made in execute_in_workers(states, 2, lambda: None) if isinstance(made, StateMade)
    ]
    assert len(told) == 2 and all("SIGKILL" in error for error in told)


def make_state(header: Header, name: str, folder: Path) -> State:
    """A state of a guest that is asked for."""
    return State(
        guest=header.find_guest(name),
        platform=header.platform,
        start=Start(),
        folder=str(folder),
        parent_pid=os.getpid(),
    )


def run_two_at_a_time(takes: Callable[[Job | State], int], told: list[str]) -> Execute:
    """Trials as boots of the fake VMM, and states that cannot be made, each of which takes so long."""

    def execute(jobs: Iterable[Job | State], slots: int, _: object) -> Iterator[Record | StateMade]:
        waiting, now, running = iter(jobs), 0, list[tuple[int, int, Job | State]]()
        while True:
            while len(running) < slots and (job := next(waiting, None)):
                told.append(job.trial.id if isinstance(job, Job) else f"state of {job.guest.system.name}")
                running.append((now + takes(job), len(told), job))
            if not running:
                return
            running.sort(key=lambda each: each[:2])
            now, _, job = running.pop(0)
            told.append(f"end of {job.trial.id if isinstance(job, Job) else 'the state'}")
            if isinstance(job, State):
                yield StateMade(job, HostError("no room", "df -h"))
            else:
                record = run_trial(msgspec.structs.replace(job, trial=to_boot(job.trial)))
                yield msgspec.structs.replace(record, trial=job.trial)

    return execute


@pytest.mark.parametrize("long", [1, 100])
def test_a_trial_waits_for_its_state_and_others_do_not(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch, long: int
) -> None:
    """Each Debian would be booted for its state while the other core is idle; or one fail again and again."""
    told: list[str] = []

    def list_states(trials: Iterable[Trial], *_: object) -> Iterator[State]:
        needing = [trial for trial in trials if trial.system == "hang"]
        assert {trial.cycle for trial in needing} == {1}
        yield from [make_state(header, trial.system, tmp_path) for trial in needing[:1]]

    monkeypatch.setattr(pool, "list_states", list_states)
    monkeypatch.setattr(
        pool,
        "list_needed",
        lambda trial, *_: [make_state(header, "hang", tmp_path)] if trial.system == "hang" else [],
    )
    monkeypatch.setattr(pool, "count_slots", lambda _: 2)
    failed: Failed = {}
    run = pool.Made(header, tmp_path, [], failed, lambda _: None, lambda: None)
    first = [trial for trial in header.trials if trial.cycle == 1]
    execute = run_two_at_a_time(lambda job: long if isinstance(job, State) else 5, told)
    assert len(list(Local(execute).make(list_tasks(first, ()), run))) == 2
    assert max(trial.cycle for trial in header.trials) == 2
    good, hang = ([trial.id for trial in first if trial.system == name] for name in ("good", "hang"))
    assert told[:2] == ["state of hang", *good] and told.count("state of hang") == 1
    assert told.index("end of the state") < told.index(hang[0])
    assert [str(error) for error in failed.values()] == ["no room"]


def to_boot(trial: Trial) -> Trial:
    """The trial as a boot, which the fake VMM can make."""
    return msgspec.structs.replace(trial, purpose="boot")


def test_a_search_goes_on_beside_a_long_boot_of_another_guest(tmp_path: Path, header: Header) -> None:
    """A core would be idle for as long as Debian takes, at each size of it that is tried."""
    started: list[str] = []

    boot = run_two_at_a_time(lambda job: 10 if job.guest.system.name == "good" else 1, [])

    def execute(jobs: Iterable[Job | State], _: int, tick: Tick) -> Iterator[Record | StateMade]:
        for made in boot(jobs, 2, tick):
            assert isinstance(made, Record)
            started.append(made.trial.system)
            outcome = Ok() if (made.trial.memory_mib or 512) >= 48 else Crashed(reason="too small")
            yield msgspec.structs.replace(made, outcome=outcome, samples=())

    with create_store(tmp_path / "run", header) as store:
        records = make_trials(store, header, (), SilentProgress(), Local(execute))
    found = [find_least(header, records, name) for name in ("good", "hang")]
    assert [each.least_mib for each in found if each] == [48, 48]
    assert len({record.trial.id for record in records}) == len(records)
    searched = started[-sum(r.trial.purpose == "memory-min" for r in records) :]
    first, second = [place for place, name in enumerate(searched) if name == "good"][:2]
    assert searched[first + 1 : second].count("hang") >= 5
