"""How numbers are written: the right unit, as many digits as the spread allows, and exact bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.page.numbers import (
    choose_finer,
    choose_scale,
    show_bytes,
    show_bytes_exactly,
    show_exact,
    show_mean,
    show_seconds,
    show_share,
)


@pytest.mark.parametrize(
    ("mean", "sd", "expected"),
    [
        (0.232, 0.012, "232 ± 12 ms"),
        (0.0933, 0.00078, "93.30 ± 0.78 ms"),
        (1.368, 0.026, "1.368 ± 0.026 s"),
        (45.83, 1.24, "45.8 ± 1.2 s"),
        (35.5, 12.0, "36 ± 12 s"),
        (0.2, 0.00997, "200 ± 10 ms"),
        (2.5, 0.0, "2.50 ± 0.00 s"),
        (2.5, None, "2.50 s"),
        (0.0001, 0.0000001, "0.10 ± 0.00 ms"),
        (1234.5, 33.0, "1,234 ± 33 s"),
        (None, None, "–"),
    ],
)
def test_mean_has_as_many_digits_as_its_spread_allows(
    mean: float | None, sd: float | None, expected: str
) -> None:
    """A mean would show digits that its own spread makes meaningless, or hide those that matter."""
    assert show_mean(mean, sd) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0933, "93.3 ms"),
        (0.5, "500 ms"),
        (1.0, "1.00 s"),
        (45.83, "45.8 s"),
        (-0.0002, "-0.20 ms"),
        (0, "0.00 ms"),
    ],
)
def test_times_are_in_ms_below_a_second(seconds: float, expected: str) -> None:
    """A short time would be written as 0.0 s."""
    assert show_seconds(seconds) == expected


def test_nothing_is_minus_zero() -> None:
    """A difference that rounds to nothing would be shown as -0."""
    assert choose_scale(-1.0, 1.0).show(-0.01) == "0.0"


@given(st.floats(min_value=1e-4, max_value=1e4), st.floats(min_value=1e-4, max_value=1e3))
def test_written_times_are_off_by_less_than_a_tenth_of_the_spread(mean: float, sd: float) -> None:
    """Rounding would add an error that is seen beside the spread."""
    scale = choose_scale(mean, sd)
    finest = 0.5 * 10**-scale.decimals / scale.per_second
    shown = float(scale.show(mean).replace(",", "")) / scale.per_second
    assert abs(shown - mean) <= finest * (1 + 1e-9)
    assert finest <= sd / 10 or scale.decimals >= 2
    assert choose_finer(mean, sd).decimals >= scale.decimals


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 bytes"),
        (272, "272 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB (1,000 bytes)"),
        (7_240_864, "7.24 MB (7,240,864 bytes)"),
        (999_499, "999 kB (999,499 bytes)"),
        (999_501, "1.00 MB (999,501 bytes)"),
        (1_012_912_704, "1.01 GB (1,012,912,704 bytes)"),
        (5 * 10**15, "5000 TB (5,000,000,000,000,000 bytes)"),
        (None, "–"),
    ],
)
def test_bytes_are_in_decimal_units_with_the_exact_number(size: int | None, expected: str) -> None:
    """An image size would be ambiguous between powers of 1000 and of 1024, or lose its exact value."""
    assert show_bytes_exactly(size) == expected


@given(st.integers(min_value=1000, max_value=10**14))
def test_round_bytes_are_within_half_a_percent(size: int) -> None:
    """A rounded size would be off by more than its three digits say."""
    number, unit = show_bytes(size).split()
    factor = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert float(number) * factor == pytest.approx(size, rel=0.00501)


def test_shares_and_counts() -> None:
    """Small shares would be rounded to nothing, and large counts be hard to read."""
    assert [show_share(x) for x in (0.004, 0.0994, 0.0996, 0.47, None)] == ["0.4%", "9.9%", "10%", "47%", "–"]
    assert [show_exact(x) for x in (1234567, 1234567.0, 0.5, None)] == ["1,234,567", "1,234,567", "0.5", "–"]
