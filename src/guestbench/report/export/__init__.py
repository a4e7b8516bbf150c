"""Writes a run for programs, in formats of our own and of others; it draws no conclusion of its own."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.model import Better, Header, Record
from guestbench.report.export.action_benchmark import render_action_benchmark
from guestbench.report.export.document import (
    JSON_VERSION,
    Results,
    render_json,
    render_schema,
)
from guestbench.report.export.hyperfine import render_hyperfine
from guestbench.report.export.openmetrics import render_openmetrics
from guestbench.report.export.table import (
    COLUMNS,
    TidySample,
    guard,
    render_csv,
    show_labels,
)
from guestbench.report.formats import Format

__all__ = [
    "COLUMNS",
    "JSON_VERSION",
    "Results",
    "TidySample",
    "export",
    "guard",
    "render_action_benchmark",
    "render_csv",
    "render_hyperfine",
    "render_json",
    "render_openmetrics",
    "render_schema",
    "show_labels",
]


def export(
    header: Header, records: Sequence[Record], kind: Format, *, better: Better = Better.LOWER
) -> bytes:
    """The run in a format; `better` chooses the metrics of a format that can hold one direction only."""
    match kind:
        case Format.HYPERFINE:
            return render_hyperfine(header, records)
        case Format.OPENMETRICS:
            return render_openmetrics(header, records).encode()
        case Format.GITHUB_ACTION_BENCHMARK:
            return render_action_benchmark(header, records, better)
        case Format.CSV:
            return render_csv(header, records).encode()
        case Format.JSON:
            return render_json(header, records)
