"""Runs in which instructions were counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from factories import make_guest, make_header, make_record, make_system

from guestbench.families import find_metrics, list_families
from guestbench.model import GuestFamily, Header, Record, Sample, Trial

COUNTS: Mapping[str, Sequence[int]] = {
    "floor": (158, 158, 158),
    "uk": (55_218, 55_218, 55_233),
    "linux": (1_597_076_707, 1_598_512_901, 1_595_972_639),
}
WAITING = {"floor": 0, "uk": 0, "linux": 12_208_104}
FIRMWARE = 6_600_000


def make_cost_run(counts: Mapping[str, Sequence[int]] = COUNTS) -> tuple[Header, tuple[Record, ...]]:
    """A run of the null guest, a unikernel and a Linux guest, each booted three times with a counter."""
    families = {"floor": GuestFamily.FLOOR, "linux": GuestFamily.LINUX}
    guests = [make_guest(make_system(n, family=families.get(n, GuestFamily.UNIKERNEL))) for n in counts]
    trials: list[Trial] = []
    records: list[Record] = []
    for cycle in range(max(map(len, counts.values()))):
        for name, values in counts.items():
            trial = Trial(
                id=f"{len(trials) + 1:03}-cost-{name}-{cycle + 1}",
                system=name,
                purpose="cost",
                block=0,
                cycle=cycle + 1,
                definition="0" * 16,
            )
            trials.append(trial)
            records.append(make_record(trial, samples_of(values[cycle], WAITING.get(name, 0))))
    header = make_header(guests, trials)
    experiment = msgspec.structs.replace(header.experiment, metrics=("cost",))
    purposes = tuple(p for f in list_families() if f.name == "cost" for p in f.purposes)
    metrics = find_metrics(("cost",))
    return (
        msgspec.structs.replace(header, experiment=experiment, metrics=metrics, purposes=purposes),
        tuple(records),
    )


def samples_of(count: int, waiting: int) -> list[Sample]:
    """What a boot brings that executed so many instructions after the firmware."""
    return [
        Sample(metric="cost.instructions_guest", value=count),
        Sample(metric="cost.instructions_guest", value=count // 2, labels={"until": "kernel"}),
        Sample(metric="cost.instructions_waiting", value=waiting),
        Sample(metric="cost.instructions", value=FIRMWARE + count + waiting),
    ]
