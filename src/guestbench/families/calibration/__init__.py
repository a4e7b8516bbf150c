"""Calibration: the reference unikernel is told what to take, and what is measured is held against it."""

from __future__ import annotations

from guestbench.families import read_metrics
from guestbench.model import Family, LabelSet, Purpose

CALIBRATION = "calibration"
READY, TOUCHED, STAMP = "calibration.ready", "calibration.touched", "calibration.stamp"
WORKER_START, WORKER_CPU = "calibration.worker_start", "calibration.worker_cpu"

DELAY, AGAIN, MEMORY, STAMPS = "delay", "again", "memory", "stamps"
"""What a trial plants: time before ready; none, once more; touched memory.

The last plants nothing, and has the VMM stamp the console too.
"""
DELAYS_MS = (0, 1, 2, 5, 10, 20, 50, 500)
"""Small ones, since those are what one wants to tell apart; the last holds the line through them."""
MEMORY_MIB = (0, 4, 16, 64)
MEMORY_ROUNDS = 3
"""Touched pages are counted and do not scatter."""


def name_plant(kind: str, amount: int) -> str:
    """What a trial that plants so much has in the place of its workload."""
    return f"{kind}-{amount}"


def read_plant(workload: str) -> tuple[str, int]:
    """What a trial plants, and how much: milliseconds or MiB."""
    kind, _, amount = workload.rpartition("-")
    return kind, int(amount)


def label_plant(kind: str, amount: int) -> LabelSet:
    """The labels of values with so much planted."""
    unit = "MiB" if kind == MEMORY else "ms"
    return (("planted", f"{amount} {unit}{', again' if kind == AGAIN else ''}"),)


FAMILY = Family(
    name="calibration",
    title="Calibration",
    order=7,
    metrics=read_metrics(__file__),
    purposes=(Purpose(name=CALIBRATION, main=READY),),
)
