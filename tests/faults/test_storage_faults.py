"""Disks that fill up, folders that change, and caches that are shared, under real runs of `floor`.

What needs a small disk runs in a mount namespace of its own, with a tmpfs in it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guestbench.provision import cache
from guestbench.run.store import read_store

GUESTBENCH = shlex.join([sys.executable, "-m", "guestbench"])
RUN = (
    f"{GUESTBENCH} run seed --metrics boot --accel tcg --warmups 0 --set platform.memory_mib=64 "
    "--only-system floor"
)
FIND = "find disk/guestbench/work disk/guestbench/images -mindepth 1"
"""Lists what a build has left in the small cache."""
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
CAN_MOUNT = bool(shutil.which("unshare")) and not subprocess.run([*UNSHARE, "true"], check=False).returncode

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.slow,
    pytest.mark.skipif(not CAN_MOUNT, reason="this host lets no user mount in a namespace of their own"),
]


class Script:
    """A shell script that has been run, with what each of its commands said."""

    def __init__(self, folder: Path, size: str, script: str, **environment: str) -> None:
        disk = folder / "disk"
        disk.mkdir()
        lines = f"set -e\nmount -t tmpfs -o size={size} none {shlex.quote(str(disk))}\n{script}"
        done = subprocess.run(
            [*UNSHARE, "sh", "-c", lines],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), **environment},
            capture_output=True,
            timeout=300,
            check=False,
        )
        self.said = done.stderr.decode()
        self.printed = done.stdout.decode()

    def check_error(self, words: str) -> None:
        """One error and one hint, and no traceback."""
        lines = self.said.splitlines()
        lines = [line for line in lines if not line.startswith("find: ")]
        errors = [line for line in lines if line.startswith("error: ")]
        assert len(errors) == 1, self.said
        assert words in errors[0]
        assert lines[-1].startswith("hint: "), self.said
        assert "Traceback" not in self.said


@pytest.mark.parametrize("size", ["60k", "64k", "72k"])
def test_a_disk_that_fills_up_in_mid_run_keeps_every_trial(size: str, tmp_path: Path) -> None:
    """A full disk would cost what was measured before, or leave halves of trials."""
    done = Script(
        tmp_path,
        size,
        f"{RUN} --cycles 6 -o disk/run >/dev/null || cp -r disk/run before\n"
        f"mount -o remount,size=20m none disk\n{GUESTBENCH} run --resume disk/run >/dev/null 2>&1\n"
        "cp -r disk/run after; find disk -name '.*' -o -name '*.tmp'",
    )
    done.check_error("No space left on device")
    assert done.printed == ""
    header, before = read_store(tmp_path / "before")
    _, after = read_store(tmp_path / "after")
    assert 0 < len(before) < len(after) == len(header.trials)
    assert after[: len(before)] == before


def test_a_disk_that_is_full_when_the_report_is_written_keeps_the_run(tmp_path: Path) -> None:
    """A report would be there by half, or the old one be gone."""
    done = Script(
        tmp_path,
        "4m",
        f"{RUN} --cycles 2 -o disk/run >/dev/null 2>&1; cp -r disk/run before\n"
        "dd if=/dev/zero of=disk/fill bs=1k 2>/dev/null || true\n"
        f"{GUESTBENCH} report disk/run || cp -r disk/run after",
    )
    done.check_error("No space left on device")
    assert list_files(tmp_path / "before") == list_files(tmp_path / "after")


def list_files(folder: Path) -> dict[str, bytes]:
    """The files of a folder with what is in them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(("system", "size"), [("floor", "4k"), ("reference-unikernel", "40k")])
def test_a_full_cache_is_one_error_and_leaves_nothing(system: str, size: str, tmp_path: Path) -> None:
    """A build would hang, blame the compiler, or leave what it could not finish."""
    done = Script(
        tmp_path,
        size,
        f"{GUESTBENCH} systems build {system} || {FIND}",
        XDG_CACHE_HOME=str(tmp_path / "disk"),
    )
    done.check_error("No space left on device")
    assert "hint: df -h" in done.said
    assert done.printed == ""


