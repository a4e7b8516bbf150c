"""A shell that has ended while its command was waited for: told at once, whatever the console says."""

from __future__ import annotations

import pytest
from shell_guest import ScriptedMachine

from guestbench.errors import ShellError
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell
from guestbench.guest.shell_protocol import Checksum, Encoding
from guestbench.guest.shell_question import Console


@pytest.mark.parametrize(
    ("said", "reason", "within_s"),
    [
        (b"\r\nDebian GNU/Linux 12 localhost ttyS0\r\n\nlocalhost login: ", "asks for a login again", 10),
        (b"\r\nPassword: ", "asks for a login again", 10),
        (b"", "has answered nothing for 60 s", 100),
    ],
)
def test_a_shell_that_its_command_ended_is_told_at_once(said: bytes, reason: str, within_s: float) -> None:
    """`kill -9 $$` would be waited for as long as a command may take: an hour."""
    machine = ScriptedMachine(lambda line: said)
    shell = Shell(Console(machine, SerialLog()), Encoding.BASE64, Checksum.MD5)
    with pytest.raises(ShellError, match=reason):
        shell.run("kill -9 $$", timeout_s=3600)
    assert machine.now_ns() < within_s * 1e9
