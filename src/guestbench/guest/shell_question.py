"""One question to the shell in a guest, typed until it is answered; it knows neither login nor commands.

All that the console says is read at once and kept in the log, whatever it is: a guest whose console
nobody reads stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from guestbench.errors import ShellError
from guestbench.guest import shell_protocol as protocol
from guestbench.guest.console import last_words
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell_protocol import RUNNING, Checksum
from guestbench.vmm import Machine, Meanwhile

FLOOD_BYTES = 32 << 20
"""What a guest may print while one answer is waited for."""
KEPT_BYTES = 1 << 20
"""How much of it is searched for the answer: more than any message has."""
SILENCE_S = 0.2
"""After this much silence, look for an answer that something else was printed into."""
BEGUN_S = 2.0
"""How long the rest of an answer may take; a checksum under software emulation takes up to 0.1 s."""
LEAST_S = 1e-3
"""The shortest wait: rounding could make a shorter one last for ever on a virtual clock."""
ASK_AGAIN_S = 3.0
"""When to ask again for an answer that did not come; doubled each time up to `ASK_AGAIN_MAX_S`."""
ASK_AGAIN_MAX_S = 30.0
COMING_S = 10.0
"""How much longer to wait where something is coming in: to ask again would only add to the queue."""
DAMAGED_TRIES = 20
"""How many damaged answers are too many: on a console as noisy as that nothing can be had."""
SCREEN_BYTES = 4000
"""What may be on the screen: enough for a prompt and the line before it."""
MUTE_S = 60.0
"""How long the loop in the guest may answer nothing at all: twice as long as for what it has to answer."""
HINT = "guestbench systems boot --help"

PASSWORD = re.compile(rb"assword: ?$")
LOGIN = re.compile(rb"(?<!Last l)ogin: ?$")

T = TypeVar("T")


class Console:
    """A machine's console, with all that it says kept in the log."""

    def __init__(self, machine: Machine, log: SerialLog) -> None:
        self._machine = machine
        self._log = log

    def now_s(self) -> float:
        """The time of the machine's clock."""
        return self._machine.now_ns() / 1e9

    def type(self, data: bytes) -> None:
        """Type. Raises ShellError where there is nobody left to read it."""
        try:
            self._machine.write_serial(data)
        except OSError as error:
            raise ShellError(f"the guest ended: its console is closed; {self.last_words()}", HINT) from error

    def read(self, timeout_s: float, meanwhile: Meanwhile | None) -> bytes:
        """What comes next, or nothing if nothing comes in time or `meanwhile` wants its turn.

        Raises ShellError when the VMM has closed the console.
        """
        if meanwhile:
            timeout_s = min(timeout_s, meanwhile())
        chunk = self._machine.read_serial(max(timeout_s, 0.0))
        if chunk is None:
            return b""
        if not chunk.data:
            raise ShellError(f"the guest ended; {self.last_words()}", HINT)
        self._log.append(chunk)
        return chunk.data

    @property
    def size_bytes(self) -> int:
        """How much the console has said so far."""
        return len(self._log.data)

    def check_flood(self, start_bytes: int) -> None:
        """Raise ShellError if the console has said too much since it had said `start_bytes`."""
        if self.size_bytes - start_bytes > FLOOD_BYTES:
            raise ShellError(f"the guest floods its console; {self.last_words()}", HINT)

    def screen(self) -> bytes:
        """The end of what the console says, without escape codes and the kernel's messages."""
        return protocol.tidy(bytes(self._log.data[-SCREEN_BYTES:]))

    def last_words(self) -> str:
        """The last line on the console, for messages."""
        return last_words(self._log)


