"""What `guestbench.load` gives: results of runs as tables of typed rows, and as frames of pandas or polars.

Every row holds the name of its run and plain values alone, so that the tables of several runs are one and a
frame needs no unpacking. Nothing is computed here: the rows are what the reports of a run are made of.
"""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_type_hints, overload

from guestbench import model
from guestbench.analysis.analyse import analyse
from guestbench.analysis.findings import Findings
from guestbench.analysis.summary import find_counted
from guestbench.errors import ToolMissing, UsageError
from guestbench.model.base import fill
from guestbench.page.figures import outcome_name
from guestbench.report.export.csv import show_labels
from guestbench.run.store import read_store, showing
from guestbench.text import visible

LIBRARIES = ("pandas", "polars")
"""What frames are made with, the first that is installed unless one is named."""
TIMES = "times"
"""The unit of a claim that holds one system against another."""


class Run(model.Frozen):
    """A run, its host and its platform. Of `planned` trials `made` have a record; times are UTC, ISO 8601.

    `host` is a digest: runs of different hosts are not to be pooled.
    """

    run: str
    folder: str
    created: str
    tool: str
    command: str
    experiment: str
    title: str
    baseline: str
    seed: int | None
    vmm: str
    vmm_version: str
    accelerator: str
    machine: str
    memory_mib: int
    cpus: int
    host: str
    cpu_model: str
    kernel: str
    os: str
    planned: int
    made: int


class System(model.Frozen):
    """A guest of a run; `kind` is unikernel, linux or floor, `origin` how its images came to be.

    `images` are their SHA-256 as provisioned, as `role=digest;role=digest`.
    """

    run: str
    system: str
    title: str
    kind: str
    origin: str
    images: str


class Metric(model.Frozen):
    """A metric of a run. `resolution` is what its instrument can tell apart, in `unit`; 0 if it counts.

    Values of runs with different `method`s were measured in different ways, and are not to be compared.
    """

    run: str
    metric: str
    title: str
    family: str
    unit: str
    better: str
    exact: bool
    resolution: float
    method: str
    help: str


class Trial(model.Frozen):
    """A trial that was made. Failures are among them: `outcome` is `ok` for success, `reason` says what else.

    `wall_s` is how long it took, in seconds; `load_1m` and `cpu_others` what else the host did, the latter
    as a share of all its CPUs' time.
    """

    run: str
    trial: str
    system: str
    purpose: str
    block: int
    cycle: int
    workload: str
    outcome: str
    reason: str
    started: str
    wall_s: float
    memory_mib: int
    load_1m: float
    cpu_others: float


class Sample(model.Frozen):
    """A value of a metric, in `unit`. Values of failed trials, warm-ups and steps of a search do not count.

    `counted` says whether it is among those that `estimates` and `comparisons` are of.
    """

    run: str
    trial: str
    system: str
    purpose: str
    block: int
    cycle: int
    metric: str
    labels: dict[str, str]
    value: int | float
    unit: str
    counted: bool
    provenance: str
    outcome: str
    detail: str


class Estimate(model.Frozen):
    """What describes a system's values of a metric, in `unit`; `n` of them, and `failed` trials without one.

    From `low` to `high` is the interval of the median at `confidence`; None where there are too few values.
    """

    run: str
    system: str
    metric: str
    labels: dict[str, str]
    unit: str
    n: int
    failed: int
    mean: float | None
    sd: float | None
    median: float | None
    low: float | None
    high: float | None
    confidence: float | None
    minimum: float | None
    maximum: float | None


class Comparison(model.Frozen):
    """A system against the baseline of its run; see `guestbench.model.Comparison` for what the fields mean.

    `ratio` is system over baseline, with its interval from `ratio_low` to `ratio_high` at `confidence`; the
    difference and its interval are in `unit`.
    """

    run: str
    system: str
    baseline: str
    metric: str
    labels: dict[str, str]
    unit: str
    verdict: str
    method: str
    n: int
    n_baseline: int
    failed: int
    failed_baseline: int
    pairs: int | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    confidence: float | None
    ratio_median: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p: float | None
    p_holm: float | None
    delta: float | None
    reason: str


