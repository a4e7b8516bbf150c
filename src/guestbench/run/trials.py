"""Makes the trials of a run one after another and stores each record as it comes; it computes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

from guestbench import provision
from guestbench.errors import TrialError
from guestbench.families import memory
from guestbench.families.memory import search
from guestbench.host import facts as host
from guestbench.model import (
    Guest,
    Header,
    Image,
    Job,
    Platform,
    Record,
    Resume,
    ShellWork,
    Trial,
    find_settings,
)
from guestbench.run.plan import plan_sizes
from guestbench.run.pool import Tick, execute_in_workers
from guestbench.run.store import Store
from guestbench.vmm import find_vmm

Execute = Callable[[Sequence[Job], int, Tick], Iterator[Record]]
"""Makes trials, at most so many at a time, and yields their records as they end."""

UNTIMED = ("surface-image", "surface-boot")
"""Trials that can be made side by side: nothing in them is a time, and none asks much of the host."""

WORKING = ("work", "net", "cross-check")
"""Trials in which a guest is given work."""

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


class SilentProgress:
    """Shows nothing."""

    def begin(self, trials: Sequence[Trial], done: Sequence[Record]) -> None:
        """Show nothing."""

    def trial_started(self, trial: Trial) -> None:
        """Show nothing."""

    def tick(self) -> None:
        """Show nothing."""

    def trial_finished(self, record: Record) -> None:
        """Show nothing."""


def make_trials(
    store: Store,
    header: Header,
    done: Sequence[Record],
    progress: Progress,
    execute: Execute = execute_in_workers,
) -> tuple[Record, ...]:
    """Make every trial of the run that `done` does not hold, storing each as it ends; all records in order.

    Raises:
        GuestbenchError: something stopped the run; what was finished is in the store.
    """
    records = list(done)
    finished = {record.trial.id for record in done}
    progress.begin(header.trials, done)

    def make(trials: Sequence[Trial], slots: int) -> None:
        for trial in trials:
            progress.trial_started(trial)
        jobs = [make_job(trial, header, store.path.parent, records) for trial in trials]
        for record in execute(jobs, slots, progress.tick):
            store.append(record)
            records.append(record)
            progress.trial_finished(record)

    slots = count_slots(header.platform)
    missing = [trial for trial in header.trials if trial.id not in finished]
    for purpose, together in groupby(missing, key=lambda trial: trial.purpose):
        if purpose in UNTIMED:
            make(list(together), slots)
        else:
            for trial in together:
                make([trial], 1)
    if "memory" in header.experiment.metrics:
        for guest in header.guests:
            while trials := _next_sizes(guest, header, records, slots):
                make(trials, slots)
    return tuple(records)


def _next_sizes(guest: Guest, header: Header, records: Sequence[Record], slots: int) -> tuple[Trial, ...]:
    """The next round of the search for a guest's least memory; empty when it has ended."""
    name, start_mib = guest.system.name, header.platform.memory_mib
    tried = search.to_tried(search.group_boots(records, name))
    known = search.boots_with_platform(records, name)
    boots = find_settings(header.experiment.settings, "memory", memory.Settings).boots
    sizes = search.next_round(tried, start_mib, known=known, boots=boots, slots=slots)
    return plan_sizes(guest, header.platform, sizes, tried)


def count_slots(platform: Platform) -> int:
    """How many boots that are not timed may be made at a time: as many as there are cores and memory for."""
    cores = len(os.sched_getaffinity(0)) // platform.cpus
    rooms = host.read_memory()["MemAvailable"] // 1024 // (platform.memory_mib + VMM_MIB)
    return max(1, min(cores, rooms))


def make_job(trial: Trial, header: Header, folder: Path, records: Sequence[Record] = ()) -> Job:
    """What a worker of this process needs to make `trial` of a run in the run folder `folder`."""
    guest = next(guest for guest in header.guests if guest.system.name == trial.system)
    sought = trial.purpose == "memory-min"
    return Job(
        trial=trial,
        guest=guest,
        platform=header.platform,
        host=header.host.digest,
        folder=str(folder),
        parent_pid=os.getpid(),
        settings=header.experiment.settings,
        expected=search.expect(records, trial.system) if sought else None,
        resume=_find_state(guest, header, trial),
        kit=header.kit if trial.purpose in (*WORKING, "memory", "memory-min") else None,
    )


def _find_state(guest: Guest, header: Header, trial: Trial) -> Resume | None:
    """A snapshot for a trial that is made in a guest's shell and times no boot; None for all others.

    None as well if the guest does not get ready, which the trial will tell.
    """
    if not find_vmm(header.platform.vmm).TRAITS.snapshots:
        return None
    system, kit = guest.system, header.kit
    tools: Image | None = None
    settle_s = find_settings(header.experiment.settings, "memory", memory.Settings).settle_s
    working = trial.purpose in WORKING
    if working and isinstance(system.work, ShellWork) and kit is not None:
        if system.work.disk:
            tools = kit.tools_disk if trial.purpose == "cross-check" else kit.disk
        guest = provision.with_drivers(guest)
    elif trial.purpose != "surface" or system.login is None:
        return None
    try:
        snapshot = provision.take_snapshot(
            guest,
            header.platform,
            header.host.qemu_version,
            lambda _: None,
            tools=Path(tools.path) if tools else None,
            settle_s=settle_s if working else 0.0,
        )
    except TrialError:
        return None
    return Resume(state=str(snapshot.state), images=snapshot.guest.images)
