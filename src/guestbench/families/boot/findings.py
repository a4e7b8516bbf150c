"""What records say of boots: how much longer each took than the floor, its steps, layers and conditions."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence

from guestbench.analysis.samples import Sampled, collect
from guestbench.analysis.summary import find_summary, sort_records, summarise
from guestbench.families.boot import ABOVE_FLOOR, BOOT, MARK, READY, TWIN
from guestbench.model import Frozen, GuestFamily, Header, Key, Layer, Ok, Record, Sample

READY_MARK = "ready"


def derive(header: Header, records: Sequence[Record]) -> Iterator[tuple[int, Sample]]:
    """`boot.above_floor` for every successful counted boot in whose block the floor got ready as well.

    It is the difference from the floor's boot of the same block: so it scatters as both do, and what the
    whole block shares cancels.
    """
    floors = [guest.system.name for guest in header.guests if guest.system.family is GuestFamily.FLOOR]
    floor: dict[int, float] = {}
    for record in records:
        if record.trial.system in floors[:1]:
            floor.update((record.trial.block, value) for value in _find_ready(record))
    for place, record in enumerate(records):
        if record.trial.system not in floors and record.trial.block in floor:
            for value in _find_ready(record):
                yield place, Sample(metric=ABOVE_FLOOR, value=value - floor[record.trial.block])


def known_ratios(
    header: Header, records: Sequence[Record]
) -> Iterator[tuple[str, Key, Sampled, Sampled, float]]:
    """The floor against itself: it is booted twice in each block."""
    again, boots = (collect(header, records, (purpose,)) for purpose in (TWIN, BOOT))
    key = (READY, ())
    for system, twins in again.items():
        if key in twins and key in boots[system]:
            yield system, key, twins[key], boots[system][key], 1.0


def _counts(record: Record) -> bool:
    return record.trial.purpose == BOOT and isinstance(record.outcome, Ok)


def _find_ready(record: Record) -> Iterator[float]:
    if _counts(record):
        yield from (each.value for each in record.samples if each.metric == READY and not each.labels)


# --- milestones and layers --------------------------------------------------------------------------------


class Step(Frozen):
    """The way from one milestone to the next, in seconds.

    `n` trials reached `mark`, at `mean` with `sd` seconds after the exec of the VMM. `step_mean` and
    `step_sd` are of the trials that also reached the milestone before it, each trial's own difference; the
    step of the first milestone begins at the exec.
    """

    system: str
    mark: str
    n: int
    mean: float
    sd: float | None
    step_mean: float | None
    step_sd: float | None


def milestone_steps(header: Header, records: Iterable[Record]) -> tuple[Step, ...]:
    """The steps of every system's successful counted boots: systems as in the header, marks by median time.

    Steps are differences within a trial, not differences of means: a milestone that some trials missed
    does not distort its neighbours.
    """
    boots = _find_boots(header, records)
    return tuple(step for system, times in boots.items() for step in _steps(system, times))


def _find_boots(header: Header, records: Iterable[Record]) -> dict[str, list[dict[str, float]]]:
    """By system: of each successful counted boot, seconds after the exec at which it reached each milestone.

    Ready is one of them.
    """
    boots: dict[str, list[dict[str, float]]] = {guest.system.name: [] for guest in header.guests}
    for record in filter(_counts, sort_records(header, records)):
        times: dict[str, float] = {}
        for sample in record.samples:
            if sample.metric == MARK and "mark" in sample.labels:
                times[sample.labels["mark"]] = sample.value
            elif sample.metric == READY and not sample.labels:
                times[READY_MARK] = sample.value
        boots.setdefault(record.trial.system, []).append(times)
    return boots


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
        all_times, differences = reached[mark], _subtract(trials, previous, mark)
        steps.append(
            Step(
                system=system,
                mark=mark,
                n=len(all_times),
                mean=statistics.mean(all_times),
                sd=_sd(all_times),
                step_mean=_mean(differences),
                step_sd=_sd(differences),
            )
        )
    return steps


def _subtract(trials: Sequence[dict[str, float]], since: str, until: str) -> list[float]:
    """The time between two milestones in each trial that reached both; an empty name stands for the exec."""
    return [
        times[until] - (times[since] if since else 0.0)
        for times in trials
        if until in times and (not since or since in times)
    ]


def _mean(values: Sequence[float]) -> float | None:
    return statistics.mean(values) if values else None


def _sd(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


class LayerCost(Frozen):
    """A layer with its mean time in seconds over the `n` boots that passed it, and its bytes in the image."""

    layer: Layer
    n: int = 0
    mean: float | None = None
    sd: float | None = None
    size_bytes: float | None = None


def find_layers(header: Header, records: Sequence[Record]) -> dict[str, list[LayerCost]]:
    """The layers of every system of the run that names any, from the firmware up."""
    boots, sizes = _find_boots(header, records), summarise(header, records)
    found: dict[str, list[LayerCost]] = {}
    for guest in header.guests:
        name = guest.system.name
        for layer in guest.system.layers:
            size = find_summary(sizes, name, layer.size) if layer.size else None
            times = _subtract(boots[name], layer.since, layer.until)
            cost = LayerCost(
                layer=layer,
                n=len(times),
                mean=_mean(times),
                sd=_sd(times),
                size_bytes=size.median if size else None,
            )
            found.setdefault(name, []).append(cost)
    return found


# --- what followed ----------------------------------------------------------------------------------------


def notices(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """Guests that went wrong just after they were ready, which their boot times do not show."""
    for guest in header.guests:
        boots = [r for r in records if r.trial.system == guest.system.name and _counts(r)]
        remarks = [record.remark for record in boots if record.remark]
        if remarks:
            yield (
                f"{guest.system.name}: in {len(remarks)} of {len(boots)} boots something followed at once on "
                f"being ready, such as: {remarks[0]}"
            )
