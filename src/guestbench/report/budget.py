"""Says what a run leaves out for want of time: before it starts, and in its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.budget import Estimate, fit, may_search
from guestbench.analysis.findings import Findings
from guestbench.analysis.partial import find_dropped
from guestbench.model import Header, Record, ToCome
from guestbench.page.blocks import Block, Bullets
from guestbench.page.numbers import count_things, show_duration
from guestbench.report.partial import list_trials


def tell_plan(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """What will be dropped to keep to the budget, as far as it is known; nothing for a run without one."""
    if header.budget is None:
        return
    kept = fit(header, records)
    estimate = Estimate(header, records)
    unknown = {trial.definition + trial.purpose for trial in kept.trials if estimate.find(trial) is None}
    time = show_duration(header.budget.seconds)
    dropped = find_dropped(header, kept, records)
    fits = f"{len(kept.trials)} of {count_things(len(header.trials), 'planned trial')}"
    if dropped:
        yield f"into {time} fit {fits}; dropped: {'; '.join(map(_tell, dropped))}"
    if unknown:
        yield (
            f"how long {count_things(len(unknown), 'kind')} of trial take on this host is not known yet: "
            f"rounds that do not fit into {time} are dropped when that shows, and the report says which"
        )
    elif not dropped:
        yield f"all {fits} fit into {time}, as far as trials take what they took before"
    if any(purpose.search for purpose in header.purposes) and may_search(header, records):
        yield "searches, such as that for the least RAM, come last, and end when the time is up"


def describe_dropped(found: Findings) -> Iterator[Block]:
    """What the run had no time for."""
    budget = found.header.budget
    if budget is not None:
        told = tuple(map(_tell, found.dropped)) or ("nothing.",)
        yield Bullets(told, f"Dropped to keep to {show_duration(budget.seconds)}:")


def _tell(each: ToCome) -> str:
    return f"{each.title}: {list_trials(each)}"
