"""The network in the report: how soon it is ready, how much goes through, and how long a byte takes."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.analysis.findings import Findings
from guestbench.analysis.reasons import find_reason, find_work_warnings
from guestbench.families.net import HTTP
from guestbench.model import LabelSet
from guestbench.page.blocks import Bullets, Section, Table, read_words
from guestbench.page.figures import by_system, show_summary, tell_metrics
from guestbench.page.numbers import UNKNOWN

tell = read_words(__file__)

NET = "net"
Row = tuple[str, LabelSet, str]
"""A metric, labels, and what a reader calls that."""

ROWS: tuple[Row, ...] = (
    ("net.ready", (), "Network ready"),
    ("net.goodput_in", (), "TCP into the guest"),
    ("net.goodput_out", (), "TCP out of the guest"),
    ("net.echo", (("quantile", "0.5"),), "Echo of one byte, median"),
    ("net.echo", (("quantile", "0.99"),), "Echo of one byte, 99th percentile"),
    (HTTP, (), "HTTP requests on 4 connections"),
)


def sections(found: Findings) -> Iterator[Section]:
    """The network, if any system was asked."""
    table = net_table(found)
    if table.rows:
        names = {metric for metric, _, _ in ROWS}
        about = tell("about")
        notice = Bullets(find_work_warnings(found), "Read with care:")
        helps = Bullets(tell_metrics(each for each in found.header.metrics if each.name in names))
        yield Section("network", "Network", (table, notice, about, helps), metrics=tuple(names))


def summary_lines(found: Findings) -> Iterator[tuple[str, str]]:
    """For the terminal: each figure that has a value, and those of all systems."""
    for metric, labels, title in ROWS:
        unit = found.metric(metric).unit
        cells = [
            f"{each.system} {show_summary(each, unit)}" for each in found.find_all(metric, labels) if each.n
        ]
        if cells:
            yield title, "; ".join(cells)


def net_table(found: Findings) -> Table:
    """One row a figure of the network, one column a system that was asked."""
    trials = found.find_trials((NET,))
    asked = [name for name in found.names if any(record.trial.system == name for record in trials)]
    # The client of HTTP is there only where it was asked for.
    rows = [row for row in ROWS if asked and (row[0] != HTTP or found.find_all(HTTP))]

    def show(row: Row, name: str) -> str:
        metric, labels, _ = row
        summary = found.find(name, metric, labels)
        if summary is not None and summary.n:
            return show_summary(summary, found.metric(metric).unit)
        reason = find_reason(trials, name, metric, dict(labels))
        return f"n/a: {reason}" if reason else UNKNOWN

    return by_system(("TCP over the user network",), asked, rows, lambda row: (row[-1],), show)
