"""What of a console is visible, and what a terminal answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.guest.visible import LONGEST_SEQUENCE, MOST_ANSWERS, SEQUENCE, Visible, clear_of_noise


def show(*chunks: bytes) -> tuple[bytes, bytes]:
    """What is visible of these chunks, and all that is answered."""
    visible = Visible()
    answers = b"".join(visible.feed(chunk) for chunk in chunks)
    return bytes(visible.data), answers


def piped(text: bytes) -> bytes:
    """The text with what stands for control sequences where it has a pipe."""
    return text.replace(b"|", SEQUENCE)


@pytest.mark.parametrize(
    ("received", "shown", "answered"),
    [
        (b"login: ", b"login: ", b""),
        (b"\x1b]0;login: \x07host ", b"|host ", b""),
        (b"\x1b]2;login: \x1b\\host ", b"|host ", b""),
        (b"\x1bP+q544e\x1b\\a\x1b_x\x1b\\b", b"|a|b", b""),
        (b"\x1b[1;32m[init done]\x1b[K", b"|[init done]|", b""),
        (b"[init \x1b[0mdone]", b"[init |done]", b""),
        (b"\x1b[18t\x1b[6n$ ", b"||$ ", b"\x1b[8;24;80t\x1b[24;80R"),
        (b"\x1b[c\x1b[5n", b"||", b"\x1b[?6c\x1b[0n"),
        (b"\x1b(Ba\x1b7b\x1bMc", b"|a|b|c", b""),
        (b"a\x1b\x1b[1mb", b"a\x1b|b", b""),
        (b"\x1b]0;login: \x1b[1mb", b"||b", b""),
        (b"\x1b]0;" + b"login: " * 500 + b"\x07host ", b"|host ", b""),
        (b"\x1bP" + b"login: " * 500 + b"\x1b\\host ", b"||host ", b""),
    ],
)
def test_control_sequences_are_not_shown(received: bytes, shown: bytes, answered: bytes) -> None:
    """A window's title with the marker in it would make a guest ready, or a coloured marker be missed."""
    assert show(received) == (piped(shown), answered)
    assert show(*(received[n : n + 1] for n in range(len(received)))) == (piped(shown), answered)


@given(
    st.lists(st.sampled_from([b"\x1b", b"[", b"]", b"6n", b"ab", b"\x07", b"\\", b"P", b"\n"]), max_size=30)
)
def test_pieces_make_no_difference(pieces: list[bytes]) -> None:
    """A guest would be ready or not by how the host cut its bytes."""
    assert show(*pieces) == show(b"".join(pieces))


def test_what_never_ends_is_text() -> None:
    """One stray byte would hide all that follows, or take the host's memory."""
    shown, _ = show(b"\x1b]", *[b"x" * 100] * 20, b"\nlogin: ")
    assert shown.endswith(b"\nlogin: ")
    assert show(b"\x1b[", *[b"0" * 100] * 20, b"login: ")[0].endswith(b"0login: ")
    assert len(show(b"\x1b]" + b"x" * (LONGEST_SEQUENCE - 10))[0]) == 0
    assert len(show(b"\x1b[6n" * (MOST_ANSWERS + 50))[1]) == MOST_ANSWERS * len(b"\x1b[24;80R")


@pytest.mark.parametrize("end", [b"", b" ", b"\x1b]0;", b"\x1bP"])
def test_a_title_without_end_shows_nothing(end: bytes) -> None:
    """A guest would be ready by a marker that no terminal shows."""
    title = b"\x1b]0;[init done]" + end
    for pieces in ([title * 1000], [title] * 1000, [b"\x1b]0;", b"[init done]" * 1000]):
        assert b"[init done]" not in show(*pieces)[0]


@pytest.mark.parametrize(
    "shown",
    [
        b"[init \x1bdone]",
        b"[init\r done]",
        b"[init d[    2.948528] scsi 1:0:0:0: CD-ROM QEMU\none]",
        b"[in\0it d\x08one]",
    ],
)
def test_noise_is_taken_out(shown: bytes) -> None:
    """A user would look for hours at a marker that seems to be there."""
    assert clear_of_noise(shown) == b"[init done]"
