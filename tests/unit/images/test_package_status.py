"""Which packages dpkg's database calls installed."""

from __future__ import annotations

import pytest

from guestbench.images.contents.packages import read_dpkg


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (b"install ok installed", True),
        (b"Install OK Installed", True),
        (b"hold\tok  instalLed ", True),
        (b"install ok half-installed", False),
        (b"INSTALL OK UNPACKED", False),
    ],
)
def test_a_status_is_read_as_dpkg_reads_it(status: bytes, counts: bool) -> None:
    """A package whose status is written in another case would be missing; dpkg takes it all the same."""
    data = b"Package: a\nStatus: " + status + b"\nVersion: 1\nArchitecture: all\n\n"
    assert len(list(read_dpkg(data))) == counts
