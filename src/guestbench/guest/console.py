"""Waits for texts on a guest's serial console, and says how the waiting ended; it never judges a guest.

Texts are literal bytes, searched in what a terminal would show and not in lines: `login: ` ends without a
newline. A kernel's echo of its command line is passed over, where a text may stand as an option. Whatever
arrives goes into the log, so that the console is drained all the time: a guest whose console nobody reads
stops. Questions to a terminal are answered, since a guest may wait for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from guestbench.guest.serial import SerialLog
from guestbench.guest.visible import SEQUENCE, Visible, clear_of_noise
from guestbench.model import Crashed, FailurePattern, Frozen, Mark, NotMade
from guestbench.vmm import Machine, Meanwhile

FLOOD_BYTES = 64 << 20
"""A guest that prints this much while one thing is waited for prints without end: for a minute at least."""
LINE_END_S = 0.5
"""How long to wait for the rest of a line that says why the guest is lost."""
QUOTED_BYTES = 200
LAST_LINES = 3
LONGEST_LINE = 8192
"""More than a kernel's command line may have."""
_ECHO = re.compile(rb"[Cc]ommand line: ")


class End(StrEnum):
    """How a wait ended: the text came; the guest is lost; the console was closed; time is up; a flood."""

    FOUND = "found"
    LOST = "lost"
    CLOSED = "closed"
    LATE = "late"
    FLOOD = "flood"


class Watched(Frozen):
    """What came of a wait: its `end`, a mark for each text found, and the texts of failure that ended it.

    `began_at` is the length of the log when the wait began, and `ended_at` when the bytes arrived that ended
    it; `cpu_ns` the CPU time that the VMM had used then, where it is known.
    """

    end: End
    marks: tuple[Mark, ...]
    began_at: int
    ended_at: int
    failures: tuple[str, ...] = ()
    cpu_ns: int | None = None


class _Search:
    """Looks for literal texts in a growing log, each once, without reading any byte twice.

    The text named `last` is looked for behind the ends of those named in `behind` alone.
    """

    def __init__(
        self, patterns: Mapping[str, bytes], last: str | None = None, behind: Sequence[str] = ()
    ) -> None:
        self._patterns = dict(patterns)
        self._last = last
        self._awaited = set(behind)
        self._from = 0

    def find(self, log: bytearray, old_length: int) -> list[str]:
        """Names whose text is complete now and was not at `old_length`, in the order of completion."""
        ends = []
        # The last one comes last: what it waits for may be in the same bytes.
        for name in sorted(self._patterns, key=lambda name: name == self._last):
            pattern, start = self._patterns[name], 0
            if name == self._last:
                if self._awaited:
                    continue
                start = self._from
            at = _find_said(log, pattern, max(start, old_length - len(pattern) + 1))
            if at >= 0:
                ends.append((at + len(pattern), name))
                if name in self._awaited:
                    self._awaited.remove(name)
                    self._from = max(self._from, at + len(pattern))
        for _, name in ends:
            del self._patterns[name]
        return [name for _, name in sorted(ends)]


def _find_said(shown: bytearray, pattern: bytes, start: int) -> int:
    """Where a text stands from `start` on, but for a kernel's echo of its command line; -1 if nowhere."""
    while (at := shown.find(pattern, start)) >= 0:
        begin = max(0, at - LONGEST_LINE)
        line = max(shown.rfind(b"\n", begin, at) + 1, begin)
        if not _ECHO.search(shown, line, at):
            break
        start = at + 1
    return at


