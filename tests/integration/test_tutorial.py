"""The tutorial is the first that a newcomer types: each of its commands is run, and prints what it shows.

With GUESTBENCH_UPDATE_GOLDEN=1 they are run in full, on real guests, and what they print is written into it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from documents import ROOT

from guestbench.host import process

TUTORIAL = ROOT / "docs" / "tutorial.md"
RECORDINGS = ROOT / "tests" / "recordings"
UPDATE = "GUESTBENCH_UPDATE_GOLDEN" in os.environ
STEP = re.compile(
    r"```sh\n(?P<typed>.*?)```(?:(?!```).)*?(?:```text\n(?P<printed>.*?)```|(?=```|\Z))", re.DOTALL
)
"""A block of commands, and the block of what they print, if there is one before the next commands."""
PROGRAM = f"""#!/bin/sh
# guestbench as the tutorial calls it; to be quick, it boots less often and replays Linux from a recording.
real='--cycles 2 --warmups 0 --accel tcg'
replayed="--cycles 2 --metrics image,boot --set platform.vmm=fake
    --system floor={RECORDINGS}/floor.log --system linux-minimal=linux --system reference-unikernel=unikernel"
more=
test -n "$IN_FULL" || case "$*" in
    report* | doctor) ;;
    *results/linux*)
        more=$replayed
        mkdir linux unikernel
        cp {RECORDINGS}/linux-minimal.log linux/vmlinuz
        cp {RECORDINGS}/linux-minimal.timing linux/vmlinuz.timing
        cp results/first/trials/*-boot-reference-unikernel-1/serial.log unikernel/kernel.elf
        cp results/first/trials/*-boot-reference-unikernel-1/serial.timing unikernel/kernel.timing
        touch linux/initrd.gz unikernel/program
        ;;
    *) more=$real ;;
esac
{shlex.quote(sys.executable)} -m guestbench "$@" $more
status=$?
echo "$1 $status" >>statuses
exit $status
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which the tutorial's commands find what they find in the project's."""
    programs = tmp_path / "programs"
    programs.mkdir()
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    # What set-up does is tried by its own tests; here it would change the environment of this very process.
    make = shlex.join(["make", "--directory", str(ROOT), "--just-print"])
    for name, script in {
        "guestbench": PROGRAM,
        "make": f'#!/bin/sh\nPATH="{os.defpath}" {make} "$@"\n',
    }.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    return tmp_path


@pytest.mark.qemu
def test_every_command_of_the_tutorial_does_what_it_says(folder: Path) -> None:
    """A newcomer would type a command that fails, or see something else than is shown."""
    text = TUTORIAL.read_text()
    environment = {
        "PATH": f"{folder / 'programs'}:{os.environ['PATH']}",
        "IN_FULL": "yes" if UPDATE else "",
        "MAKEFLAGS": "",
    }
    new, last, compared = "", 0, 0
    for step in STEP.finditer(text):
        argv = ["bash", "-c", step["typed"]]
        done = process.run(argv, cwd=folder, env=environment, timeout_s=1200, check=False)
        assert done.status == 0, f"{step['typed']}{done.stdout.decode()}{done.stderr.decode()}"
        if step["printed"] is not None:
            new += text[last : step.start("printed")] + done.stdout.decode()
            last = step.end("printed")
            if not UPDATE:
                compare(step["printed"], done.stdout.decode())
                compared += 1
    statuses = (folder / "statuses").read_text().splitlines()
    assert statuses == ["doctor 0", "run 0", "run 0", "report 0", "ab 1"]
    if UPDATE:
        TUTORIAL.write_text(new + text[last:])
    else:
        assert compared == 3


def compare(shown: str, printed: str) -> None:
    """Hold what the tutorial shows against what was printed: the same lines, whatever figures are in them."""
    heads = [
        next(line.split() for line in text.splitlines() if line.lower().startswith("system "))
        for text in (shown, printed)
    ]
    # A recording has no instructions, so a column may be missing.
    assert set(heads[1]) <= set(heads[0])
    assert len(heads[1]) > 4
    # Sentences, which begin with a capital, depend on how many boots there are, and on the host.
    begins = [{word for word in re.findall(r"(?m)^\S+", text) if word.islower()} for text in (shown, printed)]
    assert begins[0] == begins[1]
    assert len(begins[0]) > 4
