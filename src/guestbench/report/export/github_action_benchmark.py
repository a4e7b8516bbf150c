"""Writes medians in the JSON of github-action-benchmark's custom tools; it judges none of them.

Its tools `customSmallerIsBetter` and `customBiggerIsBetter` each read a file of their own kind, so that
metrics of both kinds never stand in one file.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guestbench.analysis.summary import find_metric, summarise
from guestbench.model import Better, Header, Record, Summary
from guestbench.page.figures import write_key


def render(header: Header, records: Sequence[Record]) -> bytes:
    """One entry for each system and metric that decides something and is better when smaller.

    `value` is the median, `range` the standard deviation, and `extra` says of how many values, how many
    trials failed, and the interval of the median.
    """
    return _render(header, records, Better.LOWER)


def render_bigger(header: Header, records: Sequence[Record]) -> bytes:
    """The same of metrics that are better when bigger."""
    return _render(header, records, Better.HIGHER)


def _render(header: Header, records: Sequence[Record], better: Better) -> bytes:
    entries = [
        {
            "name": f"{summary.system}: {write_key(summary.metric, summary.labels)}",
            "unit": find_metric(header, summary.metric).unit,
            "value": summary.median,
            **({"range": f"± {summary.sd:.4g}"} if summary.sd is not None else {}),
            "extra": _tell(summary),
        }
        for summary in summarise(header, records)
        if summary.n
        and find_metric(header, summary.metric).is_compared_with(summary.labels)
        and find_metric(header, summary.metric).better is better
    ]
    return msgspec.json.format(msgspec.json.encode(entries), indent=2) + b"\n"


def _tell(summary: Summary) -> str:
    told = f"n={summary.n}, failed={summary.failed}"
    if summary.median_ci is None:
        return told
    interval = summary.median_ci
    return f"{told}\nmedian {interval.low:.6g} to {interval.high:.6g} at {interval.confidence:.1%}"
