"""A real run is packed, unpacked elsewhere, checked, and made again by its own script."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from guestbench.host import process
from guestbench.run.store import read_store

EXAMPLES = Path(__file__).parents[3] / "examples"
EXPERIMENT = """
name = "packed"
title = "The floor and a guest of one's own"
systems = ["floor", "./hello"]
metrics = ["boot"]
cycles = 1
warmups = 0
[platform]
accel = "tcg"
"""


@pytest.mark.qemu
def test_a_run_is_made_again_where_nothing_of_it_is_left(tmp_path: Path) -> None:
    """A committee would need the machine, the folders or the cache of those who measured."""
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(EXAMPLES / "guests" / "hello", here / "hello")
    there.mkdir()
    (here / "own.toml").write_text(EXPERIMENT)
    guestbench = Path(sys.executable).with_name("guestbench")

    def call(folder: Path, *words: str | Path) -> str:
        environment = {"XDG_CACHE_HOME": str(folder / "cache"), "PATH": f"{guestbench.parent}:/usr/bin:/bin"}
        return process.run([*words], cwd=folder, env=environment, timeout_s=600).stdout.decode()

    call(here, guestbench, "run", "./own.toml", "--seed", "3", "-o", "run")
    call(here, guestbench, "artifact", "run", "-o", there / "it.tar.gz")
    shutil.rmtree(here / "hello")
    before, records = read_store(here / "run")
    shutil.rmtree(here)
    told = call(there, guestbench, "artifact", "--check", "it.tar.gz", "-o", "unpacked")
    assert "all the same, byte for byte" in told
    (root,) = (there / "unpacked").iterdir()
    assert (root / "guests" / "hello" / "hello.S").is_file()
    for record in records:
        log = (root / "run" / record.artifacts["serial"]).read_bytes()
        assert f"[{record.trial.system} ready]".encode() in log
    call(there, "sh", root / "reproduce.sh", "-o", "again")
    after, repeated = read_store(there / "again")
    assert [record.trial for record in repeated] == [record.trial for record in records]
    for guest in before.guests:
        found = after.find_guest(guest.system.name)
        assert found.pristine.keys() == guest.pristine.keys()
        for role, image in guest.pristine.items():
            assert found.pristine[role].sha256 == image.sha256
            assert found.pristine[role].path != image.path
    assert "boot.ready" in call(there, guestbench, "diff", root / "run", "again")
