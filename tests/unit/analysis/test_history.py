"""Many runs over time: where a level changes, and what is told of each run."""

from __future__ import annotations

import numpy as np
import pytest
from diff_factories import TEN, Run, make_boots, with_metric
from msgspec.structs import replace
from verdicts_between_runs import rate_changes

from guestbench.analysis.changes import SHORTEST, find_changes
from guestbench.analysis.history import History, Series, trace_runs
from guestbench.model import Metric


def make_nights(levels: list[float], **others: list[float]) -> list[Run]:
    """A run a night of ten boots of `uk` about each level; 0 is a night in which all of them crashed."""
    random = np.random.default_rng(4)
    runs = []
    for number, level in enumerate(levels, 1):
        times = (level * np.exp(random.normal(0, 0.01, 10))).tolist()
        header, records = make_boots({"uk": times}, f"night-{number:02}")
        run: Run = replace(header, created=f"2024-01-{number:02}T02:00:00+00:00"), records
        for metric, values in others.items():
            run = with_metric(run, metric.replace("_", "."), [values[number - 1]])
        runs.append(run)
    return runs


def trace(runs: list[Run]) -> History:
    """All that is compared."""

    def is_wanted(_: str, metric: Metric, labels: dict[str, str]) -> bool:
        return metric.is_compared_with(labels)

    return trace_runs(runs, is_wanted)


# --- changes of a series ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "least"), [(0.05, 0.93), (0.0, 0.95)])
def test_a_step_is_found_where_it_is_and_none_where_there_is_none(step: float, least: float) -> None:
    """A nightly job would cry wolf, or say nothing of a regression of 5%."""
    assert rate_changes(100, step) >= least


def test_several_changes_are_found() -> None:
    """A regression that was mended would look like no change."""
    random = np.random.default_rng(6)
    levels = [1.0] * 10 + [1.2] * 10 + [1.0] * 10
    assert find_changes(np.log(levels) + random.normal(0, 0.01, 30)) == (10, 20)


def test_one_run_that_is_off_is_no_change() -> None:
    """A night on a busy host would be called a regression, and the next a mend."""
    random = np.random.default_rng(7)
    series = random.normal(0, 0.01, 20)
    series[9] += 0.5
    assert find_changes(series) == ()


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 5.0, 9.0], [3.0] * 20, [1e308, -1e308] * 10])
def test_short_and_odd_series_have_no_change(values: list[float]) -> None:
    """The second night, or a figure that never changes, would end in a traceback."""
    assert find_changes(values) == ()
    assert SHORTEST == 3


# --- series of runs ---------------------------------------------------------------------------------------


def test_runs_are_in_the_order_of_time_and_changes_are_theirs() -> None:
    """A change would be blamed on another night."""
    runs = make_nights([1.0] * 8 + [1.1] * 6)
    found = trace([*runs[7:], *runs[:7]])
    (series,) = found.series
    assert [stage.run for stage in series.stages] == [header.run for header, _ in runs]
    (turn,) = series.turns
    assert series.stages[turn.stage].run == "night-09" and turn.ratio == pytest.approx(1.1, rel=0.02)
    assert series.run_sd is not None and 0.001 < series.run_sd < 0.01
    assert all(
        each.interval and each.interval.low <= (each.value or 0) <= each.interval.high
        for each in series.stages
    )


def test_sizes_change_wherever_they_differ() -> None:
    """An image that grew last night would be told of on the third night."""
    runs = make_nights([1.0] * 5, image_file=[0, 5000, 5000, 5000, 6000])
    series = next(each for each in trace(runs).series if each.metric == "image.file")
    assert [(turn.stage, turn.ratio) for turn in series.turns] == [(1, None), (4, pytest.approx(1.2))]
    assert series.run_sd is None


def test_what_else_changed_is_told() -> None:
    """An update of QEMU would be taken for a change of the guest."""
    runs = make_nights([1.0] * 6)
    header, records = runs[3]
    runs[3] = replace(header, host=replace(header.host, vmm_version="9.0.0")), records
    stages = trace(runs).series[0].stages
    assert [stage.besides for stage in stages] == [(), (), (), ("QEMU",), ("QEMU",), ()]


def test_another_way_to_measure_is_told_at_its_figure_alone() -> None:
    """A night on which the tool was updated would be one on which all guests grew."""
    runs = make_nights([1.0] * 4, memory_touched=[5.0] * 4)
    for number, (header, records) in enumerate(runs[:2]):
        rows = tuple(
            replace(row, method="other") if row.name[:6] == "memory" else row for row in header.metrics
        )
        runs[number] = replace(header, metrics=rows), records
    found = {each.metric: [stage.besides for stage in each.stages] for each in _trace_everything(runs)}
    assert found["boot.ready"] == [()] * 4
    told = "the runs measured memory.touched in other ways: other and an earlier one"
    assert found["memory.touched"] == [(), (), (told,), ()]


@pytest.mark.parametrize("unlike", [1.0, 1.004, 1.5])
def test_a_change_in_how_it_is_measured_is_no_change_of_the_guest(unlike: float) -> None:
    """An update of the tool would be told as a guest that grew, or make all runs seem to scatter."""
    levels = [5.0 * (1 + 0.001 * (n % 3)) for n in range(24)]
    runs = make_nights(
        [1.0] * 24, memory_touched=[x * (unlike if n >= 12 else 1) for n, x in enumerate(levels)]
    )
    for number, (header, records) in enumerate(runs[:12]):
        *others, row = header.metrics
        runs[number] = replace(header, metrics=(*others, replace(row, method="other"))), records
    (series,) = (each for each in _trace_everything(runs) if each.metric == "memory.touched")
    assert [(turn.stage, turn.ratio) for turn in series.turns] == [(12, None)]
    assert series.run_sd is not None and series.run_sd < 0.002


def _trace_everything(runs: list[Run]) -> tuple[Series, ...]:
    return trace_runs(runs, lambda *_: True).series


def test_a_night_without_a_boot_is_a_gap() -> None:
    """A night in which nothing booted would vanish, or be a time of 0."""
    runs = make_nights([1.0] * 4 + [0.0] + [1.0] * 4)
    (series,) = trace(runs).series
    gap = series.stages[4]
    assert (gap.value, gap.n, gap.failed) == (None, 0, 10)
    assert series.turns == ()


def test_a_guest_that_came_later_has_a_series_of_its_own() -> None:
    """A system that was added last week would be in no history."""
    runs = make_nights([1.0] * 4)
    header, records = make_boots({"uk": TEN, "added": TEN}, "night-05")
    runs.append((replace(header, created="2024-01-05T02:00:00+00:00"), records))
    assert [(each.system, len(each.stages)) for each in trace(runs).series] == [("uk", 5), ("added", 1)]
