"""A run: every trial made and stored, whatever the guests do; resumed where it stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
from in_process import in_process
from replay import make_guest, make_header, make_system, write_recording
from silent_progress import SilentProgress

from guestbench import provision
from guestbench.analysis.forecast import Forecast
from guestbench.analysis.quality import ask_measured
from guestbench.errors import GuestbenchError, HostError, ImageError, TrialError
from guestbench.families.memory.findings import find_evidence, find_least
from guestbench.families.surface import probe as surface_probe
from guestbench.host.accel import choose_accel
from guestbench.model import (
    Accel,
    Crashed,
    Experiment,
    Guest,
    GuestFamily,
    Header,
    Job,
    NotMade,
    Ok,
    Outcome,
    Platform,
    Record,
    Sample,
    TimedOut,
    Trial,
    TrialResult,
)
from guestbench.page.numbers import show_duration
from guestbench.run import prepare
from guestbench.run.jobs import count_slots, make_job
from guestbench.run.pool import Execute, Local, execute_in_workers
from guestbench.run.progress import PlainProgress, describe_left, describe_record
from guestbench.run.store import create_store, read_store, reopen_store
from guestbench.run.trials import make_trials
from guestbench.run.worker import run_trial
from guestbench.vmm import Machine

BOOTS = ("boot",)


def quiet() -> None:
    """Take no notice of time."""


@pytest.fixture
def header(tmp_path: Path) -> Header:
    """A guest that gets ready, one that hangs, one that crashes; 2 cycles."""
    good = write_recording(tmp_path / "good", [(1.0, b"Powered by"), (5.0, b"[init done]")])
    hang = write_recording(tmp_path / "hang", [(1.0, b"Powered by")])
    crash = write_recording(tmp_path / "crash", [(1.0, b"CRIT: no\n")], exit_status=0)
    guests = (
        make_guest(make_system("good"), good),
        make_guest(make_system("hang"), hang),
        make_guest(make_system("crash"), crash),
    )
    names = tuple(g.system.name for g in guests)
    experiment = Experiment(name="test", title="Test", systems=names, cycles=2, metrics=BOOTS)
    return make_header(guests, experiment)


def test_guests_that_fail_are_records_like_the_others(tmp_path: Path, header: Header) -> None:
    """One guest that hangs would end the run, or vanish from the results."""
    with create_store(tmp_path / "run", header) as store:
        records = make_trials(store, header, (), SilentProgress(), Local(in_process))
    assert [r.trial for r in records] == list(header.trials)
    kinds = {r.trial.system: type(r.outcome) for r in records}
    assert kinds == {"good": Ok, "hang": TimedOut, "crash": Crashed}
    assert all(bool(r.samples) == isinstance(r.outcome, Ok) for r in records)
    assert all(r.host == "host-1" and r.argv[0] == "fake" for r in records)


def test_each_trial_keeps_its_serial_log(tmp_path: Path, header: Header) -> None:
    """A failure could not be looked into afterwards."""
    with create_store(tmp_path / "run", header) as store:
        records = make_trials(store, header, (), SilentProgress(), Local(in_process))
    logs = {r.trial.system: (tmp_path / "run" / r.artifacts["serial"]).read_bytes() for r in records}
    assert logs == {"good": b"Powered by[init done]", "hang": b"Powered by", "crash": b"CRIT: no\n"}


@pytest.mark.parametrize("stop_after", [0, 1, 5, 8])
def test_a_run_that_stopped_goes_on_where_it_was(tmp_path: Path, header: Header, stop_after: int) -> None:
    """Ctrl-C would cost every trial made so far, or some would be made twice."""
    made: list[str] = []

    def interrupted(jobs: Iterable[Job], _: int, __: object) -> Iterator[Record]:
        for job in jobs:
            if len(made) == stop_after:
                raise KeyboardInterrupt
            made.append(job.trial.id)
            yield run_trial(job)

    with create_store(tmp_path / "run", header) as store, pytest.raises(KeyboardInterrupt):
        make_trials(store, header, (), SilentProgress(), Local(interrupted))
    assert [r.trial.id for r in read_store(tmp_path / "run")[1]] == made
    with reopen_store(tmp_path / "run") as (store, again, done):
        make_trials(store, again, done, SilentProgress(), Local(in_process))
    _, records = read_store(tmp_path / "run")
    assert [r.trial for r in records] == list(header.trials)


def test_a_worker_process_gives_the_same_record(tmp_path: Path, header: Header) -> None:
    """What the tests of this file see would not be what users get."""
    job = make_job(header.trials[0], header, tmp_path)
    job = msgspec.structs.replace(job, trial=msgspec.structs.replace(job.trial, system="good"))
    there, here = next(execute_in_workers([job], 1, quiet)), run_trial(job)
    assert isinstance(there.outcome, Ok)
    for field in ("trial", "outcome", "marks", "samples", "argv", "images", "artifacts"):
        assert getattr(there, field) == getattr(here, field), field


@pytest.mark.parametrize("fails", [False, True])
def test_a_look_of_another_family_adds_to_a_trial_and_never_costs_it(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """What was counted would be lost with what was seen beside it, or a failed look not be told."""

    def look(job: Job, machine: Machine) -> TrialResult:
        del job, machine
        if fails:
            raise ZeroDivisionError("planted")
        return TrialResult(outcome=Ok(), samples=(Sample(metric="surface.text_base", value=4096),))

    monkeypatch.setattr(surface_probe, "look", look)
    trial = next(trial for trial in header.trials if trial.system == "good")
    job = make_job(trial, header, tmp_path)
    alone = run_trial(job)
    record = run_trial(msgspec.structs.replace(job, asides=("surface",)))
    assert record.outcome == alone.outcome == Ok()
    assert {s.metric for s in alone.samples} <= {s.metric for s in record.samples}
    assert ("surface.text_base" in {s.metric for s in record.samples}) == (not fails)
    assert ("surface: a mistake in guestbench: ZeroDivisionError" in record.remark) == fails


def test_only_families_that_are_measured_look_at_trials_of_others(header: Header, tmp_path: Path) -> None:
    """A run of memory alone would have figures of a family that nobody asked for."""
    for metrics, asides in ((("memory",), ()), (("memory", "surface"), ("surface",)), (("surface",), ())):
        run = make_header(header.guests, msgspec.structs.replace(header.experiment, metrics=metrics))
        for trial in run.trials:
            wanted = asides if trial.purpose == "memory" else ()
            assert make_job(trial, run, tmp_path).asides == wanted


def test_an_image_that_changes_during_the_run_stops_it(tmp_path: Path, header: Header) -> None:
    """Half of the boots would be of another guest than the report says."""
    recording = Path(next(iter(header.guests[0].images.values())).path)
    job = make_job(header.trials[0], header, tmp_path)
    recording.write_bytes(recording.read_bytes() + b"x")
    with pytest.raises(GuestbenchError, match="has changed since the run began") as caught:
        next(execute_in_workers([job], 1, quiet))
    assert caught.value.exit_code == ImageError.exit_code


def test_a_worker_that_dies_is_one_error(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed worker would end in a traceback about JSON."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    job = make_job(header.trials[0], header, tmp_path)
    with pytest.raises(TrialError, match="died with status 1"):
        next(execute_in_workers([job], 1, quiet))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_worker_costs_its_own_trial_alone(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A host that is short of memory for a moment would end a run of a night."""
    jobs = [make_job(trial, header, tmp_path) for trial in header.trials[:3]]
    workers = execute_in_workers(jobs, 1, quiet)
    first = next(workers)
    dying = tmp_path / "dying"
    dying.write_text(f"#!/bin/sh\nkill -{number.value} $$\n")
    dying.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(dying))
        second = next(workers)
    third = next(workers)
    assert [each.trial for each in (first, second, third)] == [job.trial for job in jobs]
    assert isinstance(second.outcome, NotMade) and number.name in second.outcome.reason
    assert not isinstance(third.outcome, NotMade)
    assert not second.samples and second.images and not second.argv


