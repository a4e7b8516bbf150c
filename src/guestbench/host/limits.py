"""What a process that we start may take of this host, and as whom it runs; set between its fork and exec.

Sources: setrlimit(2), capabilities(7), user_namespaces(7). The user ids are those that systemd gives to
services which have no user of their own, and calls dynamic.
"""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Iterable
from pathlib import Path

from guestbench.model import MIB, Frozen

FIRST_USER, USERS = 61184, 4000
"""The ids of users that nobody is."""
LAST_S = 10
# To end the process, to become another user, to look into its memory, to pin it to a CPU.
_CAPABILITIES = {"CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SYS_PTRACE": 19, "CAP_SYS_NICE": 23}
_REFUSED = re.compile(r"[Cc](?:annot|ould not) allocate|failed to allocate|[Oo]ut of memory")


class Limits(Frozen):
    """The most that a process may take; None where nothing can be said.

    `cpu_s` is CPU time of all its threads, `memory_bytes` memory of its own (RLIMIT_DATA: what it allocates,
    no files and nothing shared), `file_bytes` the size of each file that it writes, and `processes` how many
    threads its user may have.
    """

    cpu_s: int
    memory_bytes: int | None = None
    file_bytes: int | None = None
    processes: int | None = None

    def enforce(self) -> None:
        """Set them for this process, for good; one that is lower already stays. It leaves no core behind."""
        bounds = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_CPU: self.cpu_s,
            resource.RLIMIT_DATA: self.memory_bytes,
            resource.RLIMIT_FSIZE: self.file_bytes,
            resource.RLIMIT_NPROC: self.processes,
        }
        for kind, bound in bounds.items():
            if bound is not None:
                _, most = resource.getrlimit(kind)
                # At its hard limit of CPU time a process is killed without a word.
                hard = bound + LAST_S if kind == resource.RLIMIT_CPU else bound
                hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
                resource.setrlimit(kind, (min(bound, hard), hard))

    def find_reached(self, status: int, said: str) -> str:
        """Which limit a process reached that ended with this status (negative: the signal); empty if none."""
        if status == -signal.SIGXCPU:
            return f"it reached its limit of {self.cpu_s:,} s of CPU time"
        if status == -signal.SIGXFSZ and self.file_bytes is not None:
            return f"it reached its limit of {self.file_bytes // MIB:,} MiB for a file"
        if status and self.memory_bytes is not None and _REFUSED.search(said):
            return f"it got no more memory, of which its limit is {self.memory_bytes // MIB:,} MiB"
        return ""


class Stays(Frozen):
    """In the place of a user: why a process runs as the one who starts it."""

    reason: str


class Held(Frozen):
    """How a process is held: its limits, and the id of the user that it runs as, with its group alone.

    Where that is None it runs as whoever starts it, and `stays` says why.
    """

    limits: Limits
    user: int | None = None
    stays: str = ""


def choose_user(
    reads: Iterable[Path], writes: Iterable[Path] = (), needs: str = "", proc: Path = Path("/proc/self")
) -> int | Stays:
    """The id of a user that owns nothing, for a process that opens these files by name; or why it stays.

    Only root can become another. `needs` says for what else root is needed.
    """
    if os.geteuid() != 0:
        return Stays(reason="guestbench does not run as root")
    if needs:
        return Stays(reason=needs)
    user = FIRST_USER + os.getpid() % USERS
    if obstacle := _find_obstacle(proc, user):
        return Stays(reason=obstacle)
    for paths, right, word in ((reads, 0o4, "read"), (writes, 0o2, "written")):
        for path in paths:
            if closed := _find_closed(path.absolute(), right):
                return Stays(reason=f"{path} could not be {word} by others: {closed} is closed to them")
    return user


def _find_obstacle(proc: Path, user: int) -> str:
    status = (proc / "status").read_text()
    found = re.search(r"(?m)^CapEff:\s*([0-9a-f]+)$", status)
    held = int(found[1], 16) if found else 0
    if lacking := [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]:
        return f"root lacks {', '.join(lacking)} here"
    for name in ("uid_map", "gid_map"):
        rows = [tuple(map(int, line.split())) for line in (proc / name).read_text().splitlines()]
        if not any(first <= user < first + count for first, _, count in rows):
            return "this user namespace has no such user"
    return ""


def _find_closed(path: Path, right: int) -> Path | None:
    """The file or folder on the way to it at which whoever owns nothing is stopped."""
    for link in (path, path.resolve()):
        for folder in reversed(link.parents):
            if not _allows(folder, 0o1):
                return folder
    return None if _allows(path, right) else path


def _allows(path: Path, right: int) -> bool:
    try:
        return bool(path.stat().st_mode & right)
    except OSError:
        return False


def become(user: int) -> None:
    """Become that user, and a group of the same id, for good. Undoes what `die_with_parent` asked for."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
