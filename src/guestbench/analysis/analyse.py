"""Analyses a run, once for all that is said of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guestbench.analysis.budget import fit, may_search
from guestbench.analysis.findings import Findings
from guestbench.analysis.partial import Waiting, find_dropped, find_to_come
from guestbench.analysis.stopping import find_looks, trim_to_rule
from guestbench.analysis.summary import add_derived, summarise
from guestbench.model import Header, Record


def analyse(header: Header, records: Sequence[Record]) -> Findings:
    """All that the reports of a run need. Of a run without baseline, claims and steps nothing is compared."""
    derived = add_derived(header, records)
    from guestbench.analysis.calibration import find_known_ratios, find_recoveries

    looks, planned = find_looks(header, derived), trim_to_rule(header, derived)
    header = fit(planned, derived)
    to_come = find_to_come(header, derived, searches=may_search(header, derived))
    waiting = Waiting(header, derived, to_come)
    found = Findings(
        header=header,
        records=derived,
        summaries=summarise(header, derived),
        looks=looks,
        # They judge the host, and are held back like verdicts.
        known_ratios=() if to_come else tuple(find_known_ratios(header, derived)),
        recoveries=() if to_come else tuple(find_recoveries(header, derived)),
        to_come=to_come,
        dropped=find_dropped(planned, header, derived),
    )
    asked = header.experiment
    if not asked.baseline and not asked.claims and not asked.steps:
        # Statistics take half a second to load.
        return found
    from guestbench.analysis.beside import find_beside
    from guestbench.analysis.claims import judge_claims
    from guestbench.analysis.compare import compare_run
    from guestbench.analysis.steps import find_gains

    comparisons = tuple(map(waiting.hold_back, compare_run(header, derived)))
    judgements = judge_claims(header, derived, waiting)
    replace = msgspec.structs.replace
    beside = (
        replace(each, found=each.found and waiting.hold_back(each.found))
        for each in find_beside(header, derived, comparisons, judgements)
    )
    return replace(
        found,
        comparisons=comparisons,
        judgements=judgements,
        beside=tuple(beside),
        gains=tuple(replace(g, found=waiting.hold_back(g.found)) for g in find_gains(header, derived)),
    )
