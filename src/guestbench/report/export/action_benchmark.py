"""Writes medians in the JSON of github-action-benchmark's custom tools; it judges none of them.

Its tools `customSmallerIsBetter` and `customBiggerIsBetter` each read a file of their own kind, so that
metrics of both kinds never stand in one file.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guestbench.analysis.compare import is_compared
from guestbench.analysis.summary import find_metric, summarise
from guestbench.model import (
    Better,
    Header,
    Record,
    Summary,
)


def render_action_benchmark(
    header: Header, records: Sequence[Record], better: Better = Better.LOWER
) -> bytes:
    """One entry for each system and metric that decides something and is better in that direction.

    `value` is the median, `range` the standard deviation, and `extra` says of how many values, how many
    trials failed, and the interval of the median.
    """
    entries = [
        {
            "name": f"{summary.system}: {_name(summary)}",
            "unit": find_metric(header, summary.metric).unit,
            "value": summary.median,
            **({"range": f"± {summary.sd:.4g}"} if summary.sd is not None else {}),
            "extra": _tell(summary),
        }
        for summary in summarise(header, records)
        if summary.n
        and is_compared(summary.metric, summary.labels)
        and find_metric(header, summary.metric).better is better
    ]
    return msgspec.json.format(msgspec.json.encode(entries), indent=2) + b"\n"


def _name(summary: Summary) -> str:
    labels = ",".join(f"{name}={value}" for name, value in sorted(summary.labels.items()))
    return f"{summary.metric}{{{labels}}}" if labels else summary.metric


def _tell(summary: Summary) -> str:
    told = f"n={summary.n}, failed={summary.failed}"
    if summary.median_ci is None:
        return told
    interval = summary.median_ci
    return f"{told}\nmedian {interval.low:.6g} to {interval.high:.6g} at {interval.confidence:.1%}"
