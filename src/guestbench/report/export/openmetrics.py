"""Writes medians, numbers of values and failures as OpenMetrics text; it gives no time, for a run has many.

Names are `guestbench_` and the metric's, with the unit at the end. Units are the base units that OpenMetrics
asks for: seconds, and bytes for KiB and MiB. Text of guests stands in labels only, in printable characters.
What is written reads as Prometheus's older text format as well: it has gauges only, and no quotes in help.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from guestbench.analysis.summary import find_metric, summarise
from guestbench.families import list_purposes
from guestbench.model import Header, Metric, Ok, Record, Summary
from guestbench.text import visible

PREFIX = "guestbench_"
UNITS = {"s": ("seconds", 1), "KiB": ("bytes", 1024), "MiB": ("bytes", 1 << 20)}
"""For units that are no base units: the base unit, and how many of it one of them is."""
NO_UNIT = ("", "count")

Labels = tuple[tuple[str, str], ...]


def render(header: Header, records: Sequence[Record]) -> bytes:
    """The run as an OpenMetrics 1.0 exposition; ends with `# EOF` and a newline."""
    lines = [
        *_family("guestbench_run_info", "gauge", "", "The run that all this is of."),
        _sample("guestbench_run_info", _describe(header), 1),
        *_render_trials(header, records),
    ]
    families: dict[str, list[Summary]] = {}
    for summary in summarise(header, records):
        families.setdefault(summary.metric, []).append(summary)
    for name, summaries in families.items():
        lines += _render_metric(find_metric(header, name), [each for each in summaries if each.n])
    return "".join(f"{line}\n" for line in (*lines, "# EOF")).encode()


def _describe(header: Header) -> dict[str, str]:
    return {
        "run": header.run,
        "tool": header.tool,
        "qemu": header.host.vmm_version,
        "accel": header.accel.used.value,
        "machine": header.platform.machine,
        "host": header.host.digest,
    }


def _render_trials(header: Header, records: Sequence[Record]) -> Iterator[str]:
    made = Counter((record.trial.system, record.trial.purpose) for record in records)
    searches = {purpose.name for purpose in list_purposes(header) if purpose.search}
    failed: Counter[tuple[str, str]] = Counter(
        (record.trial.system, record.trial.purpose)
        for record in records
        # To a search a failure is an answer.
        if not isinstance(record.outcome, Ok) and record.trial.purpose not in searches
    )
    for name, help_text, counts in (
        ("guestbench_trials", "Trials made.", made),
        ("guestbench_failed_trials", "Trials that failed.", failed),
    ):
        yield from _family(name, "gauge", "", help_text)
        for system, purpose in made:
            labels = {"system": system, "purpose": purpose}
            yield _sample(name, labels, counts[system, purpose])


def _render_metric(metric: Metric, summaries: Sequence[Summary]) -> Iterator[str]:
    if not summaries:
        return
    unit, factor = UNITS.get(metric.unit, (metric.unit, 1))
    unit = "" if unit in NO_UNIT else to_name(unit.replace("/s", "_per_second"))
    name = PREFIX + to_name(metric.name)
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    values: dict[Labels, tuple[float, int]] = {}
    for summary in summaries:
        if summary.median is not None:
            labels = _labels(summary)
            # Names that only differ in characters that OpenMetrics does not have would be one sample twice.
            values.setdefault(tuple(sorted(labels.items())), (summary.median * factor, summary.n))
    yield from _family(name, "gauge", unit, f"{metric.title}, median. {metric.help}".strip())
    for key, (value, _) in values.items():
        yield _sample(name, dict(key), value)
    counted = f"{name.removesuffix(f'_{unit}')}_values" if unit else f"{name}_values"
    yield from _family(counted, "gauge", "", f"How many values the median of {name} is of.")
    for key, (_, n) in values.items():
        yield _sample(counted, dict(key), n)


def _labels(summary: Summary) -> dict[str, str]:
    taken = {
        f"label_{name}" if name in ("system", "") else name: value
        for name, value in ((to_name(name), value) for name, value in summary.labels.items())
    }
    return {"system": summary.system, **taken}


def to_name(text: str) -> str:
    """Text as a name that OpenMetrics allows for labels, and after a prefix for metrics."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", text)
    return f"_{name}" if name[:1].isdigit() else name


def _family(name: str, kind: str, unit: str, help_text: str) -> list[str]:
    # The two formats disagree on how a quote is written in help.
    plain = _quote(help_text.replace('"', "'"))
    return [
        f"# TYPE {name} {kind}",
        *([f"# UNIT {name} {unit}"] if unit else []),
        f"# HELP {name} {plain}",
    ]


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_quote(text)}"' for label, text in labels.items())
    return f"{name}{{{shown}}} {value!r}"


def _quote(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace('"', '\\"')
