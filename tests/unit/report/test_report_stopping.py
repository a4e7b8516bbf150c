"""What reports say of a run that stopped by a rule."""

from __future__ import annotations

import pytest
from steered import make_steered

from guestbench.analysis.analyse import analyse
from guestbench.analysis.stopping import find_looks
from guestbench.model import Header, Record
from guestbench.report.contents import compose
from guestbench.report.export import json
from guestbench.report.markdown import render_markdown


def render(header: Header, records: tuple[Record, ...]) -> str:
    """The report as its readers see it, a line a sentence."""
    return render_markdown(compose(analyse(header, records)).page).replace("\\", "")


def test_a_report_says_by_which_rule_its_run_stopped() -> None:
    """A reader would take a number of blocks that depended on the data for one that did not."""
    header, records = make_steered("ci=2.5%", 0.05)
    end = find_looks(header, records).end
    shown = render(header, tuple(r for r in records if r.trial.block <= (end or 0)))
    assert f"It stopped after {end} of at most 40 blocks, since each ratio was known to within 2.5%." in shown
    assert "### When it was to stop" in shown
    assert "looks after 10, 14, 20, 28, 40." in shown
    assert "covers the true ratio in about 94% of runs" in shown
    part = shown.split("### When it was to stop")[1].split("\n#")[0]
    table = [line.split("|")[1:-1] for line in part.splitlines() if "`other`" in line]
    assert [cells[0].strip() for cells in table][-1] == str(end)
    assert [cells[-1].strip() for cells in table] == ["no"] * (len(table) - 1) + ["yes"]
    assert "not complete" not in shown
    assert f"Of {3 * (end or 0)} planned boots" in shown


def test_a_report_says_that_a_run_came_to_its_cap() -> None:
    """A reader would believe that the run had found out what it was made for."""
    header, records = make_steered("verdict", 0.4)
    shown = render(header, records)
    assert (
        "Blocks were to be made until each system was told to be slower, faster or alike within 3%, "
        "40 at most; after 40 blocks, at its last look, that was not reached." in shown
    )
    assert "level of 1.58%" in shown


def test_a_report_of_a_run_without_a_rule_says_nothing_of_one() -> None:
    """Every report would have a section that is of no use."""
    header, records = make_steered("ci=3%", 0.05)
    from msgspec.structs import replace

    assert "stop" not in render(replace(header, until=None), records).lower()


@pytest.mark.parametrize("until", ["ci=2.5%", "verdict"])
def test_programs_get_the_rule_and_the_looks(until: str) -> None:
    """A program that reads results.json would compute with n as if it had been planned."""
    header, records = make_steered(until, 0.05)
    shown = json.render(header, records).decode()
    assert '"until": {' in shown
    assert '"looks": [\n    {\n      "blocks": 10' in shown
