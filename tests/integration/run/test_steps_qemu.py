"""The steps of an experiment on a real QEMU: what a change saves is told, and quiet guests get ready."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from guestbench.analysis.analyse import analyse
from guestbench.host import process
from guestbench.model import Ok, Verdict
from guestbench.run.store import read_store

pytestmark = [pytest.mark.qemu, pytest.mark.network]

ONLY = ("linux-app", "linux-app-quiet", "reference-unikernel")


def test_a_quiet_kernel_and_a_library_operating_system_are_steps_that_are_told(tmp_path: Path) -> None:
    """The waterfall would have no bars, because a guest of it never gets ready."""
    folder = tmp_path / "run"
    argv = [
        sys.executable,
        "-m",
        "guestbench",
        "run",
        "where-the-time-goes",
        "--accel",
        "tcg",
        "-o",
        str(folder),
    ]
    argv += [word for name in ONLY for word in ("--only-system", name)]
    process.run([*argv, "--cycles", "1", "--warmups", "0", "--set", "cost.boots=1"])
    header, records = read_store(folder)
    assert all(isinstance(record.outcome, Ok) for record in records)
    gains = analyse(header, records).gains
    steps = {gain.step.what for gain in gains}
    assert steps == {"a quiet kernel", "a library operating system for a kernel"}
    (size,) = (g for g in gains if g.found.metric == "image.file" and g.step.after == "reference-unikernel")
    assert size.found.verdict is Verdict.SMALLER
    (counted,) = (
        g.found.difference
        for g in gains
        if g.found.metric == "cost.instructions_guest" and g.step.after == "reference-unikernel"
    )
    assert counted is not None
    assert counted < -1e9
