"""The table at the end of a run: aligned, complete, and safe for a terminal."""

from __future__ import annotations

from factories import make_header, make_run, with_outcome
from hypothesis import given
from hypothesis import strategies as st
from report_pages import summary_of
from work_factories import make_work_run

from golden import check_golden
from guestbench.model import Absent, Crashed


def test_table_is_the_one_people_have_read() -> None:
    """The table that ends a run would change without anybody having looked at it."""
    check_golden("summary.txt", summary_of(*make_run()).encode())


def test_columns_are_aligned() -> None:
    """The numbers of a column would not stand below each other."""
    lines = summary_of(*make_run()).splitlines()[:5]
    assert len({len(line) for line in lines}) == 1


@given(st.text(max_size=30))
def test_no_text_reaches_the_terminal_raw(text: str) -> None:
    """A guest could send escape sequences to the user's terminal."""
    header, records = make_run()
    lost = with_outcome(records[0], Crashed(reason=text))
    shown = summary_of(
        make_header(header.guests, absent=[Absent(system=text, reason=text)]), [lost, records[1]]
    )
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert len(shown.splitlines()) == 1 + len(header.guests) + 2


def test_a_run_with_no_headline_shows_no_table_of_names() -> None:
    """A run of work or surface alone would print a column of names that says nothing."""
    header, records = make_run()
    shown = summary_of(header, [with_outcome(records[0], Crashed(reason="lost"))])
    assert shown.splitlines()[1] == "failed: floor: 1 of 1 image trials crashed: lost"
    assert shown.startswith("partial: 1 of 60 planned trials; to come: image size (3 trials), boot time (56")


def test_figures_of_work_are_shown() -> None:
    """A run of work alone would end without any of its results on the terminal."""
    check_golden("summary-work.txt", summary_of(*make_work_run()).encode())


def test_run_without_systems_has_a_table() -> None:
    """A run with nothing to show would end in a traceback."""
    assert summary_of(make_header(), ()).startswith("system")
