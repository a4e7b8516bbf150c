"""Each hostile image, console and link of the table in docs/security.md comes to what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_parsers import MEMORY_BYTES, SLOW_S
from hostile_guests import BEGIN, CONSOLES, DOCUMENT, END, GUESTS, LINKS, render_table
from hostile_images import DISKS, IMAGES, INJECTION

from guestbench.guest.console import FLOOD_BYTES
from guestbench.guest.shell import MOST_BYTES
from guestbench.images.tree import MAX_STEPS, MAX_SYMLINKS

CASES = {**IMAGES, **CONSOLES, **LINKS}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest in this process answers at once: wait less for those that never will."""
    monkeypatch.setattr("guestbench.families.surface.network.ports.IPV6_S", 0.3)
    monkeypatch.setattr("guestbench.families.surface.network.udp_scan.WAIT_S", 0.3)
    monkeypatch.setattr("guestbench.families.surface.network.tcp_scan.PAUSE_S", 0.1)


@pytest.mark.parametrize("name", CASES)
def test_hostile_case_comes_to_what_it_must(name: str, tmp_path: Path) -> None:
    """An image or a guest would stop the tool, read the host's files, or make up a figure."""
    CASES[name].check(tmp_path)


def test_the_document_has_the_table_of_what_is_tried() -> None:
    """The page on security would promise what no test tries."""
    before, begin, rest = DOCUMENT.read_text().partition(BEGIN)
    table, end, after = rest.partition(END)
    assert begin
    assert end
    assert before.strip()
    assert table == render_table()
    for limit in (
        f"prints {FLOOD_BYTES >> 20} MiB",
        f"print {MOST_BYTES >> 20} MiB",
        f"takes {MAX_SYMLINKS} of them, and {MAX_STEPS:,} steps",
        f"gets {SLOW_S:g} seconds and {MEMORY_BYTES >> 30} GiB",
    ):
        assert limit in after


def test_there_are_twenty_of_them() -> None:
    """The table could shrink without anybody noticing, or have two rows of one name."""
    names = [*GUESTS, *IMAGES, *DISKS, *CONSOLES, *LINKS]
    assert len(names) == len(set(names)) >= 20
    assert INJECTION.isprintable() is False
