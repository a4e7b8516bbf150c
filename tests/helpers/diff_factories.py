"""Makes runs of boots for tests of `guestbench diff`, and compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from factories import make_guest, make_header, make_record, make_system, make_trials

from guestbench.analysis.between_runs import RUN_SD
from guestbench.analysis.claims import judge_claims
from guestbench.analysis.diff import RunDiff, diff_runs
from guestbench.analysis.gate import parse_gate
from guestbench.families import find_metrics
from guestbench.model import (
    Better,
    Claim,
    Crashed,
    GuestFamily,
    Header,
    Judgement,
    Kit,
    Metric,
    Record,
    Sample,
)

TEN = [1.00, 1.02, 0.99, 1.01, 1.00, 0.98, 1.03, 1.00, 0.99, 1.01]
RATE = Metric(
    name="work.cpu",
    title="Primes",
    family="work",
    unit="events/s",
    better=Better.HIGHER,
    help="",
    compared=True,
)
replace = msgspec.structs.replace

Run = tuple[Header, tuple[Record, ...]]


def make_boots(times: Mapping[str, Sequence[float]], run: str = "old") -> Run:
    """A run of boots of these times in seconds; a time of 0 is a boot that crashed. `floor` is a floor."""
    names = list(times)
    cycles = max(map(len, times.values()))
    trials = [t for t in make_trials(names, cycles, images=False) if t.cycle <= len(times[t.system])]
    families = {name: GuestFamily.FLOOR if name == "floor" else GuestFamily.UNIKERNEL for name in names}
    header = make_header([make_guest(make_system(name, family=families[name])) for name in names], trials)
    records = []
    for trial in trials:
        time = times[trial.system][trial.cycle - 1]
        crashed = Crashed(reason="\x1b[31mpanic") if not time else None
        samples = () if crashed else (Sample(metric="boot.ready", value=time),)
        records.append(make_record(trial, samples, outcome=crashed))
    return replace(header, run=run, metrics=(*header.metrics, RATE)), tuple(records)


def scale(values: Sequence[float], factor: float) -> list[float]:
    """The values times a factor, in another order."""
    return [value * factor for value in reversed(values)]


Times = Mapping[str, Sequence[float]]


def diff_boots(
    old: Times | Sequence[Times], new: Times | Sequence[Times], *gates: str, run_sd: float = RUN_SD
) -> RunDiff:
    """Two runs of boots compared, or several a side."""
    before, after = (
        [make_boots(times, name) for times in ([side] if isinstance(side, Mapping) else side)]
        for name, side in (("old", old), ("new", new))
    )
    return diff_runs(before, after, [parse_gate(gate) for gate in gates], run_sd=run_sd)


def judge_boots(claim: Claim, times: Sequence[float]) -> Judgement:
    """A claim about `uk`, of a run of its boots."""
    header, records = make_boots({"uk": times})
    experiment = replace(header.experiment, claims=(claim,))
    (found,) = judge_claims(replace(header, experiment=experiment), records)
    return found


def states(found: RunDiff) -> dict[str, str]:
    """What became of the gates, by system."""
    return {decision.system: decision.state.value for decision in found.decisions}


def with_metric(run: Run, metric: str, values: Sequence[float], **labels: str) -> Run:
    """The run with one more sample in each of its first records."""
    header, records = run
    if metric not in {row.name for row in header.metrics}:
        row = next(row for row in find_metrics(("memory", "net"), Kit(works=())) if row.name == metric)
        header = replace(header, metrics=(*header.metrics, row))
    more = [
        replace(record, samples=(*record.samples, Sample(metric=metric, value=value, labels=labels)))
        for record, value in zip(records, values, strict=False)
    ]
    return header, (*more, *records[len(more) :])
