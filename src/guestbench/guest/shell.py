"""A shell on a guest's serial console: commands with exact outputs and statuses; they wait for no prompt.

Everything is typed on, and read from, the console that the guest's kernel and services print on too.
`shell_protocol` has the messages that survive this, `shell_question` asks and asks again; here is what is
asked: logging in, setting up, running commands. Times are those of the machine's clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar

from guestbench.errors import ShellError
from guestbench.guest import shell_protocol as protocol
from guestbench.guest.console import quote
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell_protocol import Checksum, Encoding
from guestbench.guest.shell_question import (
    HINT,
    LEAST_S,
    LOGIN,
    PASSWORD,
    SCREEN_BYTES,
    SILENCE_S,
    Console,
    Question,
)
from guestbench.model import Frozen, Login, OpenShell
from guestbench.vmm import Machine, Meanwhile

ANSWER_S = 30.0
"""How long the guest's loop may take to answer. Debian's under software emulation takes 0.1 s."""
PROMPT_S = 5.0
"""How long a console must be silent for us to believe that it waits for input."""
HELLO_S = 4.0
"""When to say hello again; 1.5 times as long each time. A login under software emulation takes 2 s."""
LOGIN_TRIES = 3
"""How often to answer a login prompt: getty may throw away what was typed before it was ready."""
MOST_BYTES = 32 << 20
"""Of the outputs of a command; the longest that is asked for, a kernel's symbols, has 10 MB."""
LEAST_RATE = 10_000
"""Bytes of an output that come in a second at least. Debian's under software emulation sends 300,000."""
INTERRUPT = b"\x03"

REFUSED = re.compile(rb"(?i)login incorrect|login timed out|authentication fail")

T = TypeVar("T")


class Answer(Frozen):
    """What a command did: its exit status (128 + the signal that ended it) and exactly what it printed."""

    status: int
    stdout: bytes
    stderr: bytes


