"""The boots of a run as it went: in order, how they scatter, and block by block."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from factories import make_boot_run, with_outcome

from guestbench.analysis.analyse import analyse
from guestbench.analysis.findings import Findings
from guestbench.families.boot.course import describe_course, draw_blocks, draw_order, draw_shares
from guestbench.model import Conditions, Crashed
from guestbench.page.blocks import Figure, Section, Table, to_plain
from guestbench.page.plots import Bar, Curves, Dots, Line, Look, Rows
from guestbench.report.svg import draw

TIMES = {"floor": [0.1, 0.1, 0.1, 0.1], "base": [2.0, 2.0, 4.0, 4.0], "other": [1.0, 1.2, 2.0, 2.2]}


def find(
    times: dict[str, Sequence[float]] | None = None, failed: Sequence[int] = (), busy: int = -1
) -> Findings:
    """What is found of a run of these times; some of its boots failed, and one was made on a busy host."""
    header, records = make_boot_run(times or TIMES, floor="floor")
    header = msgspec.structs.replace(
        header, experiment=msgspec.structs.replace(header.experiment, baseline="base")
    )
    loud = Conditions(load_1m=2.0, cpu_others=0.6, cpu_steal=0.1)
    made = [
        with_outcome(record, Crashed(reason="x")) if number in failed else record
        for number, record in enumerate(records)
    ]
    if busy >= 0:
        made[busy] = msgspec.structs.replace(made[busy], conditions=loud)
    return analyse(header, tuple(made))


def part(found: Findings, name: str) -> Section:
    """A section of that id."""
    return next(section for section in describe_course(found) if section.id == name)


def curves(figure: Figure) -> list[Curves]:
    """The plots of a figure, all of curves."""
    assert all(isinstance(plot, Curves) for plot in figure.plots)
    return [plot for plot in figure.plots if isinstance(plot, Curves)]


def test_boots_stand_in_the_order_made_over_the_load_of_the_host() -> None:
    """Nobody would see that the host was busy during a slow boot, or that all grew slower at once."""
    found = find(busy=5)
    boots = found.find_trials(("boot",))
    above, below = curves(draw_order(found, boots))
    assert above.across == below.across
    places = sorted(point for course in above.courses for point in course.points)
    assert [number for number, _ in places] == list(range(1, 13))
    medians = {"floor": 0.1, "base": 3.0, "other": 1.6}
    names = [record.trial.system for record in boots]
    ready = [next(s.value for s in r.samples if s.metric == "boot.ready") for r in boots]
    assert [share for _, share in places] == pytest.approx(
        [value / medians[name] for value, name in zip(ready, names, strict=True)]
    )
    others, steal = (course.points for course in below.courses)
    assert [number for number, share in others if share == 0.6] == [6]
    assert [number for number, share in steal if share == 0.1] == [6]
    assert "60%" in below.description and "10%" in below.description


def test_a_failed_boot_has_its_place_in_the_order() -> None:
    """A boot that never got ready would look like one that was never made."""
    found = find(failed=[4])
    above, _ = curves(draw_order(found, found.find_trials(("boot",))))
    hollow = [course for course in above.courses if course.line is Line.HOLLOW]
    assert [number for course in hollow for number, _ in course.points] == [5]
    assert "1 failed" in above.description
    assert any(name.startswith("failed") for _, name in above.legend)


def test_stairs_end_below_the_top_where_boots_failed() -> None:
    """A guest that fails in half of its boots would look as sure as one that never does."""
    header_names = ["floor", "base", "other"]
    (plot,) = curves(draw_shares(find(failed=[4])))
    tops = {header_names[course.kind]: course.points[-1][1] for course in plot.courses}
    assert sorted(tops.values()) == [0.75, 1.0, 1.0]
    for course in plot.courses:
        assert list(course.points) == sorted(course.points)


@pytest.mark.parametrize(("floor", "label"), [(0.1, "median"), (1.5, "Boot time, s")])
def test_times_share_an_axis_where_they_fit_one(floor: float, label: str) -> None:
    """All that could be seen of a fast and a slow guest would be two upright lines."""
    (plot,) = curves(draw_shares(find({**TIMES, "floor": [floor] * 4})))
    assert label in plot.across.label
    assert all(
        plot.across.low <= at <= plot.across.high for course in plot.courses for at, _ in course.points
    )


def test_each_block_is_a_ratio_to_the_baseline_in_the_same_block() -> None:
    """A host that is slow in half of the blocks would seem to be a guest that is."""
    section = part(find(), "block-by-block")
    figure, table = section.blocks
    assert isinstance(figure, Figure) and isinstance(table, Table)
    (plot,) = figure.plots
    assert isinstance(plot, Rows)
    (row,) = plot.rows
    (dots,) = (mark for mark in row.marks if isinstance(mark, Dots))
    assert dots.values == pytest.approx((0.5, 0.6, 0.5, 0.55))
    bars = {mark.look: (mark.low, mark.high) for mark in row.marks if isinstance(mark, Bar)}
    low, high = bars[Look.INTERVAL]
    assert bars[Look.MEDIAN][0] == pytest.approx((0.5 * 0.6 * 0.5 * 0.55) ** 0.25)
    assert low < bars[Look.MEDIAN][0] < high
    assert [to_plain(cell) for cell in table.rows[0]][:2] == ["other", "4"]
    assert [to_plain(cell) for cell in table.rows[0]][-2:] == ["0.500", "0.600"]


def test_the_table_tells_what_the_plot_shows_of_time() -> None:
    """A reader of the Markdown would not learn that the second half was slower, since there are no plots."""
    section = part(find(), "boots-in-order")
    table = next(block for block in section.blocks if isinstance(block, Table))
    rows = {to_plain(row[0]): [to_plain(cell) for cell in row] for row in table.rows}
    assert rows["base"][1:5] == ["2", "2.00 s", "4.00 s", "+100.0%"]
    assert rows["floor"][4] == "+0.0%"


def test_plots_are_for_the_page_alone_where_there_is_nothing_to_compare() -> None:
    """A run without a baseline, or without any boot that got ready, would have an empty plot."""
    header, records = make_boot_run({"a": [1.0, 2.0, 1.0, 2.0]})
    assert [each.id for each in describe_course(analyse(header, records))] == ["boots-in-order"]
    failed = tuple(with_outcome(record, Crashed(reason="x")) for record in records)
    assert list(describe_course(analyse(header, failed))) == []
    assert draw_blocks([]).plots == ()


def test_thousands_of_boots_are_dots_and_a_few_are_told_apart_without_colour() -> None:
    """A page of a long run would be megabytes of markers, or systems be known by their colour alone."""
    few, many = (
        draw(draw_order(found, found.find_trials(("boot",))))
        for found in (find(), find({"a": [1.0, 1.1] * 250, "base": [1.0, 1.2] * 250}))
    )
    assert few.count('class="mark k') > 12 and "<circle" not in few
    assert many.count("<circle") == 1000
    assert "<desc>" in few and "style=" not in few
