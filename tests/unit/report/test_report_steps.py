"""What the steps of an experiment bring: planted savings come back, and branches are not part of the sum."""

from __future__ import annotations

import random

import msgspec
import pytest
from factories import make_boot_run

from guestbench.analysis.analyse import analyse
from guestbench.analysis.findings import Findings
from guestbench.model import Comparison, Step, Verdict
from guestbench.page.plots import Bar, Look, Rows
from guestbench.report.markdown import render_section
from guestbench.report.steps import find_sections

STEPS = (
    Step(what="no menu", before="disk", after="no-menu"),
    Step(what="no boot loader", before="no-menu", after="direct"),
    Step(what="a quiet console", before="direct", after="quiet"),
    Step(what="another kernel", before="direct", after="cloud"),
)
SEEDS = 40
TRUE = {"disk": 20.0, "no-menu": 15.0, "direct": 12.0, "quiet": 11.0, "cloud": 12.6}


def find(*, without: str = "", seed: int = 7) -> Findings:
    """A run of ten blocks on a host that slows down by half, of systems that scatter by 1%."""
    noise = random.Random(seed)
    values = {
        name: [true * (1 + block / 20) * noise.gauss(1, 0.01) for block in range(10)]
        for name, true in TRUE.items()
        if name != without
    }
    header, records = make_boot_run(values)
    experiment = msgspec.structs.replace(header.experiment, steps=STEPS, baseline="", claims=())
    return analyse(msgspec.structs.replace(header, experiment=experiment), records)


def gains(found: Findings) -> dict[str, Comparison]:
    """What is found of each step in the time to ready."""
    return {each.step.what: each.found for each in found.gains if each.found.metric == "boot.ready"}


def test_planted_savings_come_back_within_their_intervals() -> None:
    """A reader would be told that a change buys what it does not."""
    covered = 0
    for seed in range(SEEDS):
        found = gains(find(seed=seed))
        for step in STEPS:
            ends = found[step.what].difference_ci
            assert ends is not None
            # The host slowed down by 22.5% in the middle of the run, for both alike.
            covered += ends.low < (TRUE[step.after] - TRUE[step.before]) * 1.225 < ends.high
    assert covered >= 0.88 * SEEDS * len(STEPS)
    assert found["no menu"].verdict is Verdict.SMALLER
    assert found["another kernel"].verdict is Verdict.LARGER


def test_the_table_shows_what_costs_as_less_than_nothing_saved() -> None:
    """A step that makes a guest slower would be sold as a saving."""
    (section,) = find_sections(find())
    lines = render_section(section).splitlines()
    (slower,) = (line for line in lines if line.startswith("| another kernel"))
    assert "-7" in slower.replace("−", "-")
    assert "larger" in slower
    (menu,) = (line for line in lines if line.startswith("| no menu"))
    assert "25%" in menu  # 5 of 20 seconds


def test_a_branch_is_drawn_apart_and_the_rest_is_what_the_chain_leaves() -> None:
    """The bars would seem to add up to a saving that no system has."""
    (section,) = find_sections(find())
    part = next(each for each in section.parts if each.id.endswith("boot.ready"))
    plot = next(plot for block in part.blocks for plot in getattr(block, "plots", ()))
    assert isinstance(plot, Rows)
    bars = [mark for row in plot.rows for mark in row.marks if isinstance(mark, Bar)]
    assert [bar.look for bar in bars] == [Look.PART, Look.PART, Look.INTERVAL, Look.PART, Look.PART]
    assert plot.rows[-1].name == "left: cloud"
    assert bars[0].low == pytest.approx(bars[1].high)
    assert bars[3].high == pytest.approx(bars[4].high)


def test_a_step_of_a_system_that_is_not_in_the_run_is_left_out() -> None:
    """A run of some of the systems would end in a traceback, or show a step from nothing."""
    found = find(without="direct")
    assert set(gains(found)) == {"no menu"}
    assert [section.id for section in find_sections(found)] == ["steps"]


def test_a_run_without_steps_has_no_such_section() -> None:
    """Every report would open with an empty heading."""
    header, records = make_boot_run({"a": [1.0, 1.1], "b": [2.0, 2.1]})
    assert list(find_sections(analyse(header, records))) == []
