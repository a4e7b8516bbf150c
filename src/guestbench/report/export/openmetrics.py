"""Writes medians, numbers of values and failures as OpenMetrics text; it gives no time, for a run has many.

Names are `guestbench_` and the metric's, with the unit at the end. Units are the base units that OpenMetrics
asks for: seconds, and bytes for KiB and MiB. Text of guests stands in labels only, in printable characters.
What is written reads as Prometheus's older text format as well: it has gauges only, and no quotes in help.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    about = {
        "run": header.run,
        "tool": header.tool,
        "qemu": header.host.vmm_version,
        "accel": header.accel.used.value,
        "machine": header.platform.machine,
        "host": header.host.digest,
    }
    lines = [
        *_gauge("guestbench_run_info", "The run that all this is of.", [(about, 1)]),
        *_render_trials(header, records),
    ]
    families: dict[str, list[Summary]] = {}
    for summary in summarise(header, records):
        families.setdefault(summary.metric, []).append(summary)
    for name, summaries in families.items():
        lines += _render_metric(find_metric(header, name), [each for each in summaries if each.n])
    return "".join(f"{line}\n" for line in (*lines, "# EOF")).encode()


def _render_trials(header: Header, records: Sequence[Record]) -> Iterator[str]:
    made = Counter((record.trial.system, record.trial.purpose) for record in records)
    # To a search a failure is an answer.
    searches = {purpose.name for purpose in list_purposes(header) if purpose.search}
    bad = (r.trial for r in records if not isinstance(r.outcome, Ok) and r.trial.purpose not in searches)
    failed = Counter((trial.system, trial.purpose) for trial in bad)
    each = [({"system": system, "purpose": purpose}, (system, purpose)) for system, purpose in made]
    yield from _gauge("guestbench_trials", "Trials made.", [(labels, made[key]) for labels, key in each])
    yield from _gauge(
        "guestbench_failed_trials", "Trials that failed.", [(labels, failed[key]) for labels, key in each]
    )


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
    about = f"{metric.title}, median. {metric.help}".strip()
    yield from _gauge(name, about, [(dict(key), value) for key, (value, _) in values.items()], unit)
    counted = f"{name.removesuffix(f'_{unit}')}_values" if unit else f"{name}_values"
    about = f"How many values the median of {name} is of."
    yield from _gauge(counted, about, [(dict(key), n) for key, (_, n) in values.items()])


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


def _gauge(
    name: str, about: str, samples: Iterable[tuple[Mapping[str, str], float]], unit: str = ""
) -> Iterator[str]:
    """A family of samples, each with its labels."""
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    # The two formats disagree on how a quote is written in help.
    plain = _quote(about.replace('"', "'"))
    yield f"# HELP {name} {plain}"
    for labels, value in samples:
        shown = ",".join(f'{label}="{_quote(text)}"' for label, text in labels.items())
        yield f"{name}{{{shown}}} {value!r}"


def _quote(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace('"', '\\"')
