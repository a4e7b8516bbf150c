"""`--budget`: how long a run may take, as people write it."""

from __future__ import annotations

import pytest

from guestbench.definition.budget import parse_budget
from guestbench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1h5s", 3605)]
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    """Ten minutes would be ten hours."""
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "0m", "10 m", "30m1h", "-5m", "1.5h", "10min", "\x1b[31m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """A slip of the hand would run without a bound, or for no time at all."""
    with pytest.raises(UsageError, match="is no time such as") as caught:
        parse_budget(text)
    assert "\x1b" not in caught.value.message
