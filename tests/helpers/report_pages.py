"""Runs as report pages."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from factories import make_run
from memory_factories import make_memory_run, with_series

from guestbench.analysis.analyse import analyse
from guestbench.definition.experiments import load_experiment
from guestbench.model import Header, Record
from guestbench.report.contents import Contents, compose
from guestbench.report.html import render_html
from guestbench.report.markdown import render_markdown
from guestbench.report.terminal import render_lines

Run = tuple[Header, tuple[Record, ...]]

replace = msgspec.structs.replace


def contents_of(header: Header, records: Sequence[Record]) -> Contents:
    """What the reports of a run say."""
    return compose(analyse(header, records))


def markdown_of(header: Header, records: Sequence[Record]) -> str:
    """The run's `comparison_results.md`."""
    return render_markdown(contents_of(header, records).page)


def html_of(header: Header, records: Sequence[Record]) -> str:
    """The run's `report.html`."""
    return render_html(contents_of(header, records).page)


def summary_of(header: Header, records: Sequence[Record]) -> str:
    """What a terminal shows of the run."""
    return render_lines(contents_of(header, records).summary, compact=True)


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