def watch(
    machine: Machine,
    log: SerialLog,
    *,
    texts: Mapping[str, bytes],
    until: str | None,
    failures: Sequence[FailurePattern],
    deadline_ns: int,
    meanwhile: Meanwhile | None = None,
    behind: Sequence[str] = (),
) -> Watched:
    """Read the console until the text named `until` is complete, a failure's text is, or `deadline_ns`.

    `texts` maps names to literal bytes; each becomes a mark when it is first complete in what arrives from
    now on. With `until` None the wait is for the deadline; else its text counts behind those that `behind`
    names. Times are on the machine's clock.
    """
    wanted = _Search(texts, until, behind)
    lost = _Search({failure.pattern: failure.pattern.encode() for failure in failures})
    marks: list[Mark] = []
    cpu_ns: int | None = None
    began_at = ended_at = len(log.data)
    shown = Visible()

    def ended(end: End, failed: Sequence[str] = ()) -> Watched:
        return Watched(
            end=end,
            marks=tuple(marks),
            began_at=began_at,
            ended_at=ended_at,
            failures=tuple(failed),
            cpu_ns=cpu_ns,
        )

    while (left_ns := deadline_ns - machine.now_ns()) > 0:
        wait_s = left_ns / 1e9
        chunk = machine.read_serial(wait_s if meanwhile is None else min(wait_s, meanwhile()))
        if chunk is None:
            continue
        if not chunk.data:
            return ended(End.CLOSED)
        cpu_ns = machine.cpu_ns()
        old_length, ended_at = len(shown.data), len(log.data)
        log.append(chunk)
        if answers := shown.feed(chunk.data):
            machine.write_serial(answers)
        marks += [Mark(name=name, t_ns=chunk.t_ns) for name in wanted.find(shown.data, old_length)]
        if any(mark.name == until for mark in marks):
            return ended(End.FOUND)
        # What says that a guest is lost counts wherever it stands.
        if failed := lost.find(log.data, ended_at):
            return ended(End.LOST, failed)
        if len(log.data) - began_at > FLOOD_BYTES:
            return ended(End.FLOOD)
    return ended(End.LATE)


def place_texts(
    data: bytes,
    ends: Sequence[int],
    texts: Mapping[str, bytes],
    last: str | None = None,
    behind: Sequence[str] = (),
) -> dict[str, int]:
    """For each text that `watch` finds in a console's bytes, the number of the piece that completes it.

    `ends` has how many bytes the console held at the end of each piece, in order. The text named `last`
    counts behind those that `behind` names.
    """
    shown, wanted, begin = Visible(), _Search(texts, last, behind), 0
    found: dict[str, int] = {}
    for number, end in enumerate(ends):
        old_length = len(shown.data)
        shown.feed(data[begin:end])
        found |= dict.fromkeys(wanted.find(shown.data, old_length), number)
        begin = max(begin, end)
    return found


def judge_failure(
    machine: Machine, failures: Sequence[FailurePattern], log: SerialLog, watched: Watched
) -> Crashed | NotMade:
    """Why a guest is lost, with the whole line that says so; `watched` ended with the text of a failure."""
    text = watched.failures[0].encode()
    at = max(0, log.data.find(text, max(0, watched.began_at - len(text) + 1)))
    end_ns = machine.now_ns() + round(LINE_END_S * 1e9)
    while b"\n" not in log.data[at:] and (left_ns := end_ns - machine.now_ns()) > 0:
        chunk = machine.read_serial(left_ns / 1e9)
        if chunk is not None:
            if not chunk.data:
                break
            log.append(chunk)
    start = max(log.data.rfind(b"\n", 0, at), log.data.rfind(b"\r", 0, at)) + 1
    line = bytes(log.data[start : log.data.find(b"\n", at) if b"\n" in log.data[at:] else None])
    # Several texts may be in that line; the system lists the most telling first.
    named = (failure for failure in failures if failure.pattern.encode() in line)
    failure = next(named, FailurePattern(pattern=watched.failures[0], reason=watched.failures[0]))
    outcome = NotMade if failure.of_host else Crashed
    return outcome(reason=f"{failure.reason}: {quote(line)}")


def last_words(log: SerialLog, missed: str = "") -> str:
    """The last lines with something in them, as the end of a sentence about a guest that said no more.

    With a text that was `missed` it says whether that is there but for what came in the middle of it.
    """
    # A guest may have printed millions of lines.
    shown = Visible()
    shown.feed(bytes(log.data[-65536:]))
    text = bytes(shown.data).replace(SEQUENCE, b"").replace(b"\r", b"\n")
    lines = [line for line in text.split(b"\n") if line.strip()]
    if not lines:
        return "the serial console stayed silent"
    last = list(dict.fromkeys(quote(line) for line in lines[-LAST_LINES:]))
    told = f"last line{'s' if len(last) > 1 else ''}: {' | '.join(last)}"
    if missed and missed.encode() in clear_of_noise(bytes(shown.data)):
        return f"it is there once control characters and kernel messages in it are taken out; {told}"
    return told


def quote(line: bytes) -> str:
    """A guest's line as printable ASCII, at most 200 bytes of it; other bytes are escaped as in C."""
    text = line.strip()[:QUOTED_BYTES].decode("latin-1")
    return "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in text)
