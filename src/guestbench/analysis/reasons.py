"""Why a figure is missing, and what weakens figures of given work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from guestbench.analysis.findings import Findings
from guestbench.analysis.summary import BUSY_CORES
from guestbench.families import list_families
from guestbench.model import Ok, Record
from guestbench.page.blocks import Code, Text
from guestbench.page.figures import name_figure


def find_reason(records: Iterable[Record], system: str, metric: str, labels: Mapping[str, str]) -> str:
    """Why a system has no value of a figure, by these trials or how they failed; empty if unknown."""
    mine = [record for record in records if record.trial.system == system]
    failed = (f"failed: {r.outcome.reason}" for r in mine if not isinstance(r.outcome, Ok))
    return next(filter(None, (*(record.find_gap(metric, labels) for record in mine), *failed)), "")


def find_work_warnings(found: Findings) -> tuple[Text, ...]:
    """What is to be known of trials with given work: of the host, and of each figure that is compared."""
    families = [each for each in list_families() if any(purpose.works for purpose in each.purposes)]
    names = {each.name for each in families}
    working = {purpose.name for each in families for purpose in each.purposes if purpose.works}
    warnings: dict[Text, None] = dict.fromkeys(_find_busy(found.find_trials(working), found.header.host.cpus))
    for summary in found.summaries:
        metric = found.metric(summary.metric)
        if metric.compared and metric.family in names:
            figure = name_figure(metric.title, summary.labels)
            for warning in summary.warnings:
                warnings[Code(summary.system), f", {figure}: {warning}"] = None
    return tuple(warnings)


def _find_busy(records: list[Record], cpus: int) -> Iterator[Text]:
    cores = [record.conditions.cpu_others * cpus for record in records]
    over = [used for used in cores if used > BUSY_CORES]
    if over:
        yield (
            f"in {len(over)} of {len(cores)} trials of work other processes used more than "
            f"{BUSY_CORES:g} of the host's {cpus} cores, at most {max(over):.2g}"
        )
