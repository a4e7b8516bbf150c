"""Puts together what the reports of a run say, whatever renders it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guestbench.analysis.summary import add_derived
from guestbench.model import Header, Record
from guestbench.page.blocks import Block, Page
from guestbench.report import comparison
from guestbench.report.families import hear_all
from guestbench.report.findings import Findings
from guestbench.report.opening import open_page, summarise_run
from guestbench.report.setting import describe_setting


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The page that people read, and the summary for the terminal."""

    page: Page
    summary: tuple[Block, ...]


def compose(header: Header, records: Sequence[Record], findings: Findings) -> Contents:
    """All that is to be said of a run, finished or not; `findings` are those of `analyse`."""
    derived, summaries = add_derived(header, records), findings.summaries
    said = hear_all(header, derived, summaries)
    compared = comparison.find_sections(header, findings.comparisons, findings.judgements)
    return Contents(
        page=Page(
            title=header.experiment.title,
            blocks=tuple(open_page(header, derived, summaries)),
            sections=(*compared, *said.sections, *describe_setting(header, derived)),
        ),
        summary=tuple(summarise_run(header, derived, summaries, said.lines)),
    )
