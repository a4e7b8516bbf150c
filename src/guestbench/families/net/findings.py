"""What figures of the network depend on."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.families.work import find_own
from guestbench.model import Header


def settings(header: Header) -> Iterator[tuple[str, str]]:
    """What figures of two runs depend on besides the systems."""
    yield "bytes of a TCP transfer", f"{find_own(header).transfer_mib} MiB"
