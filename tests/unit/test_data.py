"""What `guestbench.load` gives: all that a run holds, in its units, and no library that nobody asked for."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

import guestbench
from guestbench.analysis.analyse import analyse
from guestbench.errors import UsageError
from guestbench.host import process
from guestbench.report.export import parquet
from guestbench.run.store import STORE_NAME, read_store

RECORDINGS = Path(__file__).parents[1] / "recordings"
RUN = RECORDINGS / "two-kernels"


def test_import_is_light() -> None:
    """Whoever only asks for the version would wait for libraries, or lack them."""
    code = (
        "import sys, guestbench; "
        "print({'msgspec', 'numpy', 'pandas', 'polars', 'pyarrow'} & set(sys.modules))"
    )
    assert process.run([sys.executable, "-c", code]).stdout.decode() == "set()\n"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_have_every_sample_in_its_unit(library: str) -> None:
    """A figure would be lost or changed on its way into a frame."""
    pytest.importorskip(library)
    results = guestbench.load(RUN)
    frame = results.frame(library)
    assert [float(value) for value in frame["value"]] == [row.value for row in results.samples]
    assert list(frame["unit"]) == [row.unit for row in results.samples]
    for name in results.__struct_fields__:
        table = getattr(results, name)
        assert len(table.frame(library)) == len(table)
        assert list(table[:0].frame(library).columns) == list(table.kind.__struct_fields__)


@pytest.mark.parametrize("name", ["two-kernels/store.jsonl", "store-format-4.jsonl"])
def test_counted_samples_are_those_that_estimates_are_of(tmp_path: Path, name: str) -> None:
    """A mean of warm-ups or of steps of a search would be taken for a result."""
    shutil.copy(RECORDINGS / name, tmp_path / STORE_NAME)
    results, found = guestbench.load(tmp_path), analyse(*read_store(tmp_path))
    assert len(results.estimates) == len(found.summaries) > 0
    for row, summary in zip(results.estimates, found.summaries, strict=True):
        mine = [
            each.value
            for each in results.samples
            if each.counted
            and (each.system, each.metric, each.labels) == (row.system, row.metric, row.labels)
        ]
        assert sorted(mine) == sorted(summary.values)
    assert any(not each.counted for each in results.samples)


def test_claims_and_comparisons_are_those_of_the_report() -> None:
    """A verdict would be another in Python than in the report."""
    results, found = guestbench.load(RUN), analyse(*read_store(RUN))
    assert [(c.ruling, c.value) for c in results.claims] == [
        (j.ruling.value, j.value) for j in found.judgements
    ]
    assert [(c.verdict, c.ratio) for c in results.comparisons] == [
        (c.verdict.value, c.ratio) for c in found.comparisons
    ]
    assert results.claims and results.comparisons


def test_a_run_is_not_loaded_twice() -> None:
    """Its values would be counted twice."""
    with pytest.raises(UsageError, match="hold the same run"):
        guestbench.load(RUN, str(RUN))


def test_parquet_holds_the_samples_and_their_units() -> None:
    """A column of figures would be read without their unit."""
    pytest.importorskip("pyarrow")
    from pyarrow import parquet as reader

    table = reader.read_table(io.BytesIO(parquet.render(*read_store(RUN))))
    results = guestbench.load(RUN)
    rows = [row for row in table.to_pylist() if row["metric"] is not None]
    assert [(r["trial"], r["value"], r["unit"]) for r in rows] == [
        (s.trial, s.value, s.unit) for s in results.samples
    ]
    units = json.loads(table.schema.metadata[b"guestbench.units"])
    assert units == {metric.metric: metric.unit for metric in results.metrics}
