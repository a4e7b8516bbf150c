"""Describes the steps between the milestones of a boot; never compares one system's steps with another's."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from guestbench.analysis.summary import sort_records
from guestbench.families.boot import MARK, READY
from guestbench.model import (
    Frozen,
    Header,
    Ok,
    Record,
)

READY_MARK = "ready"


class Step(Frozen):
    """The way from one milestone to the next, in seconds.

    `n` trials reached `mark`, at `mean` with `sd` seconds after the exec of the VMM. `step_mean` and
    `step_sd` are of the `step_n` trials that also reached `previous`, each trial's own difference;
    `previous` is empty for the first milestone, whose step begins at the exec.
    """

    system: str
    mark: str
    previous: str
    n: int
    mean: float
    sd: float | None
    step_n: int
    step_mean: float | None
    step_sd: float | None


def milestone_steps(header: Header, records: Iterable[Record]) -> tuple[Step, ...]:
    """The steps of every system's successful counted boots: systems as in the header, marks by median time.

    Steps are differences within a trial, not differences of means: a milestone that some trials missed
    does not distort its neighbours.
    """
    ordered = sort_records(header, records)
    return tuple(
        step
        for guest in header.guests
        for step in _steps(
            guest.system.name,
            [
                times_of(record)
                for record in ordered
                if record.trial.system == guest.system.name
                and record.trial.purpose == "boot"
                and isinstance(record.outcome, Ok)
            ],
        )
    )


def times_of(record: Record) -> dict[str, float]:
    """Seconds after the exec at which this trial reached each milestone, ready among them."""
    times: dict[str, float] = {}
    for sample in record.samples:
        if sample.metric == MARK and "mark" in sample.labels:
            times[sample.labels["mark"]] = sample.value
        elif sample.metric == READY and not sample.labels:
            times[READY_MARK] = sample.value
    return times


def _steps(system: str, trials: Sequence[dict[str, float]]) -> list[Step]:
    reached: dict[str, list[float]] = {}
    for times in trials:
        for mark, value in times.items():
            reached.setdefault(mark, []).append(value)
    # Ready ends the boot by definition, even where one chunk of output completed the last milestone too.
    # Milestones of one chunk have the same time and stay in the order in which the probe completed them.
    marks = sorted(reached, key=lambda mark: (mark == READY_MARK, statistics.median(reached[mark])))
    steps = []
    for previous, mark in zip(["", *marks], marks, strict=False):
        before = [times.get(previous, 0.0) if not previous else times.get(previous) for times in trials]
        differences = [
            times[mark] - earlier
            for times, earlier in zip(trials, before, strict=True)
            if mark in times and earlier is not None
        ]
        steps.append(
            Step(
                system=system,
                mark=mark,
                previous=previous,
                n=len(reached[mark]),
                mean=statistics.mean(reached[mark]),
                sd=_sd(reached[mark]),
                step_n=len(differences),
                step_mean=statistics.mean(differences) if differences else None,
                step_sd=_sd(differences),
            )
        )
    return steps


def _sd(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
