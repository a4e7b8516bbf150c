"""Writes a run's samples as CSV, one row a sample, and every failed trial."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from guestbench.analysis.summary import add_derived
from guestbench.model import Header, Record
from guestbench.page.figures import outcome_name

COLUMNS = (
    *("run", "trial", "system", "purpose", "block", "cycle"),
    *("metric", "value", "unit", "labels", "provenance", "outcome"),
)
_QUOTE = str.maketrans({character: f"\\{character}" for character in "\\;="})


def render(header: Header, records: Sequence[Record]) -> bytes:
    """results.csv: one row a sample as in RFC 4180, and one without a metric for a trial that has none.

    Labels are `key=value;key=value`, sorted by key, with a backslash before any of `\\;=` in them. A text
    that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    units = {metric.name: metric.unit for metric in header.metrics}
    for record in add_derived(header, records):
        trial = record.trial
        names = map(guard, (header.run, trial.id, trial.system, trial.purpose))
        about = (*names, trial.block, trial.cycle)
        outcome = outcome_name(record.outcome)
        for sample in record.samples:
            value = guard(sample.metric), repr(sample.value), guard(units.get(sample.metric, ""))
            labels = guard(show_labels(sample.labels))
            writer.writerow((*about, *value, labels, sample.provenance.value, outcome))
        if not record.samples:
            writer.writerow((*about, "", "", "", "", "", outcome))
    return out.getvalue().encode()


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
