"""The host's end of a link: frames arrive whole and in order, in whatever pieces, from whatever guest."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.vmm.qemu.link import MAX_FRAME_BYTES, QUEUE_BYTES, SocketLink

Pair = tuple[SocketLink, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A link, and the VMM's socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield SocketLink(ours), theirs


def wrap(frame: bytes) -> bytes:
    """A frame behind its length."""
    return len(frame).to_bytes(4, "big") + frame


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=20), st.data())
def test_frames_arrive_whole_in_whatever_pieces_they_come(frames: list[bytes], data: st.DataObject) -> None:
    """Frames of a busy guest would be cut or joined, and ports be lost."""
    stream = b"".join(map(wrap, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link, got = SocketLink(ours), []
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            theirs.sendall(stream[start:end])
            got += link.receive()
        assert got == frames
        assert link.receive() == []


def test_a_frame_that_is_too_long_is_passed_over(pair: Pair) -> None:
    """One giant frame would fill the memory, or make all later ones unreadable."""
    link, theirs = pair
    giant = wrap(bytes(MAX_FRAME_BYTES + 1))
    got = []
    for at in range(0, len(giant), 50_000):
        theirs.sendall(giant[at : at + 50_000])
        got += link.receive()
    theirs.sendall(wrap(b"") + wrap(b"after"))
    got += link.receive()
    assert got == [b"after"]
    assert link.oversized == 1


def test_frames_wait_for_a_guest_that_takes_none_up_to_a_bound(pair: Pair) -> None:
    """A guest that reads nothing would fill the memory, or stop the worker."""
    link, theirs = pair
    frame = bytes(1000)
    taken = 0
    while link.send(frame):
        taken += 1
        assert taken < 2 * QUEUE_BYTES // len(frame)
    assert not link.send(frame)
    reader = SocketLink(theirs)
    read = 0
    while read < taken:
        read += len(reader.receive(1.0))
        link.receive()
    assert link.send(b"more")
    assert reader.receive(1.0) == [b"more"]


def test_frames_of_a_wrong_size_are_refused(pair: Pair) -> None:
    """QEMU would break the link off."""
    link, _ = pair
    for frame in (b"", bytes(MAX_FRAME_BYTES + 1)):
        with pytest.raises(ValueError, match="empty or too long"):
            link.send(frame)


def test_a_link_that_is_closed_says_so_and_waits_for_nothing(pair: Pair) -> None:
    """A scan of a guest that has gone would wait out its whole time, or end with an error."""
    link, theirs = pair
    theirs.sendall(wrap(b"last")[:-1])
    theirs.close()
    assert link.receive(5.0) == []
    assert link.is_closed
    assert link.receive(60.0) == []
    assert not link.send(b"frame")
