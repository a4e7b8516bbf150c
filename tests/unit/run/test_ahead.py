"""Images that are missing, built side by side in processes of their own."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from guestbench.definition.systems import load_catalogue
from guestbench.errors import HostError, ImageError
from guestbench.model import System
from guestbench.run.ahead import build_ahead

BUILDER = """#!{python}
import json, os, signal, sys, time
from pathlib import Path
job = json.load(sys.stdin)
name, here = job["system"]["name"], Path({folder!r})
(here / f"{{name}}.begun").touch()
if name == "linux-minimal":
    signal.signal(signal.SIGTERM, lambda *_: (here / "ended").touch() or sys.exit())
print(json.dumps({{"kind": "said", "text": f"building {{name}}"}}), flush=True)
sys.stdout.write("no JSON\\n")
if name == "floor":
    while not (here / "linux-app.begun").exists():
        time.sleep(0.01)
    print(json.dumps({{"kind": "failure", "message": "no room", "hint": "df -h", "exit_code": 3}}))
if name == "reference-unikernel":
    print(json.dumps({{"kind": "failure", "message": "no source", "hint": "ls", "exit_code": 2}}))
if name == "linux-minimal":
    time.sleep(60)
"""


@pytest.fixture
def missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[System, Path | None]]:
    """Three systems, which a program stands in for building."""
    program = tmp_path / "builder"
    program.write_text(BUILDER.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    catalogue = load_catalogue()
    return {name: (catalogue[name], None) for name in ("floor", "linux-app", "reference-unikernel")}


def test_two_are_built_at_a_time_and_what_fails_is_told(
    missing: dict[str, tuple[System, Path | None]],
) -> None:
    """Images would be built one after another, and one that cannot be built twice over."""
    said: list[str] = []
    failed = build_ahead(missing, (), said.append)
    assert sorted(said) == [f"building {name}" for name in sorted(missing)]
    assert {name: (type(error), error.message, error.hint) for name, error in failed.items()} == {
        "floor": (HostError, "no room", "df -h"),
        "reference-unikernel": (ImageError, "no source", "ls"),
    }


def test_whoever_interrupts_ends_the_builds(
    missing: dict[str, tuple[System, Path | None]], tmp_path: Path
) -> None:
    """A build would go on, or leave gigabytes in the cache."""
    catalogue = load_catalogue()

    def interrupt(text: str) -> None:
        if text == "building linux-minimal":
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_ahead({"linux-minimal": (catalogue["linux-minimal"], None)}, (), interrupt)
    assert (tmp_path / "ended").exists()
    assert time.monotonic() - begun < 30


def test_one_that_is_needed_and_fails_ends_the_others(
    missing: dict[str, tuple[System, Path | None]], tmp_path: Path
) -> None:
    """The message that a compiler is missing would come after minutes of building Debian."""
    catalogue, begun = load_catalogue(), time.monotonic()
    both = {name: (catalogue[name], None) for name in ("linux-minimal", "reference-unikernel")}
    with pytest.raises(ImageError, match="no source"):
        build_ahead(both, ["reference-unikernel"], lambda _: None)
    assert time.monotonic() - begun < 30
