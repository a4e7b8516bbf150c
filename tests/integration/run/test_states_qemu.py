"""A state that is being made when its run is stopped, on a real QEMU."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.model import Accel, Platform, Start, State
from guestbench.provision.cache import cache_folder
from guestbench.run.pool import execute_in_workers

BOOTED_S = 60.0


@pytest.mark.qemu
def test_a_run_that_is_stopped_leaves_nothing_of_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of a guest in the middle of its first boot would stay in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue["floor"], {}, catalogue, say=lambda _: None)
    state = State(
        guest=guest,
        platform=Platform(accel=Accel.TCG, memory_mib=64),
        start=Start(settle_s=1000.0),
        folder=str(tmp_path),
        parent_pid=os.getpid(),
    )
    begun = time.monotonic()
    started: list[Path] = []

    def tick() -> None:
        started.extend((cache_folder() / "work").glob("snapshot-*/vmm.stderr"))
        if started or time.monotonic() - begun > BOOTED_S:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(execute_in_workers([state], 1, tick))
    assert started, "QEMU was never started"
    assert list((cache_folder() / "work").iterdir()) == []
