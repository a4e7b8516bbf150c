"""Makes the trials of a run one after another and stores each record as it comes; it computes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

from guestbench import provision
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

    Raises:
        GuestbenchError: something stopped the run; what was finished is in the store.
    """
    records = list(done)
    finished = {record.trial.id for record in done}
    needed = _Needed(header, records)
    failed: Failed = {}
    progress.begin(needed.header.trials, done)

    def make(trials: Sequence[Trial], slots: int) -> None:
        timed = find_purpose(trials[0].purpose).timed

        def tick() -> None:
            progress.tick()
            if reports and not timed:
                reports.poll()
                reports.offer(len(records))

        for trial in trials:
            progress.trial_started(trial)
        jobs = [make_job(trial, header, store.path.parent, records, failed) for trial in trials]
        for record in execute(jobs, slots, tick):
            store.append(record)
            records.append(record)
            progress.trial_finished(record)
            if reports and not timed:
                reports.offer(len(records))

    slots = count_slots(header.platform)
    missing = [trial for trial in header.trials if trial.id not in finished]
    for purpose, together in groupby(missing, key=lambda trial: find_purpose(trial.purpose)):
        if purpose.timed:
            for trial in together:
                if reports and records:
                    if _begins_round(trial, records[-1].trial):
                        reports.offer(len(records))
                    reports.wait()
                if needed.look_before(trial):
                    progress.begin(needed.header.trials, records)
                if needed.holds(trial):
                    make([trial], 1)
        else:
            make(list(together), slots)
    for family in header.experiment.metrics:
        if follow_up := find_hook(family, "plan", "follow_up"):
            while trials := plan_more(header, follow_up(header, records, slots), records):
                make(trials, slots)
    return tuple(records)


def _begins_round(trial: Trial, before: Trial) -> bool:
    """Whether a trial belongs to another round than the one before it."""
    places = [(each.block, each.cycle, "" if each.block else each.purpose) for each in (trial, before)]
    return places[0] != places[1]


class _Needed:
    """Which trials are needed by the rule of the run, as of the last of its looks."""

    def __init__(self, header: Header, records: Sequence[Record]) -> None:
        self._records = records
        self._looked = 0
        self._steered = find_steered(header, counted=False)
        self._take(trim(header, records))

    def _take(self, header: Header) -> None:
        self.header = header
        self._ids = {trial.id for trial in header.trials}

    def holds(self, trial: Trial) -> bool:
        """Whether the trial is to be made."""
        return trial.id in self._ids

    def look_before(self, trial: Trial) -> bool:
        """Look, if this is the first trial after so many blocks; whether trials are needless by that."""
        rule, blocks = self.header.until, trial.block - 1
        if rule is None or trial.purpose not in self._steered or not self.holds(trial):
            return False
        if blocks not in rule.looks or blocks <= self._looked:
            return False
        self._looked = blocks
        before = len(self._ids)
        self._take(trim(self.header, self._records))
        return len(self._ids) < before


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
