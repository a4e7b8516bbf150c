"""What a process may take of the host, and as whom it runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from guestbench.families.surface.host.confinement import parse_status
from guestbench.host import limits, process
from guestbench.host.limits import FIRST_USER, USERS, Held, Limits, Stays, choose_user
from guestbench.model import MIB

ROOMY = Limits(cpu_s=1000)
EVERY_RIGHT = "Name:\tx\nCapEff:\t000001ffffffffff\n"
WHOLE_MAP = "         0          0 4294967295\n"


def run(code: str, bounds: Limits) -> tuple[int | None, str]:
    """How a Python program ended under limits, and what it said."""
    with process.start([sys.executable, "-Ic", code], stdout=process.PIPE, held=Held(limits=bounds)) as child:
        assert child.stdout is not None
        said = child.stdout.read().decode()
        return child.wait(60), said


def test_a_file_ends_at_its_limit(tmp_path: Path) -> None:
    """A guest that makes its VMM write on and on would fill the host's disk."""
    bounds = Limits(cpu_s=1000, file_bytes=MIB)
    file = str(tmp_path / "f")
    code = f"import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nopen({file!r}, 'wb')"
    status, _ = run(f"{code}.write(bytes(3 << 20))", bounds)
    assert status == -signal.SIGXFSZ
    assert (tmp_path / "f").stat().st_size == MIB
    assert bounds.find_reached(status, "") == "it reached its limit of 1 MiB for a file"


def test_memory_ends_at_its_limit() -> None:
    """A guest that makes its VMM allocate on and on would take the whole host's memory."""
    code = "try: bytearray(600 << 20)\nexcept MemoryError: print('refused')\nelse: print('taken')"
    assert run(code, Limits(cpu_s=1000, memory_bytes=300 * MIB)) == (0, "refused\n")
    assert run(code, ROOMY) == (0, "taken\n")


def test_cpu_time_ends_at_its_limit() -> None:
    """A VMM that spins behind a worker that hangs would spin for days."""
    status, _ = run("while True: pass", Limits(cpu_s=1))
    assert status == -signal.SIGXCPU
    assert Limits(cpu_s=1).find_reached(status, "") == "it reached its limit of 1 s of CPU time"


def test_no_core_is_left_behind() -> None:
    """A VMM that crashes would leave gigabytes of its guest's memory on the disk."""
    assert run("import resource; print(resource.getrlimit(resource.RLIMIT_CORE))", ROOMY) == (0, "(0, 0)\n")


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (1, "qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory", "got no more memory"),
        (
            -signal.SIGTRAP,
            "GLib-ERROR: gmem.c:136: failed to allocate 40 bytes",
            "got no more memory",
        ),
        (1, "could not open disk image", ""),
        (0, "Cannot allocate memory", ""),
        (-signal.SIGSEGV, "", ""),
    ],
)
def test_only_what_was_reached_is_named(status: int, said: str, told: str) -> None:
    """A crash would be called a limit, or a limit a crash of QEMU's own."""
    found = Limits(cpu_s=1, memory_bytes=MIB).find_reached(status, said)
    assert (told in found) if told else not found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host on which we are root, with a file that others may read; its folder, in a place all may pass."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(limits, "_allows", _allows_below(tmp_path))
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/status").write_text(EVERY_RIGHT)
    for name in ("uid_map", "gid_map"):
        (tmp_path / "proc" / name).write_text(WHOLE_MAP)
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open/image").write_text("")
    (tmp_path / "open/image").chmod(0o644)
    return tmp_path


def _allows_below(base: Path) -> object:
    real = limits._allows
    return lambda path, right: not path.is_relative_to(base) or path == base or real(path, right)


def choose(host: Path, *reads: str, writes: tuple[str, ...] = (), needs: str = "") -> int | Stays:
    """Who runs what opens these files."""
    return choose_user([host / n for n in reads], [host / n for n in writes], needs, host / "proc")


def test_root_is_left_where_others_can_do_the_work(host: Path) -> None:
    """An escape from QEMU would be an escape to root, though root was not needed."""
    user = choose(host, "open/image")
    assert isinstance(user, int)
    assert FIRST_USER <= user < FIRST_USER + USERS


def test_why_root_stays_is_told(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial would fail where root was needed, or nobody know why QEMU ran as root."""

    def why(*reads: str, writes: tuple[str, ...] = (), needs: str = "") -> str:
        found = choose(host, *reads, writes=writes, needs=needs)
        assert isinstance(found, Stays)
        return found.reason

    assert why("open/image", needs="a tap device") == "a tap device"
    assert "open/image is closed to them" in why("open/image", writes=("open/image",))
    assert "open/none is closed to them" in why("open/none")
    (host / "open/link").symlink_to("../shut/image")
    (host / "shut").mkdir(mode=0o700)
    (host / "shut/image").write_text("")
    assert f"read by others: {host}/shut is closed to them" in why("shut/image")
    assert f"{host}/shut is closed to them" in why("open/link")
    (host / "proc/uid_map").write_text("0 1000 1\n1 100000 60000\n")
    assert "no such user" in why("open/image")
    (host / "proc/status").write_text("CapEff:\t00000000a80425fb\n")  # what a container's root has
    assert why("open/image") == "root lacks CAP_SYS_PTRACE, CAP_SYS_NICE here"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why("open/image") == "guestbench does not run as root"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_has_no_rights_and_dies_with_us() -> None:
    """It would be root in all but name, or outlive a guestbench that is killed."""
    user = FIRST_USER
    with process.start(
        ["cat", "/proc/self/status"], stdout=process.PIPE, held=Held(limits=ROOMY, user=user)
    ) as child:
        assert child.stdout is not None
        told = parse_status(child.stdout.read().decode())
    assert told["Uid"].split() == told["Gid"].split() == [str(user)] * 4
    assert (told["Groups"], int(told["CapEff"], 16), int(told["CapPrm"], 16)) == ("", 0, 0)
    code = f"""
from guestbench.host import limits, process
held = limits.Held(limits=limits.Limits(cpu_s=1000), user={user})
with process.start(["sleep", "1000"], held=held) as child:
    print(child.pid, flush=True)
    child.wait(1000)
"""
    with process.start([sys.executable, "-c", code], stdout=process.PIPE) as parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child_pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
