"""Writes results.json, which has everything about a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from guestbench.analysis.summary import add_derived
from guestbench.model import (
    Absent,
    AccelChoice,
    Comparison,
    Conditions,
    Experiment,
    Frozen,
    Gap,
    Guest,
    Header,
    Host,
    Judgement,
    Kit,
    Mark,
    MemoryPolicy,
    Metric,
    Outcome,
    Platform,
    Provenance,
    Record,
    Role,
    Series,
    Summary,
    WorkReport,
)
from guestbench.report.findings import Findings, analyse

JSON_VERSION = 5
"""Version of the shape of results.json. Raised when a field changes its meaning, comes or goes."""


class TidySample(Frozen):
    """One sample with all that tells it apart."""

    trial: str
    system: str
    purpose: str
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
    purpose: str
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
    """The shape of results.json. Lists keep the run's order; the fields are those of `guestbench.model`.

    `comparisons` are with the experiment's baseline, and `judgements` of its claims; both are empty where the
    experiment has none.
    """

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
    comparisons: tuple[Comparison, ...]
    judgements: tuple[Judgement, ...]


def render(header: Header, records: Sequence[Record], findings: Findings | None = None) -> bytes:
    """results.json: a `Results`, indented, keys of maps sorted, with a newline at the end.

    `findings` are those of these records, where the caller has them already.
    """
    derived = add_derived(header, records)
    found = findings or analyse(header, derived)
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
        samples=tuple(_find_samples(header, derived)),
        summaries=found.summaries,
        comparisons=found.comparisons,
        judgements=found.judgements,
    )
    return msgspec.json.format(msgspec.json.encode(results, order="deterministic"), indent=2) + b"\n"


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


def _find_samples(header: Header, records: Sequence[Record]) -> Iterator[TidySample]:
    """Every sample of the records, in their order."""
    units = {metric.name: metric.unit for metric in header.metrics}
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
                unit=units.get(sample.metric, ""),
                labels=sample.labels,
                provenance=sample.provenance,
                detail=sample.detail,
                evidence=record.artifacts.get(sample.evidence, ""),
            )
