"""What a family must have, and what is said where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from other_package import installed

from guestbench.errors import UsageError
from guestbench.families import find_family, find_hook, list_families, load_hook
from guestbench.model import Family

ENTRY_POINT = "[guestbench.families]\nidea = notes.idea\n"
FAMILY = """
from guestbench.model import Family, Purpose

FAMILY = Family(name="idea", title="An idea", metrics=(), purposes=(Purpose(name="think"),))
"""


@pytest.mark.parametrize("family", list_families(), ids=lambda family: family.name)
def test_every_family_can_plan_and_measure(family: Family) -> None:
    """A run would end with an error after everything before that family was measured."""

    assert load_hook(family.name, "plan", "plan")
    if any(purpose.boots for purpose in family.purposes):
        assert load_hook(family.name, "probe", "measure")
    if not all(purpose.boots for purpose in family.purposes):
        assert load_hook(family.name, "probe", "measure_files")


def test_a_family_that_is_not_finished_is_told_by_what_it_lacks(tmp_path: Path) -> None:
    """Whoever writes a family would see a traceback in a worker that has died."""
    with installed(tmp_path / "site", "notes", ENTRY_POINT, {"idea/__init__.py": FAMILY}):
        assert find_family("think").title == "An idea"
        assert find_hook("idea", "plan", "follow_up") is None
        with pytest.raises(UsageError, match="idea has no function plan in its module plan"):
            load_hook("idea", "plan", "plan")


def test_trials_of_a_family_that_is_not_there_cannot_be_made() -> None:
    """A run that is gone on with after its package was removed would end in a traceback."""
    with pytest.raises(UsageError, match="makes trials of 'think'"):
        find_family("think")
