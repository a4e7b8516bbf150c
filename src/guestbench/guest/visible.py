"""What a terminal would show of a console's bytes, and what it would answer to the questions among them.

A guest may ask its terminal for its size or its cursor and wait for the answer; systemd does, a third of a
second for each. A text inside a control sequence, such as a window's title, is not on the console.
Sequences: ECMA-48, and XTerm Control Sequences (ctlseqs).
"""

from __future__ import annotations

import re

LONGEST_SEQUENCE = 1024
"""What goes on for longer only begins like a sequence: a title then ends with its line, all else is text."""
MOST_ANSWERS = 100
"""A guest that asks more often is not waiting for them."""

_BODY = b"{0,%d}" % LONGEST_SEQUENCE
# Another sequence ends a string that has no end of its own.
_SEQUENCE = re.compile(
    rb"\x1b(?:\[[0-?]" + _BODY + rb"[ -/]" + _BODY + rb"[@-~]"
    rb"|\][^\x07\x1b]" + _BODY + rb"(?:\x07|\x1b\\|(?=\x1b[^\\]))"
    rb"|[PX^_][^\x1b]" + _BODY + rb"(?:\x1b\\|(?=\x1b[^\\]))"
    rb"|[ -/]" + _BODY + rb"[0-OQ-WYZ\\`-~])"
)
_BEGUN = re.compile(
    rb"\x1b(?:\[[0-?]" + _BODY + rb"[ -/]" + _BODY + rb"|\][^\x07\x1b]" + _BODY + rb"\x1b?"
    rb"|[PX^_][^\x1b]" + _BODY + rb"\x1b?|[ -/]" + _BODY + rb")"
)
_STRING = re.compile(rb"\x1b[\]PX^_]")
_STRING_END = re.compile(rb"[\n\x07\x1b]")
_ANSWERS = {
    b"\x1b[5n": b"\x1b[0n",  # in order
    b"\x1b[6n": b"\x1b[24;80R",  # the cursor's place
    b"\x1b[18t": b"\x1b[8;24;80t",  # rows and columns
    b"\x1b[c": b"\x1b[?6c",  # a VT102
    b"\x1b[0c": b"\x1b[?6c",
}
_CONTROL = re.compile(rb"[\0-\x08\x0b-\x1f\x7f]")
_KERNEL_MESSAGE = re.compile(rb"\[ *\d+\.\d{6}\] [^\n]*\n?")


SEQUENCE = b"\x1b"
"""What stands for a control sequence, so that no text is put together from what is on both sides of it."""


class Visible:
    """The bytes that a terminal would show, in `data`, with a `SEQUENCE` for each control sequence."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._begun = b""
        self._endless = False
        self._answers_left = MOST_ANSWERS

    def feed(self, received: bytes) -> bytes:
        """Take bytes of the console; what a terminal would type in answer to them."""
        if not self._begun and not self._endless and b"\x1b" not in received:
            self.data += received
            return b""
        text, at, answers = self._begun + received, 0, b""
        self._begun = b""
        while at < len(text):
            if self._endless:
                end = _STRING_END.search(text, at)
                if end is None:
                    break
                self._endless = False
                at = end.end() if end[0] == b"\x07" else end.start()
            begins = text.find(b"\x1b", at)
            if begins < 0:
                self.data += text[at:]
                break
            self.data += text[at:begins]
            if found := _SEQUENCE.match(text, begins):
                self.data += SEQUENCE
                at = found.end()
                if (answer := _ANSWERS.get(found[0])) and self._answers_left:
                    self._answers_left -= 1
                    answers += answer
            elif _BEGUN.fullmatch(text, begins):
                self._begun = text[begins:]
                break
            else:
                # No sequence, or one that goes on for too long.
                self._endless = _STRING.match(text, begins) is not None
                self.data += text[begins : begins + 1]
                at = begins + 1
        return answers


def clear_of_noise(shown: bytes) -> bytes:
    """The text without control characters and messages of a kernel, which may come in the middle of it."""
    return _CONTROL.sub(b"", _KERNEL_MESSAGE.sub(b"", shown))
