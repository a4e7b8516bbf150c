"""Consoles and shells that are made to stop the tool, to fill its memory, or to lie to it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable

import pytest
from shell_guest import ScriptedMachine

from guestbench.errors import ShellError
from guestbench.guest import console, shell_protocol
from guestbench.guest import shell as shell_module
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell, open_shell
from guestbench.guest.shell_protocol import Checksum, Encoding
from guestbench.guest.shell_question import KEPT_BYTES, Console
from guestbench.model import Login

NONCE = b"0123456789abcdef"
SOON_S = 30.0
"""What is tried here took from minutes to days before it was bounded; now it takes less than a second."""


def message(nonce: bytes, payload: bytes) -> bytes:
    """An undamaged message."""
    return nonce + b"{" + payload + b"|" + Checksum.MD5.compute(payload) + b"}" + nonce + b"\n"


def answering(answer: Callable[[bytes, bytes], bytes]) -> Shell:
    """A shell in a guest that answers each line, with its nonce, by the payload that `answer` makes."""

    def say(line: bytes) -> bytes:
        nonce = re.findall(rb"\b[0-9a-f]{16}\b", line)[-1]
        return message(nonce, answer(line, nonce))

    return Shell(Console(ScriptedMachine(say), SerialLog()), Encoding.BASE64, Checksum.MD5)


# --- shells -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b"r," + b"9" * 5000 + b",0,0,,",
        b"r,0," + b"9" * 5000 + b",0,",
        b"r,256,0,0,,",
        b"r,99999999999999999999,0,0,,",
        b"r,0,\xb2,0,,",
        b"r,,,,,",
    ],
)
def test_replies_that_there_cannot_be_are_damaged_ones(payload: bytes) -> None:
    """A number of 5,000 digits would end the tool with a traceback, or fill the store with an exit status."""
    assert shell_protocol.parse_reply(payload, Encoding.BASE64) is None
    with pytest.raises(ShellError, match="damages every answer"):
        answering(lambda line, nonce: payload).run("true")


@pytest.mark.parametrize("size", [shell_module.MOST_BYTES + 1, 10**14])
def test_output_without_end_is_not_fetched(size: int) -> None:
    """A guest would fill the memory of whoever measures it, in blocks that are all sound."""
    with pytest.raises(
        ShellError, match=f"printed {size:,} bytes in the guest; at most 33,554,432 are fetched"
    ):
        answering(lambda line, nonce: b"r,0,%d,0," % size).run("cat /dev/zero")


def test_output_that_trickles_is_given_up() -> None:
    """Each block of an output may take half a minute, so that all of them together took a day."""
    block = base64.b64encode(bytes(Encoding.BASE64.block_bytes))
    machine = ScriptedMachine(lambda line: b"")

    def say(line: bytes) -> bytes:
        nonce = re.findall(rb"\b[0-9a-f]{16}\b", line)[-1]
        if b"gb_get" not in line:
            return message(nonce, b"r,0,30000000,0,")
        machine._now_ns += 25_000_000_000
        return message(nonce, block)

    machine._answer = say
    shell = Shell(Console(machine, SerialLog()), Encoding.BASE64, Checksum.MD5)
    with pytest.raises(ShellError, match="too slowly"):
        shell.run("cat large")
    assert machine.now_ns() < 2 * 3600 * 1e9
    with pytest.raises(ShellError, match="too slowly"):
        shell.run("true")


@pytest.mark.parametrize(
    "tools", [b"base64", b"base64,md5sum", b"perl,md5sum,dd", b",,,", b"base64,md5sum,dd,x"]
)
def test_programs_that_there_are_not_are_refused(tools: bytes) -> None:
    """A guest that says nonsense when its shell is set up would end the tool with a traceback."""
    payloads = iter([b"ready", b"/run/x", tools, b"say", b"tell", b"ask", b"go"])

    def say(line: bytes) -> bytes:
        if b"exec sh" in line:
            one, other = re.findall(rb" ([0-9a-f]{8})\b", line)[:2]
            return b"\n%s{hi=hi}%s\n" % (one + other, one + other)
        if nonce := re.findall(rb"\b[0-9a-f]{16}\b", line):
            payload = next(payloads)
            return b"\n%s{%s=%s}%s\n" % (nonce[-1], payload, payload, nonce[-1])
        return b"# "

    with pytest.raises(ShellError, match="names programs that there are not"):
        open_shell(ScriptedMachine(say), Login(user="root", prompt="# "), SerialLog())


HOSTILE = {
    "brackets": b"[" * (2 * KEPT_BYTES),
    "ends": (b"}" + NONCE) * (2 * KEPT_BYTES // 17),
    "one long message": NONCE + b"{" + (b"x|y}" + NONCE) * (2 * KEPT_BYTES // 20),
    "messages": message(NONCE, b"x" * 100) * (2 * KEPT_BYTES // 200),
    "escapes": b"\x1b[" * KEPT_BYTES,
    "titles": b"\x1b]" * KEPT_BYTES,
    "numbers in an escape": b"\x1b[" + b"1" * (2 * KEPT_BYTES),
    "blanks in an escape": b"\x1b" + b" " * (2 * KEPT_BYTES),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("checksum", Checksum)
def test_what_is_kept_of_a_console_is_searched_soon(name: str, checksum: Checksum) -> None:
    """A megabyte of brackets kept the tool for an hour, and no time limit of a trial could end it."""
    began_s = time.monotonic()
    found = list(shell_protocol.find_payloads(shell_protocol.clean(HOSTILE[name]), NONCE, checksum))
    assert len(found) <= shell_protocol.MOST_MESSAGES
    assert time.monotonic() - began_s < SOON_S


def test_lines_of_the_kernel_are_taken_out_and_unfinished_ones_are_not() -> None:
    """An answer would be lost behind a bracket, or be damaged by what the kernel prints."""
    assert shell_protocol.tidy(b"ab[ 1.5] x [y]\ncd[2\ne\r\n[f") == b"abcde\n[f"
    assert shell_protocol.tidy(b"[") == b"["


# --- markers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "between", [b"Command line: [ready] ", b"Command line: [ready]" + b"x" * 3000, b"[read"]
)
def test_echoes_without_a_line_end_are_passed_over_soon(between: bytes) -> None:
    """A guest that prints its command line on and on, and no line end, would stop the worker for hours."""
    data = between * (32 * 2**20 // len(between))
    ends = [*range(65536, len(data), 65536), len(data)]
    began_s = time.monotonic()
    assert console.place_texts(data, ends, {"ready": b"[ready]"}) == {}
    assert time.monotonic() - began_s < 2 * SOON_S


@pytest.mark.parametrize("distance", [0, 100, console.LONGEST_LINE - 20])
@pytest.mark.parametrize("before", [b"", b"x" * 20000, b"\n", b"Command line: a\n"])
def test_an_echo_is_one_up_to_the_longest_line(distance: int, before: bytes) -> None:
    """A marker in the kernel's echo of its command line would make a guest ready that is not."""
    echo = before + b"Command line: " + b"x" * distance + b"[ready]"
    assert console.place_texts(echo, [len(echo)], {"ready": b"[ready]"}) == {}
    real = echo + b"\n[ready]"
    assert console.place_texts(real, [len(real)], {"ready": b"[ready]"}) == {"ready": 0}
