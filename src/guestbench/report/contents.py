"""Puts together what the reports of a run say, whatever renders it."""

from __future__ import annotations

import msgspec

from guestbench.analysis.findings import Findings
from guestbench.page.blocks import Block, Page
from guestbench.report import comparison, steps
from guestbench.report.families import hear_all
from guestbench.report.opening import open_page, summarise_run
from guestbench.report.profile import section as profile
from guestbench.report.setting import describe_setting


class Contents(msgspec.Struct, frozen=True):
    """What was found of a run, the page that people read of it, and the summary for the terminal."""

    found: Findings
    page: Page
    summary: tuple[Block, ...]


def compose(found: Findings, profiles: profile.Profiles | None = None) -> Contents:
    """All that is to be said of a run, finished or not, and of profiles that were added to it."""
    own, lines = hear_all(found)
    sections = (
        *comparison.find_sections(found),
        *steps.find_sections(found),
        *own,
        *(profile.find_sections(found.header, profiles) if profiles else ()),
        *describe_setting(found),
    )
    page = Page(found.header.experiment.title, tuple(open_page(found)), sections)
    return Contents(found, page, tuple(summarise_run(found, lines)))
