"""Runs as report pages."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from factories import make_run
from memory_factories import make_memory_run, with_series

from guestbench.definition.load import load_experiment
from guestbench.model import (
    Header,
    Record,
)
from guestbench.report.findings import analyse
from guestbench.report.html import render_html
from guestbench.report.markdown import render_markdown

Run = tuple[Header, tuple[Record, ...]]

replace = msgspec.structs.replace


def render(header: Header, records: Sequence[Record]) -> str:
    """The page of a run."""
    findings = analyse(header, records)
    return render_html(header, records, findings, render_markdown(header, records, findings))


def compared_run() -> Run:
    """The factories' run, compared with one of its systems and held against what was expected."""
    header, records = make_run()
    claims = tuple(
        replace(claim, system="linux-minimal") if claim.system == "unikernel" else claim
        for claim in load_experiment("seed").claims
    )
    experiment = replace(header.experiment, baseline="debian-12-nocloud", claims=claims)
    return replace(header, experiment=experiment), records


def memory_run() -> Run:
    """The factories' run of memory, with curves over time."""
    header, records = make_memory_run()
    return header, tuple(
        with_series(record) if record.trial.purpose == "memory" else record for record in records
    )
