"""How the VMM's process is held by the host's kernel: its own filter of system calls, its user, its rights.

Sources: seccomp(2), proc(5).
"""

from __future__ import annotations

import re
from pathlib import Path

from guestbench.model import Frozen, Unknown

NO_PID = "the VMM has no process id"


class Confinement(Frozen):
    """What the VMM's process may do to the host.

    `sandbox` is whether its own system-call filter is on: asked for on the command line, and more filters in
    force than this process has itself, since a container's are inherited. `capabilities` are those in effect
    (CapEff): none is what an ordinary user has. `limits` says of CPU time, memory, file size and processes
    which are limited, and to what, unless this process is so too.
    """

    sandbox: bool | Unknown
    uid: int | Unknown
    capabilities: int | Unknown
    limits: tuple[str, ...] | Unknown


def parse_status(text: str) -> dict[str, str]:
    """The fields of a /proc/PID/status."""
    return dict(re.findall(r"(?m)^([A-Za-z_]{1,40}):[ \t]*(.*)$", text))


def judge_sandbox(
    option: str, mode: int | Unknown, filters: int | Unknown, own: int | Unknown
) -> bool | Unknown:
    """Whether the VMM's own filter is in force, from how it was asked for and the kernel's counts."""
    if isinstance(mode, Unknown):
        return mode
    asked = option.split(",")[0] in ("on", "enable=on")
    if not asked or mode != 2:
        return False
    if isinstance(filters, Unknown):
        return filters
    if isinstance(own, Unknown):
        return own
    return filters > own


def read_confinement(pid: int | None, option: str, proc: Path = Path("/proc")) -> Confinement:
    """How a VMM's process is held that was started with this sandbox option; empty if with none."""
    status = _read_status(proc / str(pid)) if pid is not None else Unknown(reason=NO_PID)
    inherited = _number(_read_status(proc / "self"), "Seccomp_filters")
    mode, filters = _number(status, "Seccomp"), _number(status, "Seccomp_filters")
    return Confinement(
        sandbox=judge_sandbox(option, mode, filters, inherited),
        uid=_number(status, "Uid"),
        capabilities=_number(status, "CapEff", 16),
        limits=_find_own_limits(proc, pid),
    )


def _read_status(folder: Path) -> dict[str, str] | Unknown:
    try:
        return parse_status((folder / "status").read_text())
    except OSError as error:
        return Unknown(reason=f"{folder}/status: {error.strerror}")


LIMITS = {
    "Max cpu time": "CPU time",
    "Max data size": "memory",
    "Max file size": "file size",
    "Max processes": "processes",
}


def _find_own_limits(proc: Path, pid: int | None) -> tuple[str, ...] | Unknown:
    """The limits that it has not inherited from this process."""
    if pid is None:
        return Unknown(reason=NO_PID)
    found, inherited = (_read_limits(proc / name) for name in (str(pid), "self"))
    if isinstance(found, Unknown) or isinstance(inherited, Unknown):
        return found
    return tuple(limit for limit in found if limit not in inherited)


def _read_limits(folder: Path) -> tuple[str, ...] | Unknown:
    try:
        text = (folder / "limits").read_text()
    except OSError as error:
        return Unknown(reason=f"{folder}/limits: {error.strerror}")
    rows = re.findall(r"(?m)^(Max [a-z ]+?) +(\d{1,20}) +\S+ +([a-z]+) *$", text)
    return tuple(f"{LIMITS[name]} {int(n):,} {unit}" for name, n, unit in rows if name in LIMITS)


def _number(status: dict[str, str] | Unknown, name: str, base: int = 10) -> int | Unknown:
    """The first number of a field."""
    if isinstance(status, Unknown):
        return status
    try:
        return int(status[name].split()[0], base)
    except (KeyError, IndexError, ValueError):
        return Unknown(reason=f"the kernel shows no {name} of a process")
