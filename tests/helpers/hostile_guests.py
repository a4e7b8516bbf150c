"""Guests and links that are made to do harm, each with what must come of it; docs/security.md tells.

Real guests are multiboot kernels of a few hundred bytes (`GUESTS`), booted by one run; consoles and shells
are read (`CONSOLES`), and links are scanned (`LINKS`). Each check fails where something else comes of it.
"""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from hostile_images import DISKS, IMAGES, INJECTION, SOON_S, Case
from hostile_run import check_safe
from link_guest import Stack, run_guest
from shell_guest import ScriptedMachine
from tcp_servers import Serve, serving, silence

from guestbench.errors import ShellError
from guestbench.families.net import tcp
from guestbench.families.surface.network.link_host import LinkHost
from guestbench.families.surface.network.ports import PortScan, scan
from guestbench.guest import console, contract, shell_protocol
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell
from guestbench.guest.shell_protocol import Checksum, Encoding
from guestbench.guest.shell_question import Console
from guestbench.vmm.fake import FakeMachine

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- hostile guests: begin -->\n", "<!-- hostile guests: end -->\n"


class Guest(NamedTuple):
    """A guest in assembly, with what it does and what must come of it.

    `outcome` is a pattern for its outcome and the reason, and `told` a text that the report must have.
    """

    does: str
    must: str
    body: str
    outcome: str
    told: str = ""


# --- real guests --------------------------------------------------------------------------------------


def saying(text: bytes, *, times: int = 1) -> str:
    """Instructions that print a text so often; 0 is for ever."""
    octal = "".join(f"\\{byte:03o}" for byte in text)
    count = f"        mov $1, %ebp\n1:      mov ${times}, %ebx\n" if times else "        mov $0, %ebx\n"
    return (
        f"{count}again:  mov $text, %esi\n        call say\n"
        "        dec %ebx\n        jnz again\n        jmp after\n"
        f'text:   .asciz "{octal}"\nafter:\n'
    )


READY = "        mov $ready, %esi\n        call say\n"
NOT_READY = r"timed-out: no '\[ready\]' within "
GUESTS = {
    "floods": Guest(
        "prints on and on, without a line end", "times out on time", saying(b"spam ", times=0), NOT_READY
    ),
    "echoes": Guest(
        "prints the marker in the echo of its command line",
        "is not ready",
        saying(b"Kernel command line: quiet [ready]\r\n"),
        NOT_READY,
    ),
    "echoes-on": Guest(
        "does so on and on, without a line end",
        "is not ready, and times out on time",
        saying(b"Command line: [ready] ", times=0),
        NOT_READY,
    ),
    "titles": Guest(
        "puts the marker into the title of a window",
        "is not ready",
        saying(b"\x1b]0;[ready]\x07\x1bP[ready]\x1b\\ nothing else\r\n"),
        NOT_READY,
    ),
    "titles-on": Guest(
        "begins titles of windows with the marker on and on, and ends none",
        "is not ready, and times out on time",
        saying(b"\x1b]0;[ready] ", times=0),
        NOT_READY,
    ),
    "splits": Guest(
        "puts control characters into the marker",
        "is not ready, and the reason says that the marker is there without them",
        saying(b"[re\x08ad\ry]\r\n"),
        NOT_READY + r".*once control characters",
    ),
    "injects": Guest(
        "ends with HTML, Markdown, a formula and escape sequences",
        "times out; its last words do nothing in any report",
        saying(b"\x1b[2J\x1b]0;owned\x07" + INJECTION.encode() + b"\r\n"),
        NOT_READY + r".*last line",
    ),
    "asks": Guest(
        "asks the terminal 5,000 times where its cursor is, and waits for no answer",
        "is ready; 100 questions are answered",
        saying(b"\x1b[6n", times=5000) + READY,
        "ok",
    ),
    "resets": Guest(
        "faults until the machine resets itself",
        "has crashed, and is not started again",
        "        lidt empty\n        int3\nempty:  .word 0\n        .long 0\n",
        r"crashed: .*powered off or reset itself",
    ),
    "ends": Guest(
        "powers the machine off before it is ready",
        "has crashed",
        saying(b"goodbye\r\n") + "        mov $0x604, %dx\n        mov $0x2000, %ax\n        out %ax, %dx\n",
        r"crashed: .*powered off or reset itself.*goodbye",
    ),
    "panics": Guest(
        "says in one write that it is ready and that it panics",
        "is ready, and the report says what followed at once",
        saying(b"[ready] PANIC: not at all\r\n"),
        "ok",
        "panics: in 1 of 1 boots something followed at once on being ready, such as: the guest panicked",
    ),
}


def check_reports(folder: Path) -> None:
    """Nothing in any report of a run does anything but show."""
    check_safe((folder / "comparison_results.md").read_text())
    html = (folder / "report.html").read_text()
    assert "<script>alert" not in html
    assert not re.search(r"<(?:img|a)\b[^>]*e\.example", html)
    assert all(each.isprintable() or each in "\n\t" for each in html)
    json.loads((folder / "results.json").read_bytes())
    for row in csv.reader(io.StringIO((folder / "results.csv").read_text())):
        assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in row)


# --- consoles and shells ------------------------------------------------------------------------------


