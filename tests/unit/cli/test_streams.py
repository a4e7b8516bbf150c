"""Standard output and standard error that are full, closed, or whose reader has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TALKATIVE = """
import sys, click
from guestbench import cli

@cli.cli.command("talk")
def talk():
    for number in range(20_000):
        click.echo("data")
        click.echo("talk", err=True)
    open(sys.argv[2], "w").write("the end")

sys.argv[1:1] = ["talk"]
cli.cli.resolve_command = lambda ctx, args: ("talk", talk, [])
cli.main()
"""
COMMANDS = (["--version"], ["run", "--help"], ["cache", "list"], ["workloads"])


def guestbench(*arguments: str, **streams: object) -> subprocess.CompletedProcess[bytes]:
    """Run a command line of guestbench."""
    argv = [sys.executable, "-m", "guestbench", *arguments]
    return subprocess.run(argv, check=False, timeout=60, **streams)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_standard_output_is_one_error(arguments: list[str]) -> None:
    """Output redirected to a full disk would end in a traceback."""
    with Path("/dev/full").open("wb") as full:
        done = guestbench(*arguments, stdout=full, stderr=subprocess.PIPE)
    error, hint = done.stderr.decode().splitlines()
    assert error == "error: cannot write standard output: No space left on device"
    assert hint == "hint: df -h"
    assert done.returncode == 3


def test_an_error_that_nobody_can_read_has_its_status() -> None:
    """A job whose log is full would fail for another reason than its own."""
    with Path("/dev/full").open("wb") as full:
        assert guestbench("nonsense", stdout=full, stderr=full).returncode == 2


@pytest.mark.parametrize("goes", ["stdout", "stderr", "both"])
def test_a_command_goes_on_when_its_readers_have_gone(goes: str, tmp_path: Path) -> None:
    """A run would end with its terminal, or the log that was looked at."""
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    streams |= dict.fromkeys(("stdout", "stderr") if goes == "both" else (goes,), writer)
    end = tmp_path / "end"
    done = subprocess.run([sys.executable, "-c", TALKATIVE, end], check=False, timeout=60, **streams)  # type: ignore[call-overload]
    os.close(writer)
    assert done.returncode == 0
    assert end.read_text() == "the end"


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_what_is_said_goes_into_no_file_where_an_output_is_closed(
    closed: tuple[int, ...], tmp_path: Path
) -> None:
    """The first file that a command opens would have the number of its standard error: the store."""
    script = f"import os\nfor fd in {closed}: os.close(fd)\n" + (
        "from guestbench.cli.streams import guard_streams\nguard_streams()\n"
        f"store = open({str(tmp_path / 'store')!r}, 'w')\nos.write(2, b'talk')\nos.write(1, b'data')\n"
        "assert store.fileno() > 2"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60)
    assert (done.returncode, (tmp_path / "store").read_text()) == (0, "")


def test_output_still_comes_whole_and_in_order() -> None:
    """Lines would be lost, or text that is not ASCII garbled."""
    done = guestbench("run", "--help", capture_output=True)
    assert done.returncode == 0
    assert not done.stderr
    assert "FAMILY,…" in done.stdout.decode()
