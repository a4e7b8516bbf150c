"""What a run says of its own instruments: pairs of a known ratio, and planted quantities."""

from __future__ import annotations

import math

import calibration
import msgspec
import numpy as np
import pytest
from factories import boot_samples, make_boot_run, make_record

from guestbench.analysis.analyse import analyse
from guestbench.analysis.calibration import find_known_ratios, recover
from guestbench.model import Header, Platform, Record, Trial

FLOOR = [0.093, 0.095, 0.091, 0.094, 0.092, 0.096, 0.093, 0.094, 0.090, 0.095]
SETS = 3000


def with_twins(values: list[float]) -> tuple[Header, tuple[Record, ...]]:
    """A run of the floor in which it was booted once more in each block, with these boot times."""
    header, records = make_boot_run({"floor": FLOOR}, floor="floor")
    trials = tuple(
        Trial(id=f"twin-{n}", system="floor", purpose="twin", block=n, cycle=n, definition="floor-definition")
        for n in range(1, len(values) + 1)
    )
    twins = (
        make_record(trial, boot_samples(value, value / 2))
        for trial, value in zip(trials, values, strict=True)
    )
    return msgspec.structs.replace(header, trials=(*header.trials, *trials)), (*records, *twins)


@pytest.mark.parametrize("blocks", [3, 10, 20])
def test_what_is_told_apart_is_told_in_nine_runs_of_ten(blocks: int) -> None:
    """The front page would promise a difference that most runs miss."""
    told = calibration.simulate_told(SETS, blocks=blocks)
    assert 0.88 <= told.found <= 0.92
    assert told.alarms <= 0.065


def test_equals_that_come_out_equal_say_how_they_scatter() -> None:
    """A reader could not know whether a difference of 3% is one that this host can show."""
    header, records = with_twins(FLOOR[1:] + FLOOR[:1])
    (found,) = find_known_ratios(header, records)
    assert (found.system, found.expected, found.n) == ("floor", 1.0, 10)
    assert found.ratio == pytest.approx(1)
    assert found.is_same and found.holds
    assert [each.blocks for each in found.told] == [10, 20, 40, 80]
    effects = [each.effect for each in found.told]
    assert effects == sorted(effects, reverse=True)
    logs = np.log(FLOOR[1:] + FLOOR[:1]) - np.log(FLOOR)
    # Near t(.975, 9) + t(.90, 9), from tables, which would be exact if the SD were known.
    reach = (2.262 + 1.383) * logs.std(ddof=1) / math.sqrt(10)
    assert effects[0] == pytest.approx(math.expm1(reach), rel=0.02)


def test_equals_that_come_out_different_do_not_hold() -> None:
    """A host that makes a difference out of nothing would be believed."""
    (found,) = find_known_ratios(*with_twins([value * 1.05 for value in FLOOR]))
    assert found.ratio == pytest.approx(1.05)
    assert not found.holds


def test_values_that_are_all_alike_scatter_by_what_the_instrument_reads_to() -> None:
    """A host would be said to tell any difference apart, however small."""
    header, records = make_boot_run({"floor": [0.1] * 5}, floor="floor")
    twins = with_twins([0.1] * 5)
    (found,) = find_known_ratios(twins[0], (*records, *twins[1][len(FLOOR) :]))
    assert found.sd == pytest.approx(0.0003 / 0.1 * math.sqrt(2 / 12))
    assert found.told[0].effect > 0.001
    assert header.metrics[-4].resolution == 0.0003


def test_few_blocks_promise_nothing() -> None:
    """One pair would be taken for a statement on the host."""
    (found,) = find_known_ratios(*with_twins(FLOOR[:2]))
    assert found.n == 2
    assert found.told == ()


def test_replayed_boots_say_nothing_of_the_host() -> None:
    """The times of a recording would be taken for this host's."""
    header, records = with_twins(FLOOR)
    replayed = msgspec.structs.replace(header, platform=Platform(vmm="fake"))
    assert list(find_known_ratios(replayed, records)) == []


def test_runs_without_a_twin_are_analysed_all_the_same() -> None:
    """Runs of earlier versions could not be reported any more."""
    found = analyse(*make_boot_run({"floor": FLOOR}, floor="floor"))
    assert found.known_ratios == ()
    assert found.recoveries == ()


# --- planted quantities -------------------------------------------------------------------------------


def test_a_line_is_fitted_within_blocks() -> None:
    """A host that grows slower from block to block would tilt the line."""
    points = [(block, x, 3 * block + 1.5 * x) for block in range(1, 4) for x in (0.0, 1.0, 2.0)]
    lone = [(1, 0.0, 3.0), (2, 1.0, 7.0), (2, 2.0, 8.0)]  # the first block has nothing to compare with
    found = recover("a", "calibration.ready", points)
    assert found is not None
    assert found.slope == pytest.approx(1.5)
    assert found.residual_sd == pytest.approx(0, abs=1e-9)
    assert (found.n, found.blocks) == (9, 3)
    alone = recover("a", "calibration.ready", lone)
    assert alone is not None and alone.slope == pytest.approx(1)
    assert recover("a", "calibration.ready", [(1, 5.0, 1.0), (2, 5.0, 2.0)]) is None


def test_the_interval_of_the_slope_covers_what_it_says() -> None:
    """A harness that adds a tenth would pass for one that adds nothing, or the other way round."""
    random = np.random.default_rng(20260707)
    planted, covered = (0.0, 0.0, 1.0, 2.0, 5.0, 10.0), 0
    for _ in range(SETS):
        levels = random.normal(100, 20, 5)
        points = [(n, x, level + x + random.normal(0, 2)) for n, level in enumerate(levels) for x in planted]
        found = recover("a", "calibration.ready", points)
        assert found is not None and found.interval is not None
        covered += found.interval.low <= 1 <= found.interval.high
    assert 0.93 <= covered / SETS <= 0.97
