"""Boots the reference unikernel with a program in QEMU, for tests; it knows nothing of what programs do."""

from __future__ import annotations

import os
import re
import select
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from guestbench.host import process
from guestbench.provision.recipes.library_os import compile_kernel

MACHINE = (
    *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-nodefaults", "-no-user-config"),
    *("-display", "none", "-serial", "stdio", "-no-reboot"),
)
_LAST_LINE = re.compile(rb"(?:^|(?<=\n))\[exit (\d{1,3})\]\n\Z")
_FIRMWARE = re.compile(rb"\A[^\n]*SeaBIOS.*?Booting from ROM\.*(?:\r?\n)?", re.DOTALL)

_folder = tempfile.TemporaryDirectory(prefix="reference-guest-")


@cache
def kernel() -> Path:
    """The kernel without a network, compiled once for all tests of a session."""
    target = Path(_folder.name) / "kernel.elf"
    compile_kernel(target, None)
    return target


def run(
    program: Path | Sequence[Path],
    append: str,
    *,
    memory: str = "64M",
    options: Sequence[str] = (),
    timeout_s: float = 60.0,
    until: bytes = b"",
) -> bytes:
    """All that a guest prints until it turns itself off, or until it has printed `until` if that is given.

    `program` is the program, or it and the files that it finds in `/`. `append` begins with the system's own
    options (`refuk.timer=1000`) and the environment, then comes the program's name and its arguments.
    A guest that goes on for longer than `timeout_s` fails the test.
    """
    files = [program] if isinstance(program, Path) else program
    # QEMU takes a comma for the end of a file's name unless there are two.
    modules = ",".join(str(path).replace(",", ",,") for path in files)
    argv = [*MACHINE, "-m", memory, "-kernel", str(kernel())]
    if modules:
        argv += ["-initrd", modules]
    console = b""
    deadline = time.monotonic() + timeout_s
    with process.start([*argv, "-append", append, *options], stdout=process.PIPE) as child:
        assert child.stdout is not None
        while not (until and until in console):
            ready, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                pytest.fail(f"the guest still runs after {timeout_s:g} s; it printed {console[-2000:]!r}")
            received = os.read(child.stdout.fileno(), 65536)
            if not received:
                break
            console += received
    return console


def output_of(console: bytes) -> tuple[bytes, int | None]:
    """What the program itself printed, and its exit status; None where the guest did not end by an exit.

    A program whose last line lacks its end has one here: the system's last line is always a line of its own.
    """
    output = _FIRMWARE.sub(b"", console)
    last = _LAST_LINE.search(output)
    if last is None:
        return output, None
    return output[: last.start()], int(last[1])
