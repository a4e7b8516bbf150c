"""Settings and fixtures that tests of several folders share."""

from __future__ import annotations

from pathlib import Path

import pytest
from guestwork_program import compile_program
from hypothesis import settings

# A noisy host can stop any example for a while; that is no fault of the code under test.
settings.register_profile("guestbench", deadline=None)
settings.load_profile("guestbench")

FIRST = ("test_provision_guests.py", "test_cost_guests.py")
"""Files of tests to begin with: one makes the Debian that others wait for, and one takes longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files for several processes, each of which takes the next one when it is done with one.

    Those that need a large image come late, when it is there, and the many short ones last.
    """
    large = {item.path for item in items if item.get_closest_marker("image")}

    def place(item: pytest.Item) -> int:
        if item.path.name in FIRST:
            return FIRST.index(item.path.name)
        return len(FIRST) + (2 if "unit" in item.path.parts else item.path in large)

    items.sort(key=place)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C workload program."""
    return compile_program(tmp_path_factory.mktemp("guestwork"))
