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
    (CapEff): none is what an ordinary user has.
    """

    sandbox: bool | Unknown
    uid: int | Unknown
    capabilities: int | Unknown


def parse_status(text: str) -> dict[str, str]:
    """The fields of a /proc/PID/status."""
    return dict(re.findall(r"(?m)^([A-Za-z_]{1,40}):\s*(.*)$", text))


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
    )


def _read_status(folder: Path) -> dict[str, str] | Unknown:
    try:
        return parse_status((folder / "status").read_text())
    except OSError as error:
        return Unknown(reason=f"{folder}/status: {error.strerror}")


def _number(status: dict[str, str] | Unknown, name: str, base: int = 10) -> int | Unknown:
    """The first number of a field."""
    if isinstance(status, Unknown):
        return status
    try:
        return int(status[name].split()[0], base)
    except (KeyError, IndexError, ValueError):
        return Unknown(reason=f"the kernel shows no {name} of a process")
