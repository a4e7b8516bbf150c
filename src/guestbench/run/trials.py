"""Makes the trials of a run one after another and stores each record as it comes; it computes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

from guestbench import provision
from guestbench.analysis.budget import may_search
from guestbench.analysis.stopping import find_steered, trim
from guestbench.errors import GuestbenchError, TrialError
from guestbench.families import find_family, find_hook, find_purpose, list_families
from guestbench.host import facts as host
from guestbench.model import Header, Job, Platform, Record, Resume, Start, Trial, to_table
from guestbench.run.plan import plan_more
from guestbench.run.pool import Tick, execute_in_workers
from guestbench.run.store import Store
from guestbench.run.worker import tell_obstacle
from guestbench.vmm import find_vmm

Execute = Callable[[Sequence[Job], int, Tick], Iterator[Record]]
"""Makes trials, at most so many at a time, and yields their records as they end."""

VMM_MIB = 640
"""What a VMM may take beside its guest's memory: under TCG QEMU's translation buffer alone is 512 MiB."""


class Progress(Protocol):
    """Something that shows how a run goes on."""

    def begin(self, trials: Sequence[Trial], done: Sequence[Record]) -> None:
        """A run of `trials` starts or goes on; `done` holds what an earlier process has finished."""

    def trial_started(self, trial: Trial) -> None:
        """A trial starts."""

    def tick(self) -> None:
        """Time has gone by."""

    def trial_finished(self, record: Record) -> None:
        """A trial has ended and its record is stored."""


class Reports(Protocol):
    """Something that makes reports of what is stored so far, in a process of its own."""

    def offer(self, made: int) -> None:
        """Nothing that is timed runs, and so many trials are made: one may be begun."""

    def poll(self) -> object:
        """Time has gone by."""

    def wait(self) -> None:
        """Something timed is to begin: none may be in the making."""


def make_trials(
    store: Store,
    header: Header,
    done: Sequence[Record],
    progress: Progress,
    execute: Execute = execute_in_workers,
    *,
    reports: Reports | None = None,
) -> tuple[Record, ...]:
    """Make every trial of the run that `done` does not hold, storing each as it ends; all records in order.

    `reports` are made beside trials that are not timed, and between the rounds of those that are.

    Raises:
        GuestbenchError: something stopped the run; what was finished is in the store.
    """
    records = list(done)
    needed = _Needed(header, records)
    failed: Failed = {}
    progress.begin(needed.header.trials, done)

    def make(trials: Sequence[Trial], slots: int) -> None:
        timed = find_purpose(trials[0].purpose).timed
        beside = reports if not timed else None
        if reports and records and timed:
            if _begins_round(trials[0], records[-1].trial):
                reports.offer(len(records))
            reports.wait()

        def tick() -> None:
            progress.tick()
            if beside:
                beside.poll()
                beside.offer(len(records))

        for trial in trials:
            progress.trial_started(trial)
        jobs = [make_job(trial, header, store.path.parent, records, failed) for trial in trials]
        for record in execute(jobs, slots, tick):
            store.append(record)
            records.append(record)
            progress.trial_finished(record)
            if beside:
                beside.offer(len(records))

    slots = count_slots(header.platform)
    for together in _group_missing(header, done):
        if needed.look_before(together[0]):
            progress.begin(needed.header.trials, records)
        if needed.holds(together[0]):
            make(together, slots)
    for family in header.experiment.metrics:
        if follow_up := find_hook(family, "plan", "follow_up"):
            while may_search(header, records):
                wanted = plan_more(header, follow_up(header, records, slots), records)
                if not wanted:
                    break
                make(wanted, slots)
    return tuple(records)


def _group_missing(header: Header, done: Sequence[Record]) -> Iterator[list[Trial]]:
    """The planned trials without a record, with those together that are made side by side."""
    finished = {record.trial.id for record in done}
    missing = (trial for trial in header.trials if trial.id not in finished)
    by_round = header.budget is not None
    for (purpose, _), alike in groupby(missing, lambda t: (find_purpose(t.purpose), by_round and t.round)):
        together = list(alike)
        yield from [[trial] for trial in together] if purpose.timed else [together]


def _begins_round(trial: Trial, before: Trial) -> bool:
    """Whether a trial belongs to another round than the one before it."""
    return (trial.round, trial.block, trial.cycle) != (before.round, before.block, before.cycle)


class _Needed:
    """Which trials are needed by the rule of the run and its budget, as of the last look."""

    def __init__(self, header: Header, records: Sequence[Record]) -> None:
        self._planned, self._records = header, records
        self._looked = self._round = 0
        self._steered = find_steered(header, counted=False)
        self._take(trim(header, records))

    def _take(self, header: Header) -> None:
        self.header = header
        self._ids = {trial.id for trial in header.trials}

    def holds(self, trial: Trial) -> bool:
        """Whether the trial is to be made."""
        return trial.id in self._ids

    def look_before(self, trial: Trial) -> bool:
        """Look, if this is the first trial of a round, or after so many blocks; whether others are needed."""
        rule, blocks = self.header.until, trial.block - 1
        steers = rule is not None and trial.purpose in self._steered and self.holds(trial)
        if rule is not None and steers and blocks in rule.looks and blocks > self._looked:
            self._looked = blocks
        elif self.header.budget is None or trial.round == self._round:
            return False
        self._round, before = trial.round, self._ids
        self._take(trim(self._planned, self._records))
        return self._ids != before


def count_slots(platform: Platform) -> int:
    """How many boots that are not timed may be made at a time: as many as there are cores and memory for."""
    cores = len(os.sched_getaffinity(0)) // platform.cpus
    # Where it is not known how much memory there is, one at a time.
    rooms = host.read_memory().get("MemAvailable", 0) // 1024 // (platform.memory_mib + VMM_MIB)
    return max(1, min(cores, rooms))


Failed = dict[tuple[str, Start], GuestbenchError]
"""Why there is no snapshot, by the system and what was asked for: it is tried once, not for each trial."""


def make_job(
    trial: Trial, header: Header, folder: Path, records: Sequence[Record] = (), failed: Failed | None = None
) -> Job:
    """What a worker of this process needs to make `trial` of a run in the run folder `folder`.

    Snapshots that `failed` are not tried again, and those that fail now are put into it.
    """
    family = find_family(trial.purpose).name
    brief = find_hook(family, "plan", "brief")
    told = brief(header, trial, records) if brief else None
    resume, obstacle = None, ""
    try:
        resume = _find_state(family, header, trial, {} if failed is None else failed)
    except GuestbenchError as error:
        # It stands in the way of this family's trials of this guest, and of no others.
        obstacle = tell_obstacle(error)
    return Job(
        trial=trial,
        family=family,
        purpose=find_purpose(trial.purpose),
        guest=header.find_guest(trial.system),
        platform=header.platform,
        host=header.host.digest,
        folder=str(folder),
        parent_pid=os.getpid(),
        settings=header.experiment.settings,
        brief=to_table(told) if told is not None else {},
        resume=resume,
        kit=header.kit if find_hook(family, "plan", "find_needs") else None,
        obstacle=obstacle,
        asides=tuple(
            each.name
            for each in list_families()
            if trial.purpose in each.aside and each.name in header.experiment.metrics
        ),
    )


def _find_state(family: str, header: Header, trial: Trial, failed: Failed) -> Resume | None:
    """A snapshot for a trial that need not boot its guest; None for all others.

    None as well if the guest does not get ready, which the trial will tell.
    """
    if not find_vmm(header.platform.vmm).TRAITS.snapshots:
        return None
    find_start = find_hook(family, "plan", "find_start")
    start: Start | None = find_start(header, trial) if find_start else None
    if start is None:
        return None
    guest = header.find_guest(trial.system)
    asked = trial.system, start
    try:
        if asked in failed:
            raise failed[asked]
        snapshot = provision.take_snapshot(
            provision.with_drivers(guest) if start.tools else guest,
            header.platform,
            lambda _: None,
            tools=Path(start.tools.path) if start.tools else None,
            settle_s=start.settle_s,
            variant=start.variant,
        )
    except GuestbenchError as error:
        failed[asked] = error
        if isinstance(error, TrialError):
            return None
        raise
    return Resume(state=str(snapshot.state), images=snapshot.guest.images)