def test_a_snapshot_for_which_there_is_no_room_is_one_error(tmp_path: Path) -> None:
    """The state of a guest would be kept by half, and be gone on from."""
    done = Script(
        tmp_path,
        "1m",
        f"""{GUESTBENCH} systems build floor >/dev/null 2>&1
{sys.executable} - <<'END' || {FIND} -not -path '*/floor*'
from guestbench import provision
from guestbench.cli import talk
from guestbench.definition.systems import load_catalogue
from guestbench.errors import GuestbenchError
from guestbench.model import Accel, Platform
catalogue = load_catalogue()
guest = provision.locate(catalogue["floor"], {{}}, catalogue)
open("disk/fill", "wb").write(bytes(700_000))
try:
    provision.take_snapshot(guest, Platform(accel=Accel.TCG, memory_mib=64), lambda _: None)
except GuestbenchError as error:
    talk.fail(error.messages, error.hint)
    raise SystemExit(3)
END""",
        XDG_CACHE_HOME=str(tmp_path / "disk"),
    )
    done.check_error("")
    assert done.printed == ""


@pytest.mark.skipif(not shutil.which("setpriv"), reason="there is no setpriv")
def test_a_folder_that_becomes_read_only_keeps_every_trial(tmp_path: Path) -> None:
    """Somebody who protects their results would lose them."""
    # root writes wherever it wants to, unless it lacks the capability.
    drop = "-dac_override,-dac_read_search"
    bare = f"setpriv --bounding-set={drop} --inh-caps={drop}"
    done = Script(
        tmp_path,
        "20m",
        f"{bare} {RUN} --cycles 6 -o disk/run >/dev/null &\n"
        "until [ $(cat disk/run/store.jsonl 2>/dev/null | wc -l) -gt 3 ]; do sleep 0.05; done\n"
        "chmod -R a-w disk/run; wait; cp -r disk/run before; chmod -R u+w disk/run\n"
        f"{bare} {GUESTBENCH} run --resume disk/run >/dev/null 2>&1; cp -r disk/run after",
    )
    done.check_error("Permission denied")
    header, before = read_store(tmp_path / "before")
    _, after = read_store(tmp_path / "after")
    assert 3 <= len(before) < len(after) == len(header.trials)
    assert after[: len(before)] == before


def test_two_that_build_the_same_image_at_once_build_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs of CI on a host would each destroy what the other is building."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    argv = [sys.executable, "-m", "guestbench", "systems", "build", "floor"]
    builds = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(6)]
    said = b"".join(build.communicate(timeout=120)[1] for build in builds)
    assert [build.returncode for build in builds] == [0] * 6
    assert said.count(b"building floor: done") == 1
    assert len(list((cache.cache_folder() / "images").glob("floor-*"))) == 1
    assert list((cache.cache_folder() / "work").iterdir()) == []


def test_a_run_keeps_its_images_from_being_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making room on a full disk would cost the run that has filled it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prune = [*shlex.split(GUESTBENCH), "cache", "prune", "--max-size", "0"]
    argv = [*shlex.split(RUN), "--cycles", "6", "-o", str(tmp_path / "run")]
    store = tmp_path / "run" / "store.jsonl"
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + 60
        while not (store.exists() and store.read_bytes().count(b"\n") > 2) and time.monotonic() < deadline:
            time.sleep(0.05)
        during = subprocess.run(prune, capture_output=True, check=True, timeout=60)
        _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said.decode()
    assert b"in use)" in during.stderr
    assert b"floor-" not in during.stdout
    assert b"floor-" in subprocess.run(prune, capture_output=True, check=True, timeout=60).stdout
    assert list((cache.cache_folder() / "images").glob("floor-*")) == []
