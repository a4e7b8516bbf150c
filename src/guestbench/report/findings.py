"""What analysis makes of a run, made once for all its reports; it calculates nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.analysis.summary import summarise
from guestbench.model import Comparison, Frozen, Header, Judgement, Record, Summary


class Findings(Frozen):
    """Summaries of the counted trials, comparisons with the baseline, and judged claims."""

    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...] = ()
    judgements: tuple[Judgement, ...] = ()


def analyse(header: Header, records: Sequence[Record]) -> Findings:
    """All that the reports of a run need. Of a run without baseline and claims nothing is compared."""
    summaries = summarise(header, records)
    if not header.experiment.baseline and not header.experiment.claims:
        # Statistics take half a second to load.
        return Findings(summaries=summaries)
    from guestbench.analysis.claims import judge_claims
    from guestbench.analysis.compare import compare_run

    return Findings(
        summaries=summaries,
        comparisons=compare_run(header, records),
        judgements=judge_claims(header, records),
    )
