"""Puts together what the reports of a run say, whatever renders it."""

from __future__ import annotations

import msgspec

from guestbench.analysis.findings import Findings
from guestbench.page.blocks import Block, Page, Paragraph
from guestbench.report import comparison, steps
from guestbench.report.families import hear_all
from guestbench.report.opening import open_page, summarise_run
from guestbench.report.partial import summarise_to_come, tell_how_far
from guestbench.report.profile import section as profile
from guestbench.report.setting import describe_setting


class Contents(msgspec.Struct, frozen=True):
    """What was found of a run, the page that people read of it, and the summary for the terminal.

    `so_far` is the shorter one of a run that goes on.
    """

    found: Findings
    page: Page
    summary: tuple[Block, ...]

    @property
    def so_far(self) -> tuple[Block, ...]:
        """The table of the summary, and what is still to come."""
        return (*self.summary[:1], Paragraph(tuple(summarise_to_come(self.found))))


def compose(found: Findings, profiles: profile.Profiles | None = None, *, running: bool = False) -> Contents:
    """All that is to be said of a run, whole or not or still `running`, and of profiles that were added."""
    own, lines = hear_all(found)
    sections = (
        *comparison.find_sections(found),
        *steps.find_sections(found),
        *own,
        *(profile.find_sections(found.header, profiles) if profiles else ()),
        *describe_setting(found),
    )
    title = " – ".join(filter(None, (found.header.experiment.title, tell_how_far(found))))
    page = Page(title, tuple(open_page(found, running=running)), sections)
    return Contents(found, page, tuple(summarise_run(found, lines)))