class Shell:
    """A POSIX shell in a guest, made by `open_shell`. One command at a time, each in its own subshell."""

    def __init__(self, console: Console, encoding: Encoding, checksum: Checksum, number: int = 0) -> None:
        self._console = console
        self._encoding = encoding
        self._checksum = checksum
        self._number = number
        self._lost = ""

    def leave(self) -> OpenShell:
        """What whoever goes on with it has to know, in a state of the guest that is kept now."""
        return OpenShell(encoding=self._encoding, checksum=self._checksum, number=self._number)

    def run(
        self, command: str | bytes, *, timeout_s: float = 60.0, meanwhile: Meanwhile | None = None
    ) -> Answer:
        """Run a command, with /dev/null as its standard input, and wait for its end.

        The command may be long and have many lines. `timeout_s` is its own time, from its start to its
        exit status; sending a long command or output comes on top. What it leaves running in the
        background goes on, but what that prints later is lost.

        Raises:
            ShellError: it took longer, and was ended with all that it started (the next command will
                work); or the guest stopped answering (no other will).
            ValueError: there is a NUL byte in the command.
        """
        text = command.encode() if isinstance(command, str) else command
        if b"\0" in text:
            raise ValueError("a command cannot hold a NUL byte")
        if self._lost:
            raise ShellError(self._lost, HINT)
        self._number += 1
        parts, start = protocol.command_lines(text, self._number)
        for part, length in parts:
            self._get(part, partial(protocol.parse_length, length=length), meanwhile)
        parse = partial(protocol.parse_reply, encoding=self._encoding)
        question = Question(self._console, self._checksum, meanwhile)
        reply = question.ask(partial(protocol.fill, start), parse, timeout_s)
        if reply is None:
            self._end(text, timeout_s, meanwhile)
        stdout, stderr = reply.stdout, reply.stderr
        if stdout is None or stderr is None:
            said_bytes = reply.stdout_bytes + reply.stderr_bytes
            if said_bytes > MOST_BYTES:
                words = f"printed {said_bytes:,} bytes in the guest; at most {MOST_BYTES:,} are fetched"
                raise ShellError(f"`{quote(text)}` {words}", HINT)
            stdout = self._fetch("o", reply.stdout_bytes, meanwhile)
            stderr = self._fetch("e", reply.stderr_bytes, meanwhile)
        return Answer(status=reply.status, stdout=stdout, stderr=stderr)

    def _get(self, line: bytes, accept: Callable[[bytes], T | None], meanwhile: Meanwhile | None) -> T:
        try:
            return _get(self._console, self._checksum, line, accept, meanwhile)
        except ShellError as error:
            self._lost = error.message
            raise

    def _end(self, command: bytes, timeout_s: float, meanwhile: Meanwhile | None) -> NoReturn:
        self._get(protocol.END_LINE, lambda payload: payload, meanwhile)
        raise ShellError(
            f"`{quote(command)}` took more than {timeout_s:g} s in the guest and was ended", HINT
        )

    def _fetch(self, name: str, size_bytes: int, meanwhile: Meanwhile | None) -> bytes:
        """An output that is too long to come with the status."""
        data = bytearray()
        end_s = self._console.now_s() + ANSWER_S + size_bytes / LEAST_RATE
        while len(data) < size_bytes:
            if self._console.now_s() > end_s:
                self._lost = f"the guest's shell sends an output of {size_bytes:,} bytes too slowly"
                raise ShellError(self._lost, HINT)
            line = protocol.block_line(name, len(data) // self._encoding.block_bytes)
            left_bytes = size_bytes - len(data)
            parse = partial(protocol.parse_block, encoding=self._encoding, size_bytes=left_bytes)
            data += self._get(line, parse, meanwhile)
        return bytes(data)


def _get(
    console: Console,
    checksum: Checksum | None,
    line: bytes,
    accept: Callable[[bytes], T | None],
    meanwhile: Meanwhile | None,
) -> T:
    """What the guest's loop answers at once. Raises ShellError if it does not."""
    answer = Question(console, checksum, meanwhile).ask(partial(protocol.fill, line), accept, ANSWER_S)
    if answer is None:
        raise ShellError(f"the guest's shell stopped answering; {console.last_words()}", HINT)
    return answer


def go_on(machine: Machine, log: SerialLog, shell: OpenShell) -> Shell:
    """The shell that was open in the state which the machine went on from."""
    console = Console(machine, log)
    return Shell(console, Encoding(shell.encoding), Checksum(shell.checksum), shell.number)


# --- logging in ---------------------------------------------------------------------------------------


def open_shell(
    machine: Machine,
    login: Login,
    log: SerialLog,
    *,
    timeout_s: float = 60.0,
    meanwhile: Meanwhile | None = None,
) -> Shell:
    """Log in on the serial console of a guest that has printed its login prompt, and set a shell up.

    The login shell is replaced by a plain `sh`, of which commands will be subshells; they find the user's
    environment with TERM=dumb, PAGER=cat, LC_ALL=C, SYSTEMD_COLORS=0 and COLUMNS=200. The kernel's
    messages are turned off on the console. All that is read goes into `log`.

    Raises:
        ShellError: the guest refused the login, no POSIX shell answered within `timeout_s`, it lacks the
            few programs needed (wc, dd, base64 or od, md5sum or cksum), or the guest ended.
    """
    console = Console(machine, log)
    _say_hello(console, login, timeout_s, meanwhile)
    lines = protocol.setup_lines(protocol.make_folder_name())
    answers = [_get(console, None, line, lambda payload: payload, meanwhile) for line in lines]
    folder, tools = answers[1], protocol.parse_tools(answers[2])
    if not folder:
        raise ShellError("the guest has no folder that its shell can write to", HINT)
    if tools is None:
        raise ShellError(f"the guest's shell names programs that there are not: {quote(answers[2])}", HINT)
    if not all(tools):
        lacks = ", ".join(need for need, tool in zip(protocol.NEEDS, tools, strict=True) if not tool)
        raise ShellError(f"the guest lacks programs that its shell needs: {lacks}", HINT)
    return Shell(console, Encoding(tools[0]), Checksum(tools[1]))


def _say_hello(console: Console, login: Login, timeout_s: float, meanwhile: Meanwhile | None) -> None:
    """Log in, and start the loop that reads lines in the place of the login shell."""
    end_s = console.now_s() + timeout_s
    _log_in(console, login, end_s, meanwhile)
    hello_s = HELLO_S
    while (left_s := end_s - console.now_s()) > 0:
        question = Question(console, None, meanwhile)
        if question.ask(protocol.hello_line, lambda payload: payload, min(hello_s, left_s), timeout_s):
            return
        hello_s *= 1.5
        if LOGIN.search(console.screen()) or PASSWORD.search(console.screen()):
            _log_in(console, login, end_s, meanwhile)
        else:
            # Half a line may have been lost to a flush, and the other half wait for its closing quote.
            console.type(INTERRUPT)
    reason = f"no POSIX shell answered within {timeout_s:g} s of the login of {login.user!r}"
    raise ShellError(f"{reason}; {console.last_words()}", HINT)


def _log_in(console: Console, login: Login, end_s: float, meanwhile: Meanwhile | None) -> None:
    """Answer the prompts for user and password; returns once a shell seems to wait, or at `end_s`."""
    tries, asked, nudged = 0, False, False
    if PASSWORD.search(console.screen()):
        console.type(b"\n")  # a hello was taken for a user's name; the next prompt will be for ours
    else:
        console.type(login.user.encode() + b"\n")
        tries = 1
    start_bytes, heard, silent_since_s, looked = console.size_bytes, b"", console.now_s(), True
    while (now_s := console.now_s()) < end_s:
        quiet_s = PROMPT_S if looked else SILENCE_S
        if fresh := console.read(min(silent_since_s + quiet_s, end_s) - now_s + LEAST_S, meanwhile):
            heard, silent_since_s, looked = (heard + fresh)[-SCREEN_BYTES:], console.now_s(), False
            console.check_flood(start_bytes)
        if fresh or console.now_s() < silent_since_s + quiet_s:
            continue
        screen = protocol.tidy(heard)
        if tries and (REFUSED.search(screen) or (LOGIN.search(screen) and tries >= LOGIN_TRIES)):
            wanted = ", which wants a password" if asked and not login.password else ""
            raise ShellError(f"the guest refused the login of {login.user!r}{wanted}", HINT)
        looked = True
        if PASSWORD.search(screen):
            console.type(login.password.encode() + b"\n")
            heard, asked = b"", True
        elif LOGIN.search(screen):
            console.type(login.user.encode() + b"\n")
            heard, tries = b"", tries + 1
        elif screen.endswith(login.prompt.encode()) and (asked or not login.password):
            return
        elif quiet_s == PROMPT_S:
            if nudged:
                return
            console.type(b"\n")
            nudged, silent_since_s = True, console.now_s()