class Question:
    """One question, and the search for its answer in what the console says."""

    def __init__(self, console: Console, checksum: Checksum | None, meanwhile: Meanwhile | None) -> None:
        self._console = console
        self._checksum = checksum
        self._meanwhile = meanwhile
        self._nonce = protocol.make_nonce()
        self._heard = bytearray()
        self._heard_s = 0.0
        self._is_news = False
        self._has_begun = False
        self._start_bytes = console.size_bytes
        self._damaged = 0
        self._unanswered_s: float | None = None

    def ask(
        self,
        make_line: Callable[[bytes], bytes],
        accept: Callable[[bytes], T | None],
        timeout_s: float,
        again_s: float = ASK_AGAIN_S,
    ) -> T | None:
        """Type what `make_line` makes of a nonce, and again where needed; what `accept` makes of the answer.

        An answer of which `accept` makes None counts as damaged; `running` says that there is none yet.
        None if no answer came within `timeout_s`. Raises ShellError where there is no hope of one.
        """
        due_s = self._console.now_s()
        end_s = due_s + timeout_s
        while (now_s := self._console.now_s()) < end_s:
            self._check_alive(now_s)
            if now_s >= due_s and (not self._is_news or now_s >= due_s + COMING_S):
                self._console.type(make_line(self._nonce) + b"\n")
                self._unanswered_s = now_s if self._unanswered_s is None else self._unanswered_s
                due_s = now_s + again_s
                again_s = min(2 * again_s, ASK_AGAIN_MAX_S)
            look_s = min(self._heard_s + SILENCE_S if self._is_news else due_s, end_s)
            complete = self._listen(max(look_s - now_s, LEAST_S))
            now_s = self._console.now_s()
            if not complete and not (self._is_news and now_s >= min(self._heard_s + SILENCE_S, end_s)):
                continue
            payloads = self._search()
            for payload in payloads:
                if payload != RUNNING and (answer := accept(payload)) is not None:
                    return answer
            if complete:
                self._unanswered_s = None
                self._heard.clear()
                if set(payloads) != {RUNNING}:
                    self._count_damaged()
                    due_s = now_s
            elif self._has_begun and not payloads:
                due_s = min(due_s, now_s + BEGUN_S)
        return None

    def _check_alive(self, now_s: float) -> None:
        """Raise ShellError where nobody can be there any more who would answer.

        The loop echoes nothing and answers at once, if only that a command runs: a console that asks for a
        user's name instead has lost it. Before it has begun, prompts are for whoever logs in to judge.
        """
        if self._checksum is None or self._unanswered_s is None:
            return
        mute_s, screen = now_s - self._unanswered_s, self._console.screen()
        if mute_s >= BEGUN_S and (LOGIN.search(screen) or PASSWORD.search(screen)):
            reason = "the shell in the guest has ended, and its console asks for a login again"
            raise ShellError(f"{reason}; {self._console.last_words()}", HINT)
        if mute_s >= MUTE_S:
            said = self._console.last_words()
            raise ShellError(f"the guest's shell has answered nothing for {MUTE_S:g} s; {said}", HINT)

    def _listen(self, timeout_s: float) -> bool:
        """Read once; whether a message has ended, damaged or not."""
        fresh = self._console.read(timeout_s, self._meanwhile)
        if not fresh:
            return False
        start = len(self._heard)
        self._heard += fresh
        self._heard_s = self._console.now_s()
        self._is_news = True
        self._console.check_flood(self._start_bytes)
        complete = protocol.has_end(self._heard, self._nonce, start)
        if len(self._heard) > 2 * KEPT_BYTES:
            del self._heard[:-KEPT_BYTES]
        return complete

    def _search(self) -> tuple[bytes, ...]:
        self._is_news = False
        cleaned = protocol.clean(bytes(self._heard))
        self._has_begun = self._nonce + b"{" in cleaned
        return tuple(protocol.find_payloads(cleaned, self._nonce, self._checksum))

    def _count_damaged(self) -> None:
        self._damaged += 1
        if self._damaged >= DAMAGED_TRIES:
            said = self._console.last_words()
            raise ShellError(f"the guest's console damages every answer of its shell; {said}", HINT)
