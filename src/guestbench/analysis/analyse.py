"""Analyses a run, once for all that is said of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guestbench.analysis.findings import Findings
from guestbench.analysis.stopping import find_looks, trim
from guestbench.analysis.summary import add_derived, summarise
from guestbench.model import Header, Record


def analyse(header: Header, records: Sequence[Record]) -> Findings:
    """All that the reports of a run need. Of a run without baseline, claims and steps nothing is compared."""
    derived = add_derived(header, records)
    from guestbench.analysis.calibration import find_known_ratios, find_recoveries

    header, looks = trim(header, derived), find_looks(header, derived)
    found = Findings(
        header=header,
        records=derived,
        summaries=summarise(header, derived),
        looks=looks,
        known_ratios=tuple(find_known_ratios(header, derived)),
        recoveries=tuple(find_recoveries(header, derived)),
    )
    asked = header.experiment
    if not asked.baseline and not asked.claims and not asked.steps:
        # Statistics take half a second to load.
        return found
    from guestbench.analysis.beside import find_beside
    from guestbench.analysis.claims import judge_claims
    from guestbench.analysis.compare import compare_run
    from guestbench.analysis.steps import find_gains

    comparisons, judgements = compare_run(header, derived), judge_claims(header, derived)
    beside = find_beside(header, derived, comparisons, judgements)
    return msgspec.structs.replace(
        found,
        comparisons=comparisons,
        judgements=judgements,
        beside=beside,
        gains=find_gains(header, derived),
    )
