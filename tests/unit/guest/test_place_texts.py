"""In which piece of a console a text was said, as whoever watches it would find it."""

from __future__ import annotations

from guestbench.guest.console import place_texts

TEXTS = {"kernel": b"Linux version", "ready": b"login: "}


def test_a_text_is_in_the_piece_that_completes_it() -> None:
    """Instructions would count in the phase before, or behind."""
    data = b"Linux version 6\r\nhost login: "
    ends = [5, 13, 20, len(data)]
    assert place_texts(data, ends, TEXTS) == {"kernel": 1, "ready": 3}


def test_what_no_terminal_shows_is_no_milestone() -> None:
    """A phase would end where the kernel echoes its command line, or in the title of a window."""
    said = [b"Kernel command line: a login: b\n", b"\x1b]0;login: \x07", b"host login: "]
    ends = [sum(map(len, said[: n + 1])) for n in range(len(said))]
    assert place_texts(b"".join(said), ends, TEXTS) == {"ready": 2}
    assert place_texts(b"".join(said[:2]), ends[:2], TEXTS) == {}
