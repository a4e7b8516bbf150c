"""The report of several hosts: which they are, what each found, and what they have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from guestbench.analysis.hosts import HostRatio, Merged, PooledRatio
from guestbench.analysis.summary import CONFIDENCE, find_metric
from guestbench.errors import StoreError
from guestbench.model import Interval, Metric
from guestbench.page.blocks import Block, Code, Figure, Page, Section, Table, read_words
from guestbench.page.figures import add_interval, name_figure, show_amount, tabulate
from guestbench.page.numbers import NOTHING, show_ratio
from guestbench.page.plots import Bar, Look, Mark, Point, Row, Rows, choose_axis
from guestbench.report import HTML_NAME, JSON_NAME, MARKDOWN_NAME, replace_file
from guestbench.report.html import render_html
from guestbench.report.markdown import render_markdown

JSON_VERSION = 1
"""Version of the shape of the JSON. Raised when a field changes its meaning or goes."""
POOLED = "all hosts"

tell = read_words(__file__)


class MergedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of `results.json` of several hosts."""

    version: int
    merged: Merged


def describe_hosts(found: Merged) -> Page:
    """The page that people read."""
    first = found.headers[0].experiment
    sections = (
        Section("hosts", "The hosts", (tell("hosts_listed"), _list_hosts(found))),
        Section(
            "ratios",
            ("Compared with ", Code(first.baseline)),
            (_tabulate_ratios(found), tell("hosts_pooled", confidence=f"{CONFIDENCE:.0%}")),
        ),
        Section("forest", "Ratios host by host", (tell("hosts_forest"), *_draw(found))),
        Section("values", "What each host measured", (tell("hosts_values"), _tabulate_values(found))),
    )
    blocks = (tell("hosts_opening", hosts=len(found.headers)),)
    return Page(f"{first.title}, on {len(found.headers)} hosts", blocks, sections)


def summarise_hosts(found: Merged) -> tuple[Block, ...]:
    """The summary for the terminal."""
    return (_list_hosts(found), _tabulate_ratios(found))


def write_merged(folder: Path, found: Merged) -> dict[str, Path]:
    """Write the reports into a folder; file name to path.

    Raises:
        StoreError: the folder cannot be written.
    """
    page = describe_hosts(found)
    document = msgspec.json.encode(MergedDocument(version=JSON_VERSION, merged=found), order="deterministic")
    files = {
        MARKDOWN_NAME: render_markdown(page).encode(),
        HTML_NAME: render_html(page).encode(),
        JSON_NAME: msgspec.json.format(document, indent=2) + b"\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            replace_file(folder / name, content)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}", f"df -h {folder}") from error
    return {name: folder / name for name in files}


def _name(number: int) -> str:
    return f"host {number + 1}"


def _metric(found: Merged, name: str) -> Metric:
    return find_metric(found.headers[0], name)


def _list_hosts(found: Merged) -> Table:
    return tabulate(
        range(len(found.headers)),
        {
            "Host": _name,
            "CPU": lambda n: found.hosts[n].cpu_model,
            "CPUs": lambda n: str(found.hosts[n].cpus),
            "Kernel": lambda n: found.hosts[n].kernel,
            found.headers[0].vmm: lambda n: found.hosts[n].vmm_version,
            "Virtualization": lambda n: found.hosts[n].virtualization,
            "Identity": lambda n: Code(found.hosts[n].digest[:16]),
            "Run": lambda n: Code(found.headers[n].run),
            "Trials": lambda n: str(found.counts[n]),
            "Failed": lambda n: str(found.failed[n]),
        },
        words=8,
    )


def _tabulate_ratios(found: Merged) -> Table:
    def of_host(number: int, each: PooledRatio) -> str:
        mine = [one for one in each.hosts if one.host == number]
        return _show(mine[0]) if mine else NOTHING

    return tabulate(
        found.ratios,
        {
            "Figure": lambda each: name_figure(_metric(found, each.metric).title, each.labels),
            "System": lambda each: Code(each.system),
            f"Ratio of {POOLED} (interval)": lambda each: add_interval(
                show_ratio(each.ratio), each.interval, show_ratio
            ),
            "Hosts differ by": lambda each: f"{each.spread - 1:.1%}" if each.spread else NOTHING,
            "Why no interval": lambda each: each.reason or NOTHING,
            **{_name(n): partial(of_host, n) for n in range(len(found.headers))},
        },
        words=2,
    ).without_empty_columns()


def _show(each: HostRatio) -> str:
    return add_interval(show_ratio(each.found.ratio), each.found.ratio_ci, show_ratio)


def _tabulate_values(found: Merged) -> Table:
    return tabulate(
        found.values,
        {
            "Figure": lambda each: name_figure(_metric(found, each.metric).title, each.labels),
            "System": lambda each: Code(each.system),
            **{
                _name(n): lambda each, n=n: show_amount(each.medians[n], _metric(found, each.metric).unit)  # type: ignore[misc]
                for n in range(len(found.headers))
            },
        },
        words=2,
    )


def _draw(found: Merged) -> Iterator[Figure]:
    """A forest plot of each figure: the ratio of each host, and below them that of all."""
    shown = [each for each in found.ratios if each.interval is not None]
    for metric in dict.fromkeys(each.metric for each in shown):
        mine = [each for each in shown if each.metric == metric]
        ends = [1.0]
        rows: list[Row] = []
        for each in mine:
            rows.append(Row(each.system, name_figure("", each.labels)))
            for one in each.hosts:
                rows.append(_to_row(_name(one.host), one.found.ratio, one.found.ratio_ci, ends, kind=0))
            rows.append(_to_row(POOLED, each.ratio, each.interval, ends, kind=4))
        title = _metric(found, metric).title
        axis = choose_axis(ends, "Ratio to the baseline", log=True)
        legend = ((Point(0, 0), "one host"), (Point(4, 0), POOLED))
        about = f"{title}: ratios to {found.headers[0].experiment.baseline}, host by host and of all hosts."
        yield Figure(title, plots=(Rows(title, about, axis, tuple(rows), legend, (1.0, 1.0, 1.0)),))


def _to_row(name: str, ratio: float | None, interval: Interval | None, ends: list[float], kind: int) -> Row:
    told = add_interval(show_ratio(ratio), interval, show_ratio)
    marks: list[Mark] = []
    if interval is not None and interval.low > 0 and interval.high < math.inf:
        ends += interval.low, interval.high
        marks.append(Bar(interval.low, interval.high, look=Look.WHISKER))
    if ratio is not None:
        ends.append(ratio)
        marks.append(Point(kind, ratio, told))
    return Row(name, told, tuple(marks), sub=True)
