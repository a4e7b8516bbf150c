"""What figures of the network depend on."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.families.work import Settings
from guestbench.model import Header, find_settings


def settings(header: Header) -> Iterator[tuple[str, str]]:
    """What figures of two runs depend on besides the systems."""
    work = find_settings(header.experiment.settings, "work", Settings)
    yield "bytes of a TCP transfer", f"{work.transfer_mib} MiB"
