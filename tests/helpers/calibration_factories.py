"""Makes a run of calibration in which everything that was planted is found, for tests."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from factories import make_guest, make_header, make_record, make_system

from guestbench.families import find_metrics
from guestbench.families.calibration import (
    AGAIN,
    DELAY,
    MEMORY,
    READY,
    STAMP,
    TOUCHED,
    label_plant,
    read_plant,
)
from guestbench.model import GuestFamily, Header, Provision, Record, Sample, Trial
from guestbench.run.plan import plan_trials

BASE_S = 0.15
"""What the guest that is told takes by itself; a block takes a tenth of a millisecond more than the last."""
BASE_KIB = 1300
FAMILIES = ("boot", "calibration")


def make_calibration_run(blocks: int = 10, longer_s: float = 0.0) -> tuple[Header, tuple[Record, ...]]:
    """A run of the floor, of a guest that does as it is told, and of one that does not.

    With a delay planted the guest takes so much longer still.
    """
    told = Provision(build={"method": "library-os"})
    guests = [
        make_guest(make_system("floor", family=GuestFamily.FLOOR)),
        make_guest(make_system("told", family=GuestFamily.UNIKERNEL, provision=told)),
        make_guest(make_system("other")),
    ]
    header = make_header(guests, cycles=blocks)
    experiment = msgspec.structs.replace(header.experiment, metrics=FAMILIES)
    header = msgspec.structs.replace(header, experiment=experiment, metrics=find_metrics(FAMILIES))
    header = msgspec.structs.replace(header, trials=plan_trials(header))
    return header, tuple(make_record(trial, list(_measure(trial, longer_s))) for trial in header.trials)


def _measure(trial: Trial, longer_s: float) -> Iterator[Sample]:
    if trial.purpose != "calibration":
        yield Sample(metric="boot.ready", value=0.09 + trial.block / 10_000)
        return
    kind, amount = read_plant(trial.workload)
    labels = dict(label_plant(kind, amount))
    if kind in (DELAY, AGAIN):
        value = BASE_S + trial.block / 10_000 + amount / 1000 + (longer_s if amount else 0)
        yield Sample(metric=READY, value=value, labels=labels)
    elif kind == MEMORY:
        yield Sample(metric=TOUCHED, value=BASE_KIB + 1024 * amount, labels=labels)
    else:
        yield Sample(metric=STAMP, value=0.0001)
