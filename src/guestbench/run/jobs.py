"""Says what a worker process needs to make a trial on this machine, and how many it can make at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from guestbench import provision
from guestbench.errors import GuestbenchError, TrialError
from guestbench.families import find_family, find_hook, find_purpose, list_families
from guestbench.host import facts as host
from guestbench.model import Guest, Header, Job, Platform, Record, Resume, Start, State, Trial, to_table
from guestbench.model.run import Asked
from guestbench.run.state import is_there, quiet, take_state
from guestbench.run.worker import tell_obstacle
from guestbench.vmm import find_vmm

Result = TypeVar("Result")
VMM_MIB = 640
"""What a VMM may take beside its guest's memory: under TCG QEMU's translation buffer alone is 512 MiB."""
MOST_WAITING = 2


def count_slots(platform: Platform) -> int:
    """How many boots that are not timed may be made at a time: as many as there are cores and memory for."""
    return max(1, min(len(os.sched_getaffinity(0)) // platform.cpus, _count_rooms(platform)))


def count_waiting(platform: Platform) -> int:
    """How many trials that wait for most of their time may be made beside those: there is memory for them."""
    return max(0, min(MOST_WAITING, _count_rooms(platform) - count_slots(platform)))


def _count_rooms(platform: Platform) -> int:
    """How many guests there is memory for; none where it is not known how much there is."""
    return host.read_memory().get("MemAvailable", 0) // 1024 // (platform.memory_mib + VMM_MIB)


Failed = dict[Asked, GuestbenchError]
"""Why there is no such state: it is tried once, not for each trial."""


def find_brief(trial: Trial, header: Header, records: Sequence[Record]) -> dict[str, Any]:
    """What the trial's family has to say of it from the records so far."""
    brief = find_hook(find_family(trial.purpose).name, "plan", "brief")
    told = brief(header, trial, records) if brief else None
    return to_table(told) if told is not None else {}


def make_job(
    trial: Trial,
    header: Header,
    folder: Path,
    records: Sequence[Record] = (),
    failed: Failed | None = None,
    brief: dict[str, Any] | None = None,
) -> Job:
    """What a worker of this process needs to make `trial` of a run in the run folder `folder`.

    Snapshots that `failed` are not tried again, and those that fail now are put into it. `brief` is what
    `find_brief` gives, where the records are not at hand.
    """
    family = find_family(trial.purpose).name
    resume, obstacle, guest = None, "", header.find_guest(trial.system)
    try:
        failed = {} if failed is None else failed
        guest = _find_settled(header, trial, folder, failed)
        resume = _find_state(header, trial, guest, folder, failed)
    except GuestbenchError as error:
        # It stands in the way of this family's trials of this guest, and of no others.
        obstacle = tell_obstacle(error)
    return Job(
        trial=trial,
        family=family,
        purpose=find_purpose(trial.purpose),
        guest=guest,
        platform=header.platform,
        host=header.host.digest,
        folder=str(folder),
        parent_pid=os.getpid(),
        settings=header.experiment.settings,
        brief=find_brief(trial, header, records) if brief is None else brief,
        resume=resume,
        kit=header.kit if find_hook(family, "plan", "find_needs") else None,
        obstacle=obstacle,
        asides=tuple(
            each.name
            for each in list_families()
            if trial.purpose in each.aside and each.name in header.experiment.metrics
        ),
    )


def find_start(trial: Trial, header: Header) -> Start | None:
    """The state from which a trial goes on; None where it boots its guest."""
    if not find_vmm(header.platform.vmm).TRAITS.snapshots:
        return None
    find = find_hook(find_family(trial.purpose).name, "plan", "find_start")
    start: Start | None = find(header, trial) if find else None
    return start


def list_needed(trial: Trial, header: Header, folder: Path) -> Iterator[State]:
    """The states that have to be there before a trial is made."""
    guest, purpose = header.find_guest(trial.system), find_purpose(trial.purpose)
    if purpose.boots and not purpose.pristine and provision.needs_settling(guest, header.platform):
        yield _to_state(header, guest, None, folder)
    if start := find_start(trial, header):
        yield _to_state(header, guest, start, folder)


def list_states(trials: Iterable[Trial], header: Header, folder: Path, failed: Failed) -> Iterator[State]:
    """The states that have to be made for these trials, each once, and behind those that it needs itself."""
    needed = [state for trial in trials for state in list_needed(trial, header, folder)]
    for state in {state.asked: state for state in needed}.values():
        with suppress(GuestbenchError):  # the trial tells what stands in its way
            if failed.keys().isdisjoint((state.asked, state.settled)) and not is_there(state):
                yield state


def _to_state(header: Header, guest: Guest, start: Start | None, folder: Path) -> State:
    return State(
        guest=guest, platform=header.platform, start=start, folder=str(folder), parent_pid=os.getpid()
    )


def _find_settled(header: Header, trial: Trial, folder: Path, failed: Failed) -> Guest:
    """The guest with the disk that the trial is to boot. Raises what kept it from being made."""
    guest = header.find_guest(trial.system)
    for state in list_needed(trial, header, folder):
        if state.start is None:
            return _make(state, lambda: provision.settle(guest, header.platform, quiet), failed)
    return guest


def _find_state(header: Header, trial: Trial, guest: Guest, folder: Path, failed: Failed) -> Resume | None:
    """A snapshot for a trial that need not boot its guest; None for all others.

    None as well if the guest does not get ready, which the trial will tell.
    """
    start = find_start(trial, header)
    if start is None:
        return None
    state = _to_state(header, guest, start, folder)
    try:
        snapshot = _make(state, lambda: take_state(state), failed)
    except TrialError:
        return None
    return Resume(state=str(snapshot.state), images=snapshot.guest.images, shell=snapshot.shell)


def _make(state: State, make: Callable[[], Result], failed: Failed) -> Result:
    """What makes a state, from the cache if it is there; tried once."""
    try:
        if state.asked in failed:
            raise failed[state.asked]
        return make()
    except GuestbenchError as error:
        failed[state.asked] = error
        raise