def test_a_worker_whose_parent_is_gone_makes_no_trial(tmp_path: Path, header: Header) -> None:
    """A worker could outlive a guestbench that was killed while it started."""
    job = make_job(header.trials[0], header, tmp_path)
    orphan = msgspec.structs.replace(job, parent_pid=1)
    with pytest.raises(TrialError, match="died with status 137"):
        next(execute_in_workers([orphan], 1, quiet))


def test_several_workers_at_a_time_lose_no_trial(tmp_path: Path, header: Header) -> None:
    """A search on two cores would mix up the answers of its workers, or forget one."""
    jobs = [make_job(trial, header, tmp_path) for trial in header.trials]
    records = list(execute_in_workers(jobs, 3, quiet))
    assert sorted(r.trial.id for r in records) == sorted(t.id for t in header.trials)
    kinds = {r.trial.system: type(r.outcome) for r in records}
    assert kinds == {"good": Ok, "hang": TimedOut, "crash": Crashed}


def test_one_worker_that_fails_ends_the_others(tmp_path: Path, header: Header) -> None:
    """Workers would go on booting guests after the command has ended."""
    jobs = [make_job(trial, header, tmp_path) for trial in header.trials]
    orphan = msgspec.structs.replace(jobs[1], parent_pid=1)
    workers = execute_in_workers([jobs[0], orphan, *jobs[2:]], 4, quiet)
    before = children_of(os.getpid())  # a library of another test may have left one
    with pytest.raises(TrialError, match=orphan.trial.id):
        list(workers)
    assert children_of(os.getpid()) <= before


