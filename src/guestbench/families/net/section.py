"""The network in the report: how soon it is ready, how much goes through, and how long a byte takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.reasons import find_reason, find_work_warnings
from guestbench.analysis.summary import find_metric, find_summary
from guestbench.model import Header, Record, Summary
from guestbench.page.blocks import Bullets, Notice, Paragraph, Section, Table
from guestbench.page.figures import by_system, show_summary, tell_metrics
from guestbench.page.numbers import UNKNOWN

Row = tuple[str, dict[str, str], str]
"""A metric, labels, and what a reader calls that."""

ROWS: tuple[Row, ...] = (
    ("net.ready", {}, "Network ready"),
    ("net.goodput_in", {}, "TCP into the guest"),
    ("net.goodput_out", {}, "TCP out of the guest"),
    ("net.echo", {"quantile": "0.5"}, "Echo of one byte, median"),
    ("net.echo", {"quantile": "0.99"}, "Echo of one byte, 99th percentile"),
    ("net.http", {}, "HTTP requests on 4 connections"),
)
OPTIONAL = "net.http"
"""Its client is there only where it was asked for."""


def sections(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Iterator[Section]:
    """The network, if any system was asked."""
    table = net_table(header, records, summaries)
    if table.rows:
        names = dict.fromkeys(metric for metric, _, _ in ROWS)
        about = (
            "The host is the client, on a port of 127.0.0.1 that the VMM forwards to the guest through its "
            "user network, so what is measured is guest, virtio-net device and that network together."
        )
        yield Section(
            id="network",
            title="Network",
            blocks=(
                table,
                Notice("Read with care:", find_work_warnings(header, records, summaries)),
                Paragraph((about,)),
                Bullets(tell_metrics(metric for metric in header.metrics if metric.name in names)),
            ),
            metrics=tuple(names),
        )


def summary_lines(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary]
) -> Iterator[tuple[str, str]]:
    """For the terminal: each figure that has a value, and those of all systems."""
    for metric, labels, title in ROWS:
        unit = find_metric(header, metric).unit
        found = [each for each in summaries if each.metric == metric and each.labels == labels and each.n]
        if found:
            yield title, "; ".join(f"{each.system} {show_summary(each, unit)}" for each in found)


def net_table(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Table:
    """One row a figure of the network, one column a system that was asked."""
    mine = [record for record in records if record.trial.purpose == "net"]
    asked = {record.trial.system for record in mine}
    names = [system.name for system in header.systems if system.name in asked]
    present = {summary.metric for summary in summaries}
    rows = [row for row in ROWS if row[0] != OPTIONAL or OPTIONAL in present]

    def show(row: Row, name: str) -> str:
        metric, labels, _ = row
        summary = find_summary(summaries, name, metric, labels)
        if summary is not None and summary.n:
            return show_summary(summary, find_metric(header, metric).unit)
        reason = find_reason(mine, name, metric, labels)
        return f"n/a: {reason}" if reason else UNKNOWN

    return by_system(
        ("TCP over the user network",),
        names,
        rows if names else (),
        lambda row: (row[-1],),
        show,
    )
