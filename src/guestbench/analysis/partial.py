"""What a run that is not whole may say: what is to come of it, and no verdict before its data are complete.

Who looks at a run again and again, and may end it when he likes what he sees, finds a difference by chance
more often than a test's level says. So a verdict that rests on how values scatter is given when all of the
run is there, for tests are adjusted for all comparisons of a report. What does not scatter is compared as
soon as its own trials are made, and so is what a search has found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from guestbench.analysis.budget import may_search
from guestbench.analysis.forecast import Forecast
from guestbench.families import ask, list_families, list_purposes
from guestbench.model import Comparison, Header, Method, Record, ToCome, Verdict

REST = "its own trials are made; tests are adjusted for all comparisons, and some are to come"


def find_to_come(header: Header, records: Sequence[Record], *, searches: bool = True) -> tuple[ToCome, ...]:
    """The families of which something is still to come, in their order; the header is trimmed to its rule.

    Without `searches` what is searched for is not looked at.
    """
    done, families = {record.trial.id for record in records}, _name_families()
    titles = {family.name: family.title for family in list_families()}
    names = [families.get(trial.purpose, trial.purpose) for trial in header.trials]
    planned = Counter(names)
    found = []
    for name in dict.fromkeys((*(name for name in titles if name in header.experiment.metrics), *names)):
        missing = [t for t, own in zip(header.trials, names, strict=True) if own == name and t.id not in done]
        open_ = [*ask("findings", "unfinished", header, records, names=(name,))] if searches else []
        if not missing and not open_:
            continue
        forecast = Forecast(missing)
        for record in records:
            forecast.learn(record)
        seconds, unknown = forecast.count_seconds()
        found.append(
            ToCome(
                family=name,
                title=titles.get(name, name),
                made=planned[name] - len(missing),
                planned=planned[name],
                missing=dict(Counter(trial.purpose for trial in missing)),
                seconds=None if unknown else seconds,
                search=" ".join(open_),
            )
        )
    return tuple(found)


def find_dropped(header: Header, kept: Header, records: Sequence[Record]) -> tuple[ToCome, ...]:
    """The same of what is not to come, for want of time: trials of `header` that are not in `kept`."""
    mine = {trial.id for trial in kept.trials}
    others = msgspec.structs.replace(header, trials=tuple(t for t in header.trials if t.id not in mine))
    return find_to_come(others, records, searches=not may_search(header, records))


def _name_families() -> dict[str, str]:
    """The name of each purpose's family."""
    return {purpose.name: family.name for family in list_families() for purpose in family.purposes}


class Waiting:
    """What the figures of a run that is not whole wait for; of one that is whole, nothing."""

    def __init__(self, header: Header, records: Sequence[Record], to_come: Sequence[ToCome]) -> None:
        self._header = header
        self._whole = not to_come
        self._searching = {each.family for each in to_come if each.search}
        done = {record.trial.id for record in records}
        tells = {each.name for each in list_purposes(header) if each.counted or each.facts}
        self._planned: Counter[tuple[str, str]] = Counter()
        self._missing: Counter[tuple[str, str]] = Counter()
        families = _name_families()
        for trial in header.trials if to_come else ():
            if trial.purpose in tells:
                place = families.get(trial.purpose, trial.purpose), trial.system
                self._planned[place] += 1
                self._missing[place] += trial.id not in done

    def tell(self, metric: str, systems: Collection[str], *, searched: bool = False) -> str:
        """Which trials of its own a figure of these systems waits for; empty where they are made."""
        family = next((row.family for row in self._header.metrics if row.name == metric), "")
        missing = sum(self._missing[family, name] for name in systems)
        if missing:
            planned = sum(self._planned[family, name] for name in systems)
            return f"{planned - missing} of {planned} trials are made"
        return "the search goes on" if searched and family in self._searching else ""

    def hold_back(self, found: Comparison) -> Comparison:
        """The comparison without what would make it a verdict, where that is not to be had yet."""
        searched = found.method is Method.SEARCH
        why = self.tell(found.metric, (found.system, found.baseline), searched=searched)
        if not why and (self._whole or found.method in (Method.EXACT, Method.SEARCH, Method.NONE)):
            return found
        return msgspec.structs.replace(
            found,
            verdict=Verdict.PENDING,
            reason=why or REST,
            ratio_ci=None,
            ratio_bca=None,
            difference_ci=None,
            p=None,
            p_holm=None,
            needed=None,
        )
