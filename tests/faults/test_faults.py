"""A sample of the campaign of faults, with a seed of its own each time (`make faults` for the whole one)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

import faults

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

COUNT = 40


def test_faults_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    """A night's measurements would be lost to a closed terminal, or QEMUs be left behind."""
    seed = int(os.environ.get("GUESTBENCH_FAULTS_SEED", secrets.randbits(32)))
    struck, broken = faults.campaign(COUNT, seed, tmp_path)
    assert not broken, f"seed {seed}:\n" + "\n".join(broken)
    assert struck.total() == COUNT
    assert {fault.name for fault in faults.list_faults()} == set(struck)