def children_of(pid: int) -> set[int]:
    """The processes that `pid` has started and that are still there."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # others end meanwhile
            stats.append(path.read_text().rpartition(")"))
    return {int(head.split()[0]) for head, _, tail in stats if int(tail.split()[1]) == pid}


def needs(least_mib: int, seen: list[tuple[str, int | None]]) -> Execute:
    """Makes trials of guests that get ready from so much memory on, and notes what was tried."""

    def execute(jobs: Iterable[Job], slots: int, _: object) -> Iterator[Record]:
        assert slots >= 1
        # The last comes back first, as it may with workers side by side.
        for job in reversed(tuple(jobs)):
            seen.append((job.trial.system, job.trial.memory_mib))
            record = run_trial(msgspec.structs.replace(job, trial=to_boot(job.trial)))
            enough = (job.trial.memory_mib or 512) >= least_mib
            outcome = Ok() if enough else Crashed(reason="too small")
            yield msgspec.structs.replace(record, trial=job.trial, outcome=outcome, samples=())

    return execute


def to_boot(trial: Trial) -> Trial:
    """The trial as a boot, which the fake VMM can make."""
    return msgspec.structs.replace(trial, purpose="boot")


@pytest.fixture
def memory_header(header: Header) -> Header:
    """A run of one guest that counts its memory and searches for the least."""
    experiment = Experiment(
        name="test",
        title="Test",
        systems=("good",),
        metrics=("memory",),
        settings={"memory": {"boots": 2}},
    )
    return make_header(header.guests[:1], experiment)


def test_the_least_memory_is_searched_for_after_all_that_is_planned(
    tmp_path: Path, memory_header: Header
) -> None:
    """Sizes would be tried beside boots that are timed, or the search be forgotten."""
    seen: list[tuple[str, int | None]] = []
    with create_store(tmp_path / "run", memory_header) as store:
        records = make_trials(store, memory_header, (), SilentProgress(), Local(needs(48, seen)))
    assert [size for _, size in seen[:2]] == [None, None]
    assert all(size for _, size in seen[2:])
    least = find_least(memory_header, records, "good")
    assert least is not None
    assert (least.least_mib, least.finished) == (48, True)
    assert read_store(tmp_path / "run")[1] == records
    evidence = {each.memory_mib: (each.passed, each.boots) for each in find_evidence(records, "good")}
    assert (evidence[48], evidence[47]) == ((2, 2), (0, 2))
    assert len({r.trial.id for r in records}) == len(records)


@pytest.mark.parametrize("kept", [1, 3, 6])
def test_a_search_that_stopped_goes_on(tmp_path: Path, memory_header: Header, kept: int) -> None:
    """Ctrl-C in the middle of a search would cost all of it, or make its report claim too much."""
    with create_store(tmp_path / "run", memory_header) as store:
        records = make_trials(store, memory_header, (), SilentProgress(), Local(needs(48, [])))
    part = records[:kept]
    unfinished = find_least(memory_header, part, "good")
    assert unfinished is not None
    assert not unfinished.finished
    (told,) = ask_measured("unfinished", memory_header, part)
    assert told == "The search for the least RAM has not ended for good."
    seen: list[tuple[str, int | None]] = []
    with create_store(tmp_path / "again", memory_header) as store:
        again = make_trials(store, memory_header, part, SilentProgress(), Local(needs(48, seen)))
    assert len(again) <= len(records) + 2
    assert len(seen) < len(records)
    least = find_least(memory_header, again, "good")
    assert least is not None
    assert least.least_mib == 48


def test_slots_leave_room_for_every_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two guests of half the host's memory each would push the host into swap."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr("guestbench.host.facts.read_memory", lambda: {"MemAvailable": 3 << 20})
    assert count_slots(Platform(memory_mib=128)) == 4
    assert count_slots(Platform(memory_mib=512)) == 2
    assert count_slots(Platform(memory_mib=8192)) == 1
    assert count_slots(Platform(memory_mib=128, cpus=4)) == 1


def outcome_of(outcomes: dict[str, Outcome], seen: list[tuple[str, Accel]]) -> object:
    """A boot attempt that gives each system its outcome and notes what was tried."""

    def attempt(guest: Guest, platform: Platform) -> Outcome:
        seen.append((guest.system.name, platform.accel))
        return outcomes.get(guest.system.name, Ok())

    return attempt


@pytest.fixture
def kvm_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A /dev/kvm that can be opened."""
    (tmp_path / "kvm").touch()
    monkeypatch.setattr("guestbench.host.accel.KVM_DEVICE", tmp_path / "kvm")


