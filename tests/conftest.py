"""Settings and fixtures that tests of several folders share."""

from __future__ import annotations

from pathlib import Path

import pytest
from guestwork_program import compile_program
from hypothesis import settings

# A noisy host can stop any example for a while; that is no fault of the code under test.
settings.register_profile("guestbench", deadline=None)
settings.load_profile("guestbench")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C workload program."""
    return compile_program(tmp_path_factory.mktemp("guestwork"))
