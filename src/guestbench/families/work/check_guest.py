"""Runs known benchmark programs in a guest's shell, from a disk that holds a tree of them; it starts no VM.

Their figures are by their own clocks. They are there to check our own work against, and for nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from guestbench.errors import ShellError
from guestbench.families.work import cross_check, to_metric
from guestbench.families.work.cross_check import Check, HostProgram, Unreadable
from guestbench.guest.programs import TOOLS, open_tools
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell
from guestbench.model import (
    GIB,
    KIB,
    MIB,
    Crashed,
    Incomplete,
    Kit,
    Ok,
    OpenShell,
    Sample,
    Service,
    System,
    TrialResult,
)
from guestbench.vmm import Lacking, Machine

TOOL_S = 120.0
TRIES = 20
"""How often a client on the host is started: the server in the guest may not listen yet."""
TRANSFER_BYTES = 64 * MIB
PORTS = (cross_check.IPERF3_PORT, Service.HTTP.port)
"""The guest's ports that these tools need to be forwarded."""
PREPARE = " && ".join(
    (
        f"mount --bind /dev {TOOLS}/dev",
        f"mount --bind /proc {TOOLS}/proc",
        f"mount -t tmpfs tmpfs {TOOLS}/tmp",
    )
)

IN_GUEST: dict[str, Callable[[], Check]] = {
    "sysbench-cpu": lambda: cross_check.sysbench_cpu(events=1000),
    "sysbench-memory-write-1m": lambda: cross_check.sysbench_memory(block_bytes=MIB, total_bytes=4 * GIB),
    "sysbench-memory-read-1m": lambda: cross_check.sysbench_memory(
        block_bytes=MIB, total_bytes=4 * GIB, operation="read"
    ),
    "sysbench-memory-write-1k": lambda: cross_check.sysbench_memory(block_bytes=KIB, total_bytes=GIB),
    "stress-ng-matrix": cross_check.stress_ng_matrix,
}
FROM_HOST = ("iperf3-in", "iperf3-out")
TOOL_NAMES = (*IN_GUEST, *FROM_HOST)


def run_tool(
    machine: Machine, system: System, log: SerialLog, kit: Kit, tool: str, open_: OpenShell | None = None
) -> TrialResult:
    """Run one of the tools, in the shell that is open, or after a login.

    Raises:
        ToolMissing: a tool that runs on the host is not in the tree.
    """
    try:
        shell = open_tools(machine, system, log, open_)
        answer = shell.run(PREPARE)
        if answer.status != 0:
            return TrialResult(outcome=Crashed(reason=f"{tool}: its tree cannot be prepared in the guest"))
        if tool in IN_GUEST:
            found, raw = _run_in_guest(shell, IN_GUEST[tool]())
        else:
            found, raw = _run_iperf3(shell, machine, kit, reverse=tool == "iperf3-out")
    except ShellError as error:
        return TrialResult(outcome=Incomplete(reason=error.message))
    kept = {f"{tool}.txt": raw} if raw else {}
    if isinstance(found, Unreadable):
        return TrialResult(outcome=Crashed(reason=f"{tool}: {found.reason}"), raw=kept)
    return TrialResult(outcome=Ok(), samples=(Sample(metric=to_metric(tool), value=found),), raw=kept)


def _run_in_guest(shell: Shell, check: Check) -> tuple[float | Unreadable, bytes]:
    answer = shell.run(f"chroot {TOOLS} {check.command}", timeout_s=TOOL_S)
    output = answer.stdout + answer.stderr
    if answer.status != 0:
        return Unreadable(reason=f"it ended with status {answer.status}"), output
    return check.parse(output), output


def _run_iperf3(
    shell: Shell, machine: Machine, kit: Kit, *, reverse: bool
) -> tuple[float | Unreadable, bytes]:
    if isinstance(machine.forwards, Lacking):
        return Unreadable(reason=machine.forwards.reason), b""
    server = " ".join(cross_check.iperf3_server())
    shell.run(f"chroot {TOOLS} {server} </dev/null >/dev/null 2>&1 &")
    port = machine.forwards[cross_check.IPERF3_PORT]
    check = cross_check.iperf3_client(port, size_bytes=TRANSFER_BYTES, reverse=reverse)
    with HostProgram(check, kit.host_tools["iperf3"], timeout_s=TOOL_S, tries=TRIES) as running:
        while running.result is None:
            time.sleep(running())
        return running.result, b""
