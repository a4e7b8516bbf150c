"""The recorded run as an artifact, and changes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from guestbench.artifact.archive import Member, read_archive, write_archive
from guestbench.cli import run_cli
from guestbench.run.store import STORE_NAME, read_store

RUN = Path(__file__).parents[1] / "recordings" / "two-kernels"
NAME = "20261127-022959-two-kernels"
LOG = "run/trials/004-warmup-floor-1/serial.log"


def copy_recorded(folder: Path) -> Path:
    """The recorded run in a folder below this one, with a file for each that its store names but one."""
    run = folder / "run"
    run.mkdir()
    shutil.copy(RUN / STORE_NAME, run)
    _, records = read_store(run)
    for path in [path for record in records for path in record.artifacts.values()][:-1]:
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        (run / path).write_bytes(f"what {path} had\n".encode())
    return run


def pack(run: Path) -> Path:
    """The archive of a run, beside it."""
    path = run.parent / "packed.tar.gz"
    assert run_cli(["artifact", str(run), "-o", str(path)]) == 0
    return path


def read_members(archive: Path) -> dict[str, Member]:
    """What is in an archive, by the paths in the artifact."""
    return {name.partition("/")[2]: each for name, each in read_archive(archive)}


def repack(folder: Path, members: dict[str, Member]) -> Path:
    """An archive of these."""
    path = folder / "changed.tar.gz"
    path.write_bytes(write_archive(members, NAME))
    return path


def edit(path: str, old: str, new: str) -> Callable[[dict[str, Member]], None]:
    """A change of a text in a file of an artifact."""

    def change(members: dict[str, Member]) -> None:
        text = members[path].data.decode()
        assert old in text
        members[path] = members[path]._replace(data=text.replace(old, new, 1).encode())

    return change
