"""Writes a run's samples as CSV, one row a sample; it never leaves out a trial, failed or not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from guestbench.analysis.summary import add_derived, find_metric
from guestbench.model import (
    Frozen,
    Header,
    Provenance,
    Record,
)
from guestbench.report.results import outcome_name

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


_QUOTE = str.maketrans({character: f"\\{character}" for character in "\\;="})


def render_csv(header: Header, records: Sequence[Record]) -> str:
    """results.csv: one row a sample as in RFC 4180, and one without a metric for a trial that has none.

    Labels are `key=value;key=value`, sorted by key, with a backslash before any of `\\;=` in them. A text
    that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    units: dict[str, str] = {}
    for record in add_derived(header, records):
        trial = record.trial
        about = (
            *map(guard, (header.run, trial.id, trial.system, trial.purpose)),
            trial.block,
            trial.cycle,
        )
        outcome = outcome_name(record.outcome)
        for sample in record.samples:
            writer.writerow(
                (
                    *about,
                    guard(sample.metric),
                    repr(sample.value),
                    guard(_find_unit(header, sample.metric, units)),
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
    if not labels:
        return ""
    return ";".join(
        f"{key.translate(_QUOTE)}={value.translate(_QUOTE)}" for key, value in sorted(labels.items())
    )


def guard(text: str) -> str:
    """The text, behind an apostrophe where a spreadsheet would calculate it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def find_samples(header: Header, records: Sequence[Record]) -> Iterator[TidySample]:
    """Every sample of the records, in their order."""
    units: dict[str, str] = {}
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
                unit=_find_unit(header, sample.metric, units),
                labels=sample.labels,
                provenance=sample.provenance,
                detail=sample.detail,
                evidence=record.artifacts.get(sample.evidence, ""),
            )


def _find_unit(header: Header, metric: str, known: dict[str, str]) -> str:
    """The unit of a metric; `known` keeps those found, for there are many samples of few metrics."""
    if metric not in known:
        known[metric] = find_metric(header, metric).unit
    return known[metric]
