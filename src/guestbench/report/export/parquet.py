"""Writes a run's samples as Parquet, one row a sample, and every failed trial; units stand in its schema.

The columns are those of results.csv, with what a spreadsheet needs left out: values are numbers, and labels
are maps. It takes pyarrow, which is loaded only here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from guestbench.analysis.summary import add_derived
from guestbench.errors import ToolMissing
from guestbench.model import Header, Record
from guestbench.page.figures import outcome_name
from guestbench.report.export.csv import COLUMNS

BINARY = True
"""No terminal shows it."""
PREFIX = "guestbench"
"""Keys of the schema's metadata begin with it."""


def render(header: Header, records: Sequence[Record]) -> bytes:
    """results.parquet: a row a sample, and one without a metric for a trial that has none.

    The schema's metadata hold under `guestbench.units` the unit of each metric, and under
    `guestbench.metrics` all that is known of it, both as JSON; under `guestbench.run` and `guestbench.tool`
    what was run, and by which version. `value` is a 64-bit floating point number.

    Raises:
        ToolMissing: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ToolMissing(
            "Parquet is written by pyarrow, which is not installed", "pip install pyarrow"
        ) from None
    text, whole = pyarrow.string(), pyarrow.int64()
    types = {"block": whole, "cycle": whole, "value": pyarrow.float64(), "labels": pyarrow.map_(text, text)}
    about = {
        "run": header.run,
        "tool": header.tool,
        "units": _to_json({metric.name: metric.unit for metric in header.metrics}),
        "metrics": _to_json(header.metrics),
    }
    fields = [pyarrow.field(name, types.get(name, text)) for name in COLUMNS]
    schema = pyarrow.schema(fields, {f"{PREFIX}.{key}": value for key, value in about.items()})
    columns = zip(*_find_rows(header, records), strict=True)
    held = dict(zip(COLUMNS, columns, strict=False)) or dict.fromkeys(COLUMNS, ())
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({name: list(held[name]) for name in COLUMNS}, schema), out)
    return out.getvalue()


def tell_lost(records: Sequence[Record]) -> str:
    """How many values are rounded: whole numbers of more digits than a floating point number has."""
    rounded = sum(int(float(sample.value)) != sample.value for sample in _find_whole(records))
    return f"{rounded} values are rounded to 53 bits; results.json has all their digits" if rounded else ""


def _find_whole(records: Sequence[Record]) -> Iterator[Any]:
    return (sample for record in records for sample in record.samples if isinstance(sample.value, int))


def _find_rows(header: Header, records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    units = {metric.name: metric.unit for metric in header.metrics}
    for record in add_derived(header, records):
        trial = record.trial
        about = (header.run, trial.id, trial.system, trial.purpose, trial.block, trial.cycle)
        outcome = outcome_name(record.outcome)
        for sample in record.samples:
            labels = sorted(sample.labels.items())
            value = sample.metric, float(sample.value), units.get(sample.metric, ""), labels
            yield (*about, *value, sample.provenance.value, outcome)
        if not record.samples:
            yield (*about, None, None, None, None, None, outcome)


def _to_json(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
