"""Which packages dpkg's database calls installed."""

from __future__ import annotations

from pathlib import Path

import parser_targets
import pytest
from parser_targets import Others

from guestbench.images.contents.packages import read_dpkg


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (b"install ok installed", True),
        (b"Install OK Installed", True),
        (b"hold\tok  instalLed ", True),
        (b"install ok\n installed", True),
        (b"install\n\tok\n  installed", True),
        (b"install ok\n installed" + b"\n x" * 1_000_000, False),
        (b"install okinstalled", True),
        (b"installokinstalled", True),
        (b"install okhalf-installed", False),
        (b"installok", False),
        (b"install ok half-installed", False),
        (b"INSTALL OK UNPACKED", False),
    ],
)
def test_a_status_is_read_as_dpkg_reads_it(status: bytes, counts: bool) -> None:
    """A package whose status is written in another case would be missing; dpkg takes it all the same."""
    data = b"Package: a\nStatus: " + status + b"\nVersion: 1\nArchitecture: all\n\n"
    assert len(list(read_dpkg(data))) == counts


@pytest.mark.parametrize("name", ["libc6", "lFwer", "G++", "A.B"])
def test_a_name_is_written_as_dpkg_lists_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package in capital letters would be another than the one that a vulnerability is filed for."""
    data = f"Package: {name}\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: x\n"
    data += "Description: d\n\n"
    (found,) = read_dpkg(data.encode())
    assert found.name == name.lower()
    monkeypatch.setattr(Others, "asked", True)
    parser_targets.check_packages(data.encode(), tmp_path)
