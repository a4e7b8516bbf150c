"""Writes results.json, which has everything about a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from guestbench import model
from guestbench.analysis.analyse import analyse
from guestbench.analysis.findings import Findings
from guestbench.model.base import fill

JSON_VERSION = 8
"""Version of the shape of results.json. Raised when a field changes its meaning, comes or goes."""


class TidySample(model.Frozen):
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
    provenance: model.Provenance
    detail: str
    evidence: str


class MadeTrial(model.Frozen):
    """What is known of one trial besides its samples; times of `marks` are in ns since the exec."""

    trial: str
    system: str
    purpose: str
    block: int
    cycle: int
    outcome: model.Outcome
    started: str
    wall_ns: int
    host: str
    tool: str
    conditions: model.Conditions
    marks: tuple[model.Mark, ...]
    argv: tuple[str, ...]
    images: dict[model.Role, str]
    artifacts: dict[str, str]
    memory_mib: int
    series: tuple[model.Series, ...]
    gaps: tuple[model.Gap, ...]
    workload: str
    work: tuple[model.WorkReport, ...]


class Results(model.Frozen):
    """The shape of results.json. Lists keep the run's order; the fields are those of `guestbench.model`.

    `comparisons` are with the experiment's baseline, and `judgements` of its claims; both are empty where the
    experiment has none. `looks` are those of the rule `until`, where the run had one; `beside` holds like
    to like beside them; `gains` is what the experiment's steps bring. `known_ratios` and `recoveries` say how
    well the run's own instruments and its host tell things apart. `to_come` is what a run that is not whole
    still lacks, `dropped` what did not fit into its `budget`.
    """

    version: int
    run: str
    created: str
    tool: str
    command: tuple[str, ...]
    experiment: model.Experiment
    host: model.Host
    load_1m: float
    memory_policy: model.MemoryPolicy | None
    cpu_policy: model.CpuPolicy | None
    platform: model.Platform
    accel: model.AccelChoice
    systems: tuple[model.Guest, ...]
    absent: tuple[model.Absent, ...]
    kit: model.Kit | None
    metrics: tuple[model.Metric, ...]
    trials: tuple[MadeTrial, ...]
    samples: tuple[TidySample, ...]
    summaries: tuple[model.Summary, ...]
    until: model.StopRule | None
    looks: tuple[model.Look, ...]
    comparisons: tuple[model.Comparison, ...]
    judgements: tuple[model.Judgement, ...]
    known_ratios: tuple[model.KnownRatio, ...]
    recoveries: tuple[model.Recovery, ...]
    beside: tuple[model.Beside, ...]
    gains: tuple[model.Gain, ...]
    to_come: tuple[model.ToCome, ...]
    budget: model.Budget | None
    dropped: tuple[model.ToCome, ...]


def render(header: model.Header, records: Sequence[model.Record]) -> bytes:
    """results.json: a `Results`, indented, keys of maps sorted, with a newline at the end."""
    return render_findings(analyse(header, records))


def render_findings(found: Findings) -> bytes:
    """The same of a run that was analysed already."""
    header = found.header
    trials = tuple(
        fill(
            MadeTrial,
            *(record.trial, record),
            trial=record.trial.id,
            memory_mib=record.trial.memory_mib or header.platform.memory_mib,
        )
        for record in found.records
    )
    samples = tuple(_find_samples(header, found.records))
    own = {"version": JSON_VERSION, "systems": header.guests, "trials": trials, "samples": samples}
    own["looks"] = found.looks.taken
    results = fill(Results, found, header, **own)
    return msgspec.json.format(msgspec.json.encode(results, order="deterministic"), indent=2) + b"\n"


def _find_samples(header: model.Header, records: Sequence[model.Record]) -> Iterator[TidySample]:
    """Every sample of the records, in their order."""
    units = {metric.name: metric.unit for metric in header.metrics}
    for record in records:
        trial = record.trial
        for sample in record.samples:
            evidence = record.artifacts.get(sample.evidence, "")
            own = {"trial": trial.id, "unit": units.get(sample.metric, ""), "evidence": evidence}
            yield fill(TidySample, sample, trial, **own)
