"""Guests that print a gigabyte: they end in bounded time and memory, whatever they print."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from replay import make_system

from guestbench.guest import console
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.host import process
from guestbench.host.process import STDERR_KEPT
from guestbench.model import Crashed, Ok
from guestbench.vmm import Chunk
from guestbench.vmm.fake import FakeMachine

GIGABYTE = 1 << 30
PIECE = 1 << 16


def flood(text: bytes) -> tuple[Chunk, ...]:
    """A gigabyte of this text, in pieces as they are read from a pipe."""
    chunk = Chunk(t_ns=1_000_000, data=(text * (PIECE // len(text) + 1))[:PIECE])
    return (chunk,) * (GIGABYTE // PIECE)


@pytest.mark.parametrize(
    ("text", "most_bytes"),
    [
        (b"spam\n", console.FLOOD_BYTES),
        # What takes long to look through is looked through for less of it.
        *((text, 1 << 20) for text in (b"\0", b"\xff\xfe\x80", b"[init don", b"\x1b[", b"\x1b[6n")),
        *((text, 1 << 20) for text in (b"\x1b[0;31mred", b"Command line: [init done]\n")),
        (b"\x1b]0;" + b"title " * 200, 1 << 20),
    ],
)
def test_a_gigabyte_ends_as_a_flood_in_bounded_memory(
    text: bytes, most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that prints for ever would fill the memory of the host, and no other trial be made."""
    monkeypatch.setattr(console, "FLOOD_BYTES", most_bytes)
    log = SerialLog()
    machine = FakeMachine(flood(text), None, ("fake",))
    tracemalloc.start()
    try:
        outcome = watch_boot(machine, make_system(), log).outcome
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, Crashed)
    assert outcome.reason.startswith("it flooded the console: ")
    assert len(outcome.reason) < 1000
    assert outcome.reason.isprintable()
    assert most_bytes < len(log.data) <= most_bytes + PIECE
    # The console as it came and as a terminal shows it, and what Python reserves for them to grow.
    assert most < 3 * most_bytes + (2 << 20)


@pytest.mark.parametrize("cut", [0, 1, 5, 10])
def test_a_marker_behind_much_else_counts(cut: int) -> None:
    """A guest that talks a lot before it is ready would never be."""
    chatter = flood(b"spam [init don [init done\n")[: console.FLOOD_BYTES // PIECE - 1]
    marker = b"[init done]"
    pieces = (Chunk(t_ns=2_000_000, data=marker[:cut]), Chunk(t_ns=3_000_000, data=marker[cut:] + b"\n"))
    machine = FakeMachine((*chatter, *(each for each in pieces if each.data)), None, ("fake",))
    found = watch_boot(machine, make_system(), SerialLog())
    assert isinstance(found.outcome, Ok)
    assert [mark.t_ns for mark in found.marks if mark.name == "ready"] == [3_000_000]


@pytest.mark.parametrize("size", [0, 5, STDERR_KEPT, GIGABYTE])
def test_of_what_a_program_complains_only_the_end_is_read(size: int, tmp_path: Path) -> None:
    """A VMM that complains without end would fill the memory of whoever asks it why."""
    said = tmp_path / "stderr"
    with said.open("wb") as file:
        file.truncate(max(0, size - 5))
        file.seek(0, 2)
        file.write(b"last\n"[:size])
    tracemalloc.start()
    try:
        told = process.tail_file(said)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told.endswith("last\n") or not size
    assert most < 100 * STDERR_KEPT