class Claim(model.Frozen):
    """What was expected of a system, and what became of it: confirmed, refuted or undecided, with the reason.

    `value` and its interval are in `unit`, which is `times` where it is held `against` another system.
    """

    run: str
    text: str
    system: str
    against: str
    metric: str
    labels: dict[str, str]
    unit: str
    least: float | None
    most: float | None
    ruling: str
    value: float | None
    low: float | None
    high: float | None
    confidence: float | None
    reason: str


Row = TypeVar("Row", bound=model.Frozen)


class Table(Sequence[Row], Generic[Row]):
    """Rows of one type, in the run's order; `kind` is that type, whose fields are the columns of a frame."""

    def __init__(self, kind: type[Row], rows: Iterable[Row]) -> None:
        self.kind = kind
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Table[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Table[Row]:
        """The row at that place, or the table of those in a slice."""
        return Table(self.kind, self._rows[place]) if isinstance(place, slice) else self._rows[place]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def __repr__(self) -> str:
        """What it holds, in a few words."""
        return f"<table of {len(self)} rows of {self.kind.__name__}>"

    def frame(self, library: str = "") -> Any:
        """The table as a `DataFrame` of pandas or polars, whichever is installed, or of the one named.

        Labels are `key=value;key=value`, as in results.csv. What is not known is missing, never 0. Values are
        64-bit floating point numbers; a warning tells of those that do not fit.

        Raises:
            ToolMissing: it is not installed, or neither is.
            UsageError: frames are made with neither of that name.
        """
        library = _choose(library)
        types = {name: _column_type(hint) for name, hint in get_type_hints(self.kind).items()}
        columns = {
            name: [_to_cell(name, types[name], getattr(row, name)) for row in self._rows]
            for name in self.kind.__struct_fields__
        }
        module = import_module(library)
        if library == "polars":
            known = {str: module.String, bool: module.Boolean, int: module.Int64, float: module.Float64}
            return module.DataFrame(columns, schema={name: known[types[name]] for name in columns})
        known = {str: object, bool: bool, int: "Int64", float: "float64"}
        series = {name: module.Series(held, dtype=known[types[name]]) for name, held in columns.items()}
        return module.DataFrame(series)


class Results(model.Frozen):
    """The results of runs; each table has the rows of all of them, in the order that they were named.

    Estimates, comparisons and claims are of one run each: runs are not pooled.
    """

    runs: Table[Run]
    systems: Table[System]
    metrics: Table[Metric]
    trials: Table[Trial]
    samples: Table[Sample]
    estimates: Table[Estimate]
    comparisons: Table[Comparison]
    claims: Table[Claim]

    def frame(self, library: str = "") -> Any:
        """The samples as a frame, as by `samples.frame`."""
        return self.samples.frame(library)


def _analyse(folder: Path) -> Findings:
    run = read_store(folder)
    with showing(folder):
        return analyse(*run)


def load_runs(folders: Iterable[str | os.PathLike[str]]) -> Results:
    """What `guestbench.load` gives."""
    paths = [Path(folder) for folder in folders]
    found = [(path, _analyse(path)) for path in paths]
    if not found:
        raise UsageError("no run is named", "guestbench report --help")
    seen: dict[str, Path] = {}
    for path, each in found:
        if (before := seen.setdefault(each.header.run, path)) is not path:
            both = f"{visible(before)} and {visible(path)}"
            raise UsageError(f"{both} hold the same run, {visible(each.header.run)}", "guestbench --help")
    analysed = [each for _, each in found]
    return Results(
        runs=Table(Run, (_describe_run(path, each) for path, each in found)),
        systems=_gather(System, _find_systems, analysed),
        metrics=_gather(Metric, _find_metrics, analysed),
        trials=_gather(Trial, _find_trials, analysed),
        samples=_gather(Sample, _find_samples, analysed),
        estimates=_gather(Estimate, _find_estimates, analysed),
        comparisons=_gather(Comparison, _find_comparisons, analysed),
        claims=_gather(Claim, find_claims, analysed),
    )


def _gather(kind: type[Row], find: Any, analysed: Iterable[Findings]) -> Table[Row]:
    return Table(kind, (row for each in analysed for row in find(each)))


def _describe_run(folder: Path, found: Findings) -> Run:
    header = found.header
    made = {record.trial.id for record in found.records}
    own = {
        "folder": str(folder),
        "command": shlex.join(header.command),
        "experiment": header.experiment.name,
        "vmm": header.vmm,
        "accelerator": header.accel.used.value,
        "host": header.host.digest,
        "planned": len(header.trials),
        "made": sum(trial.id in made for trial in header.trials),
    }
    # The CPUs and the memory are those of the guests.
    return fill(Run, header, header.platform, header.experiment, header.host, **own)


def _find_systems(found: Findings) -> Iterator[System]:
    for guest in found.header.guests:
        images = {role.value: image.sha256 for role, image in guest.pristine.items()}
        yield System(
            run=found.header.run,
            system=guest.system.name,
            title=guest.system.title,
            kind=guest.system.family.value,
            origin=guest.origin.kind,
            images=show_labels(images),
        )


def _find_metrics(found: Findings) -> Iterator[Metric]:
    for metric in found.header.metrics:
        own = {"run": found.header.run, "metric": metric.name, "better": metric.better.value}
        yield fill(Metric, metric, **own)


def _find_trials(found: Findings) -> Iterator[Trial]:
    for record in found.records:
        own = {
            "run": found.header.run,
            "trial": record.trial.id,
            "outcome": outcome_name(record.outcome),
            "wall_s": record.wall_ns / 1e9,
            "memory_mib": record.trial.memory_mib or found.header.platform.memory_mib,
        }
        yield fill(Trial, record.trial, record.outcome, record, record.conditions, **own)


def _find_samples(found: Findings) -> Iterator[Sample]:
    counted = find_counted(found.header)
    for record in found.records:
        for sample in record.samples:
            own = {
                "run": found.header.run,
                "trial": record.trial.id,
                "unit": found.metric(sample.metric).unit,
                "counted": counted(record, sample),
                "provenance": sample.provenance.value,
                "outcome": outcome_name(record.outcome),
            }
            yield fill(Sample, sample, record.trial, **own)


def _find_estimates(found: Findings) -> Iterator[Estimate]:
    for summary in found.summaries:
        own = {"run": found.header.run, "unit": found.metric(summary.metric).unit}
        yield fill(Estimate, summary, **own, **_ends(summary.median_ci))


def _find_comparisons(found: Findings) -> Iterator[Comparison]:
    for each in found.comparisons:
        ratio, difference = _ends(each.ratio_ci), _ends(each.difference_ci)
        own = {
            "run": found.header.run,
            "unit": found.metric(each.metric).unit,
            "verdict": each.verdict.value,
            "method": each.method.value,
            "ratio_low": ratio["low"],
            "ratio_high": ratio["high"],
            "confidence": ratio["confidence"],
            "difference_low": difference["low"],
            "difference_high": difference["high"],
        }
        yield fill(Comparison, each, **own)


def find_claims(found: Findings) -> Iterator[Claim]:
    """The claims of a run, judged."""
    for each in found.judgements:
        own = {
            "run": found.header.run,
            "unit": TIMES if each.claim.against else found.metric(each.claim.metric).unit,
            "system": each.system,
            "ruling": each.ruling.value,
        }
        yield fill(Claim, each, each.claim, **own, **_ends(each.interval))


def _ends(interval: model.Interval | None) -> dict[str, float | None]:
    names = model.Interval.__struct_fields__
    return {name: None if interval is None else getattr(interval, name) for name in names}


def _choose(library: str) -> str:
    """The library to make a frame with."""
    if library and library not in LIBRARIES:
        raise UsageError(
            f"frames are made with {' or '.join(LIBRARIES)}, not with {visible(library)}",
            "pip install pandas",
        )
    wanted = (library,) if library else LIBRARIES
    found = next((name for name in wanted if find_spec(name)), "")
    if not found:
        raise ToolMissing(f"{' or '.join(wanted)} is not installed", f"pip install {wanted[0]}")
    return found


def _column_type(hint: Any) -> type:
    """What a column of a field of that type holds: str, bool, int or float."""
    kinds = {*get_args(hint), hint} & {str, bool, int, float}
    if hint == dict[str, str]:
        # Labels are written out.
        return str
    # A field of whole numbers and others holds others.
    return float if float in kinds else kinds.pop()


def _to_cell(name: str, kind: type, value: Any) -> Any:
    """A field's value as a frame holds it; a whole number that would be rounded is told."""
    if isinstance(value, dict):
        return show_labels(value)
    if kind is not float or value is None:
        return value
    if isinstance(value, int) and int(float(value)) != value:
        warnings.warn(f"{value} of {name} is rounded to {float(value):.17g}", stacklevel=4)
    return float(value)
