"""Writes a run's samples for programs, as JSON and as CSV; it never leaves out a trial, failed or not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import msgspec

from guestbench.analysis.summary import add_derived, find_metric, summarise
from guestbench.model import (
    Absent,
    AccelChoice,
    Conditions,
    Experiment,
    Frozen,
    Gap,
    Guest,
    Header,
    Host,
    Kit,
    Mark,
    MemoryPolicy,
    Metric,
    Outcome,
    Platform,
    Provenance,
    Purpose,
    Record,
    Role,
    Series,
    Summary,
    WorkReport,
)
from guestbench.report.results import outcome_name

JSON_VERSION = 3
"""Version of the shape of results.json. Raised when a field changes its meaning or goes."""

COLUMNS = (
    "run",
    "trial",
    "system",
    "purpose",
    "block",
    "cycle",
    "metric",
    "value",
    "unit",
    "labels",
    "provenance",
    "outcome",
)


class TidySample(Frozen):
    """One sample with all that tells it apart: a row of the CSV."""

    trial: str
    system: str
    purpose: Purpose
    block: int
    cycle: int
    metric: str
    value: int | float
    unit: str
    labels: dict[str, str]
    provenance: Provenance
    detail: str
    evidence: str


class TrialResult(Frozen):
    """What is known of one trial besides its samples; times of `marks` are in ns since the exec."""

    trial: str
    system: str
    purpose: Purpose
    block: int
    cycle: int
    outcome: Outcome
    started: str
    wall_ns: int
    host: str
    tool: str
    conditions: Conditions
    marks: tuple[Mark, ...]
    argv: tuple[str, ...]
    images: dict[Role, str]
    artifacts: dict[str, str]
    memory_mib: int
    series: tuple[Series, ...]
    gaps: tuple[Gap, ...]
    workload: str
    work: tuple[WorkReport, ...]


class Results(Frozen):
    """The shape of results.json. Lists keep the run's order; the fields are those of `guestbench.model`."""

    version: int
    run: str
    created: str
    tool: str
    command: tuple[str, ...]
    experiment: Experiment
    host: Host
    load_1m: float
    memory_policy: MemoryPolicy | None
    platform: Platform
    accel: AccelChoice
    systems: tuple[Guest, ...]
    absent: tuple[Absent, ...]
    kit: Kit | None
    metrics: tuple[Metric, ...]
    trials: tuple[TrialResult, ...]
    samples: tuple[TidySample, ...]
    summaries: tuple[Summary, ...]


def render_json(header: Header, records: Sequence[Record]) -> bytes:
    """results.json: a `Results`, indented, keys of maps sorted, with a newline at the end."""
    derived = add_derived(header, records)
    results = Results(
        version=JSON_VERSION,
        run=header.run,
        created=header.created,
        tool=header.tool,
        command=header.command,
        experiment=header.experiment,
        host=header.host,
        load_1m=header.load_1m,
        memory_policy=header.memory_policy,
        platform=header.platform,
        accel=header.accel,
        systems=header.guests,
        absent=header.absent,
        kit=header.kit,
        metrics=header.metrics,
        trials=tuple(_trial(header, record) for record in derived),
        samples=tuple(_samples(header, derived)),
        summaries=summarise(header, derived),
    )
    return msgspec.json.format(msgspec.json.encode(results, order="deterministic"), indent=2) + b"\n"


def render_csv(header: Header, records: Sequence[Record]) -> str:
    """results.csv: one row a sample as in RFC 4180, and one without a metric for a trial that has none.

    Labels are `key=value;key=value`, sorted by key, with a backslash before any of `\\;=` in them. A text
    that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for record in add_derived(header, records):
        trial = record.trial
        about = (
            *map(guard, (header.run, trial.id, trial.system, trial.purpose.value)),
            trial.block,
            trial.cycle,
        )
        outcome = outcome_name(record.outcome)
        for sample in _samples(header, [record]):
            writer.writerow(
                (
                    *about,
                    guard(sample.metric),
                    repr(sample.value),
                    guard(sample.unit),
                    guard(show_labels(sample.labels)),
                    sample.provenance.value,
                    outcome,
                )
            )
        if not record.samples:
            writer.writerow((*about, "", "", "", "", "", outcome))
    return out.getvalue()


def show_labels(labels: dict[str, str]) -> str:
    r"""Labels as `key=value;key=value`, sorted by key, with a backslash before `\`, `;`, `=` inside."""
    quote = str.maketrans({character: f"\\{character}" for character in "\\;="})
    return ";".join(
        f"{key.translate(quote)}={value.translate(quote)}" for key, value in sorted(labels.items())
    )


def guard(text: str) -> str:
    """The text, behind an apostrophe where a spreadsheet would calculate it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _samples(header: Header, records: Sequence[Record]) -> Iterator[TidySample]:
    for record in records:
        trial = record.trial
        for sample in record.samples:
            yield TidySample(
                trial=trial.id,
                system=trial.system,
                purpose=trial.purpose,
                block=trial.block,
                cycle=trial.cycle,
                metric=sample.metric,
                value=sample.value,
                unit=find_metric(header, sample.metric).unit,
                labels=sample.labels,
                provenance=sample.provenance,
                detail=sample.detail,
                evidence=record.artifacts.get(sample.evidence, ""),
            )


def _trial(header: Header, record: Record) -> TrialResult:
    trial = record.trial
    return TrialResult(
        trial=trial.id,
        system=trial.system,
        purpose=trial.purpose,
        block=trial.block,
        cycle=trial.cycle,
        outcome=record.outcome,
        started=record.started,
        wall_ns=record.wall_ns,
        host=record.host,
        tool=record.tool,
        conditions=record.conditions,
        marks=record.marks,
        argv=record.argv,
        images=record.images,
        artifacts=record.artifacts,
        memory_mib=trial.memory_mib or header.platform.memory_mib,
        series=record.series,
        gaps=record.gaps,
        workload=trial.workload,
        work=record.work,
    )