QEMU_AUTO = Platform(accel=Accel.AUTO)


@pytest.mark.usefixtures("kvm_device")
def test_auto_takes_kvm_only_where_every_guest_boots(header: Header) -> None:
    """A KVM that cannot boot Linux would be used for the unikernel alone, or fail every trial."""
    seen: list[tuple[str, Accel]] = []
    attempt = outcome_of({}, seen)
    choice = choose_accel(QEMU_AUTO, header.guests, attempt, lambda _: None)  # type: ignore[arg-type]
    assert choice.used is Accel.KVM
    assert {name for name, _ in seen} == {"good", "hang", "crash"}
    assert all(accel is Accel.KVM for _, accel in seen)
    attempt = outcome_of({"hang": TimedOut(reason="silent")}, seen)
    choice = choose_accel(QEMU_AUTO, header.guests, attempt, lambda _: None)  # type: ignore[arg-type]
    assert choice.used is Accel.TCG
    assert choice.reason == "hang did not get ready under KVM: silent"


@pytest.mark.usefixtures("kvm_device")
def test_kvm_asked_for_and_broken_is_an_error(header: Header) -> None:
    """`--accel kvm` would silently measure TCG."""
    attempt = outcome_of({"good": Crashed(reason="aborted")}, [])
    platform = Platform(accel=Accel.KVM)
    with pytest.raises(HostError, match="good did not get ready under KVM: aborted"):
        choose_accel(platform, header.guests, attempt, lambda _: None)  # type: ignore[arg-type]


def test_auto_without_the_device_boots_nothing(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run on a host without KVM would lose time to a hopeless attempt."""
    monkeypatch.setattr("guestbench.host.accel.KVM_DEVICE", tmp_path / "kvm")
    seen: list[tuple[str, Accel]] = []
    attempt = outcome_of({}, seen)
    choice = choose_accel(QEMU_AUTO, header.guests, attempt, lambda _: None)  # type: ignore[arg-type]
    assert (choice.used, seen) == (Accel.TCG, [])
    assert "does not exist" in choice.reason


def test_plain_progress_says_what_happened(
    tmp_path: Path, header: Header, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log of a CI job would not say which trial failed and why."""
    with create_store(tmp_path / "run", header) as store:
        make_trials(store, header, (), PlainProgress(sys.stderr), Local(in_process))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(header.trials)
    assert lines[0].startswith("[1/9] ")
    assert any("good boot 1: ready after 0.005 s" in line for line in lines)
    assert any("crash boot 2: FAILED: the unikernel aborted: CRIT: no" in line for line in lines)
    assert "left" in lines[0]
    assert "left" not in lines[-1]


def test_the_forecast_says_at_least_while_it_has_not_seen_every_system(
    tmp_path: Path, header: Header
) -> None:
    """The time left would look certain before the slowest guest has booted once."""
    with create_store(tmp_path / "run", header) as store:
        records = make_trials(store, header, (), SilentProgress(), Local(in_process))
    records = tuple(msgspec.structs.replace(r, wall_ns=2_000_000_000) for r in records)
    forecast = Forecast(header.trials)
    forecast.learn(records[0])
    assert describe_left(forecast).startswith("at least ")
    for record in records[1:4]:
        forecast.learn(record)
    assert describe_left(forecast) == "10 s left"
    assert [show_duration(s) for s in (3.2, 185, 3720)] == ["3 s", "3 min 05 s", "1 h 02 min"]
    assert describe_record(records[0])


def test_only_measured_boots_have_a_block(header: Header) -> None:
    """Warm-ups would be counted as blocks of the paired analysis."""
    assert {t.purpose for t in header.trials if t.block == 0} == {"warmup"}


def test_a_linux_guest_witnesses_for_kvm_where_none_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A KVM that boots only small unikernels would be chosen for them, and hang under their work."""
    image = tmp_path / "image"
    image.touch()
    unikernel = make_guest(make_system("uk"), image)
    linux = make_guest(make_system("linux-minimal", family=GuestFamily.LINUX), image)
    catalogue = {"linux-minimal": linux.system}
    monkeypatch.setattr(provision, "locate", lambda *_: linux)
    assert prepare.find_witnesses((unikernel,), catalogue) == (unikernel, linux)
    assert prepare.find_witnesses((linux, unikernel), catalogue) == (linux, unikernel)

    def missing(*_: object) -> Guest:
        raise ImageError("there is no image", "guestbench systems build linux-minimal")

    monkeypatch.setattr(provision, "locate", missing)
    assert prepare.find_witnesses((unikernel,), catalogue) == (unikernel,)
