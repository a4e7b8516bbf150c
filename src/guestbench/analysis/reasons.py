"""Why a figure is missing, and what weakens figures of given work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from guestbench.analysis.summary import BUSY_SHARE, find_metric
from guestbench.families import list_families
from guestbench.model import Header, Ok, Record, Summary
from guestbench.page.blocks import Code, Text
from guestbench.page.figures import name_figure
from guestbench.page.numbers import show_share


def find_reason(records: Iterable[Record], system: str, metric: str, labels: Mapping[str, str]) -> str:
    """Why a system has no value of a figure, by these trials or how they failed; empty if unknown."""
    mine = [record for record in records if record.trial.system == system]
    failed = (f"failed: {r.outcome.reason}" for r in mine if not isinstance(r.outcome, Ok))
    return next(filter(None, (*(record.find_gap(metric, labels) for record in mine), *failed)), "")


def find_work_warnings(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary]
) -> tuple[Text, ...]:
    """What is to be known of trials with given work: of the host, and of each figure that is compared."""
    families = [each for each in list_families() if any(purpose.works for purpose in each.purposes)]
    working = {purpose.name for each in families for purpose in each.purposes if purpose.works}
    found = dict.fromkeys(_find_busy(records, working))
    for summary in summaries:
        metric = find_metric(header, summary.metric)
        if metric.compared and metric.family in {each.name for each in families}:
            figure = name_figure(metric.title, summary.labels)
            found |= dict.fromkeys(
                (Code(summary.system), f", {figure}: {warning}") for warning in summary.warnings
            )
    return tuple(found)


def _find_busy(records: Sequence[Record], purposes: set[str]) -> Iterator[Text]:
    shares = [record.conditions.cpu_others for record in records if record.trial.purpose in purposes]
    over = [share for share in shares if share > BUSY_SHARE]
    if over:
        yield (
            f"in {len(over)} of {len(shares)} trials of work other processes used more than "
            f"{show_share(BUSY_SHARE)} of the host's CPU time, at most {show_share(max(over))}"
        )