def _try_work(folder: Path) -> None:
    del folder
    said = b"[work end cpu done=1 guest_ns=1]\r\n[work begin cpu source=x]\r\n"
    said += b"[work end other done=5]\r\n[work end cpu done=9999999999999999999 digest=x guest_ns=-1]\r\n"
    (report,) = contract.find_reports(said, lambda at: at)
    assert (report.workload, report.done, report.guest_ns) == ("cpu", None, None)
    assert report.end_ns == len(said) - 3
    flood = b"[work begin cpu]" * 100_000
    assert len(contract.find_reports(flood, lambda at: at)) == contract.MOST_REPORTS


def _try_output(folder: Path) -> None:
    del folder

    def say(line: bytes) -> bytes:
        nonce: bytes = re.findall(rb"\b[0-9a-f]{16}\b", line)[-1]
        payload = b"r,0,%d,0," % 10**14
        return nonce + b"{" + payload + b"|" + Checksum.MD5.compute(payload) + b"}" + nonce + b"\n"

    shell = Shell(Console(ScriptedMachine(say), SerialLog()), Encoding.BASE64, Checksum.MD5)
    with pytest.raises(ShellError, match="printed 100,000,000,000,000 bytes"):
        shell.run("true")


def _try_brackets(folder: Path) -> None:
    del folder
    began_s = time.monotonic()
    shell_protocol.clean(b"[" * (2 << 20))
    data = b"Command line: [ready] " * (1 << 20)
    assert console.place_texts(data, [len(data)], {"ready": b"[ready]"}) == {}
    assert time.monotonic() - began_s < SOON_S


CONSOLES = {
    "work": Case(
        "work that ends before it begins, is another's, has 19 nines of items, or begins 100,000 times",
        "counts for nothing that a record cannot hold; 1,000 pieces are kept",
        _try_work,
    ),
    "output": Case(
        "a shell whose command prints 100 TB, in sound blocks", "ends at 32 MiB, with the reason", _try_output
    ),
    "brackets": Case(
        "2 MiB of brackets or a million echoes in one line", "is searched within seconds", _try_brackets
    ),
}

# --- links --------------------------------------------------------------------------------------------


def _scanned(stack: Stack, ports: range) -> PortScan:
    with run_guest(stack) as link:
        machine = FakeMachine((), None, ("fake",))
        return scan(machine, SerialLog(), LinkHost(link), ports=ports, address_s=5.0, tcp_s=60.0)


def _try_every_port(folder: Path) -> None:
    del folder
    found = _scanned(Stack(open_tcp=frozenset(range(65536))), range(1, 4001))
    assert found.tcp is not None
    assert (len(found.tcp.open), found.tcp.closed, found.tcp.filtered) == (4000, 0, 0)


def _try_noise(folder: Path) -> None:
    del folder
    for noise in (b"\xff" * 60, bytes(60), b"\x45" * 1500, b"\x01"):
        found = _scanned(Stack(open_tcp=frozenset({7}), noise=noise), range(1, 200))
        assert found.tcp is not None
        assert (found.tcp.open, found.tcp.closed) == ((7,), 198)


def _try_flood(folder: Path) -> None:
    del folder
    began_s = time.monotonic()
    found = _scanned(Stack(open_tcp=frozenset({7}), floods=b"\xff" * 1500), range(1, 200))
    assert found.tcp is not None
    assert found.tcp.open == (7,)
    assert time.monotonic() - began_s < 2 * SOON_S


def _try_services(folder: Path) -> None:
    del folder

    def chatter(sock: socket.socket) -> None:
        while sock.send(b"x" * 65536):
            pass

    tries: tuple[tuple[Serve, Callable[[int], object], str], ...] = (
        (chatter, partial(tcp.send, size_bytes=1 << 20), "a discard service does not"),
        (chatter, partial(tcp.receive, size_bytes=1 << 20), "RFC 864's pattern has"),
        (chatter, partial(tcp.time_echo, requests=10), "came back"),
        (silence, partial(tcp.time_echo, requests=10, timeout_s=0.5), "when 0.5 s were over"),
        (silence, partial(tcp.send, size_bytes=1 << 26, timeout_s=0.5), "when 0.5 s were over"),
    )
    for serve, ask, words in tries:
        with serving(serve) as port, pytest.raises(tcp.TransferError, match=words):
            ask(port)


LINKS = {
    "services": Case(
        "TCP services that send without end, send something else, or never answer and never close",
        "each transfer ends in time with the reason, and is no figure",
        _try_services,
    ),
    "every-port": Case(
        "a guest that answers on every TCP port", "has them all open, none guessed", _try_every_port
    ),
    "nonsense": Case("a guest that sends frames that are none", "changes no figure", _try_noise),
    "endless": Case("a guest that sends frames without end", "is scanned all the same, in time", _try_flood),
}


def render_table() -> str:
    """The table of the document."""
    rows = ["| what | what it does | what must come of it |", "|---|---|---|"]
    rows += [f"| guest `{name}` | {each.does} | {each.must} |" for name, each in GUESTS.items()]
    for kind, cases in (("image", IMAGES), ("disk", DISKS), ("console", CONSOLES), ("link", LINKS)):
        rows += [f"| {kind} `{name}` | {each.does} | {each.must} |" for name, each in cases.items()]
    return "\n".join([*rows, ""])
