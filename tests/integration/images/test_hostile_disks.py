"""Each hostile disk of the table in docs/security.md comes to what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_images import DISKS

pytestmark = [pytest.mark.qemu, pytest.mark.image]


@pytest.mark.parametrize("name", DISKS)
def test_hostile_disk_comes_to_what_it_must(name: str, tmp_path: Path) -> None:
    """A disk would stop the tool, or be shown as one of many partitions."""
    DISKS[name].check(tmp_path)
