"""Writes numbers for readers: how many digits, which unit; never calculates a result.

Times are in ms below 1 s and in s from there on; a spread is given to two digits and sets the digits of
its row. Bytes of files are in powers of 1000 (1 MB is 1,000,000 bytes), with the exact number beside them;
memory is in powers of 1024 (1 MiB is 1,048,576 bytes), as kernels and QEMU count it.
"""

from __future__ import annotations

from math import isfinite

from guestbench.model import Frozen

NOTHING = "–"
"""What a cell shows that does not apply."""
UNKNOWN = "?"
"""What a cell shows that applies but was not measured."""

FINEST = {"ms": 2, "s": 3}
"""Most decimals of a time: stamps are good to some tens of microseconds."""

BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class Scale(Frozen):
    """How the times of one row are written: so many decimals of so many units a second."""

    unit: str
    per_second: int
    decimals: int

    def show(self, seconds: float | None) -> str:
        """The number without its unit, or a dash for None."""
        if seconds is None:
            return NOTHING
        shown = f"{seconds * self.per_second:,.{self.decimals}f}"
        return shown.removeprefix("-") if float(shown.replace(",", "")) == 0 else shown

    def with_unit(self, seconds: float | None) -> str:
        """The number with its unit, or a dash for None."""
        return NOTHING if seconds is None else f"{self.show(seconds)} {self.unit}"


def choose_scale(magnitude: float | None, spread: float | None = None) -> Scale:
    """A scale for times in seconds of about `magnitude`: two digits of `spread`, without one three in all."""
    size = abs(magnitude or 0.0)
    unit, per_second, most = ("ms", 1000, FINEST["ms"]) if size < 1 else ("s", 1, FINEST["s"])
    last = _digit(spread * per_second, 2) - 1 if spread else _digit(size * per_second, 3) - 2
    return Scale(unit=unit, per_second=per_second, decimals=min(max(-last, 0), most))


def choose_finer(magnitude: float | None, spread: float | None) -> Scale:
    """As `choose_scale`, with one more digit: for single values, whose own differences should show."""
    return choose_scale(magnitude, spread / 10 if spread else (magnitude or 0) / 1000)


def show_seconds(seconds: float | None, spread: float | None = None) -> str:
    """A time with its unit, or a dash for None."""
    return choose_scale(seconds, spread).with_unit(seconds)


def show_mean(mean: float | None, sd: float | None) -> str:
    """A mean time with its standard deviation, as `232 ± 12 ms`; without one, the mean alone."""
    scale = choose_scale(mean, sd)
    if mean is None or sd is None:
        return scale.with_unit(mean)
    return f"{scale.show(mean)} ± {scale.show(sd)} {scale.unit}"


def show_bytes(size: float | None) -> str:
    """A number of bytes to three digits with a decimal unit, or a dash for None."""
    if size is None:
        return NOTHING
    divisor, unit = _choose_bytes(size)
    value = size / divisor
    decimals = max(0, 2 - _digit(value, 3)) if divisor > 1 else 0
    return f"{value:.{decimals}f} {unit}"


def _choose_bytes(size: float) -> tuple[float, str]:
    """The unit for a number of bytes, and how many of them it is."""
    divisor, unit = 1.0, BYTE_UNITS[0]
    for larger in BYTE_UNITS[1:]:
        # From here on three digits would round up to 1000.
        if abs(size) / divisor < 999.5:
            break
        divisor, unit = divisor * 1000, larger
    return divisor, unit


def show_kib(kib: float | None) -> str:
    """A size given in KiB: in KiB below 1 MiB, in MiB to three digits above; a dash for None."""
    if kib is None:
        return NOTHING
    if abs(kib) < 1024:
        return f"{kib:.0f} KiB"
    mib = kib / 1024
    return f"{mib:,.{max(0, 2 - _digit(mib, 3))}f} MiB"


def show_exact(value: float | None) -> str:
    """A whole number with its thousands set apart, or a dash for None."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,}"


def show_count(count: float | None) -> str:
    """A number of things: exactly below a million, then to four digits in millions (M) or billions (G)."""
    if count is None or abs(count) < 999_950:
        return show_exact(count)
    divisor, unit = (1e9, "G") if abs(count) >= 999_950_000 else (1e6, "M")
    value = count / divisor
    return f"{value:,.{max(0, 3 - _digit(value, 4))}f} {unit}"


def show_bytes_exactly(size: float | None) -> str:
    """Both, as `7.24 MB (7,240,864 bytes)`; small sizes need no second form."""
    if size is None or abs(size) < 1000:
        return show_bytes(size)
    return f"{show_bytes(size)} ({show_exact(size)} bytes)"


def show_rate(mean: float | None, sd: float | None, unit: str) -> str:
    """Things done a second, mean and standard deviation: `512 ± 14 events/s`; bytes as `319 ± 12 MB/s`."""
    if mean is None:
        return NOTHING
    divisor, shown = _choose_bytes(mean) if unit == "bytes" else (1.0, unit)
    last = _digit(sd / divisor, 2) - 1 if sd else _digit(mean / divisor, 3) - 2
    decimals = min(max(-last, 0), 3)
    middle = f"{mean / divisor:,.{decimals}f}"
    return f"{middle} {shown}/s" if sd is None else f"{middle} ± {sd / divisor:,.{decimals}f} {shown}/s"


def show_share(share: float | None) -> str:
    """A share of 0 to 1 in percent: one decimal below 10%, none above."""
    if share is None:
        return NOTHING
    return f"{share:.1%}" if abs(share) < 0.0995 else f"{share:.0%}"


def show_ratio(ratio: float | None) -> str:
    """A ratio to three digits, or a dash for None."""
    if ratio is None:
        return NOTHING
    return f"{ratio:,.{max(0, 2 - _digit(ratio, 3))}f}"


def count_things(count: int, thing: str) -> str:
    """How many of a thing, as `1 block` or `10 blocks`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def show_duration(seconds: float) -> str:
    """A duration as `42 s`, `3 min 05 s` or `1 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _digit(value: float, digits: int) -> int:
    """The place of the first digit of `value`, rounded to so many digits: 0 for ones, -1 for tenths."""
    return int(f"{value:.{digits - 1}e}".partition("e")[2]) if value and isfinite(value) else 0
