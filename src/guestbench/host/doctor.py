"""Says what this host has and lacks for a comparison, each with the line that mends it; it mends nothing.

Two steps: `take_readings` looks at the host, `judge` is pure, so that any host can be judged by its readings.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from guestbench.errors import HostError, ToolMissing
from guestbench.host import facts as host
from guestbench.host import process
from guestbench.host.accel import KVM_DEVICE
from guestbench.model import GIB, Frozen

BootKvm = Callable[[], tuple[bool, str]]
"""Boots a guest with KVM; returns whether it got ready, and what was seen."""

PYTHON_MIN = (3, 11)

SPACE_WANTED = 6 * GIB
"""The virtual size of the largest image while it is built, and what is kept of it afterwards."""
MEMORY_WANTED_MIB = 1024
"""A guest of the default experiment, and as much again for QEMU's own memory under software emulation."""
LOAD_BUSY = 0.3
"""Load per CPU that counts as busy: on two cores, more than half of what the measured guest leaves free."""

APT_INSTALL = "sudo apt-get install --no-install-recommends"
"""As root it is said and called without sudo."""
MEND_USER_NAMESPACE = "sudo sysctl kernel.unprivileged_userns_clone=1"
MEND_APPARMOR = "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
MEND_GOVERNOR = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
MEND_BOOST = "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost"
MEND_TURBO = "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"


class Status(StrEnum):
    """`fail`: the default comparison cannot run. `warn`: it runs, but slower, noisier or with less in it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(Frozen):
    """One thing looked at: what was found and, unless all is well, the line that mends it."""

    name: str
    status: Status
    found: str
    mend: str = ""


class Readings(Frozen):
    """What was seen of a host. `missing` are programs; `kvm_boot` is empty where there is nothing to try.

    `namespace` tells whether a user namespace could be made, and what was said if not.
    """

    python: tuple[int, int, int]
    qemu: str
    qemu_wrong: str
    missing: tuple[str, ...]
    kvm_device: bool
    kvm_usable: bool
    kvm_boot: tuple[bool, str] | None
    root: bool
    namespace: tuple[bool, str]
    subordinate_ids: bool
    apparmor_restricts: bool
    cache: str
    free_bytes: int
    memory_available_mib: int | None
    swap_used_mib: int
    cpus: int
    cpus_allowed: int
    load_1m: float
    other_vms: int
    governor: str
    boost: bool | None
    intel_pstate: bool
    virtualization: str


def take_readings(boot_kvm: BootKvm, cache: Path, root: Path = host.ROOT) -> Readings:
    """Look at the host below `root`; programs, users and the `cache` of images are always this machine's.

    `boot_kvm` is called only where /dev/kvm can be opened and QEMU is there.
    """
    try:
        qemu, qemu_wrong = host.find_qemu_version(), ""
    except HostError as wrong:
        qemu, qemu_wrong = "", wrong.message
    memory = host.read_memory(root)
    device = root / KVM_DEVICE.relative_to("/")
    usable = os.access(device, os.R_OK | os.W_OK)
    policy = host.read_cpu_policy(root)
    return Readings(
        python=sys.version_info[:3],
        qemu=qemu,
        qemu_wrong=qemu_wrong,
        missing=find_missing(),
        kvm_device=device.exists(),
        kvm_usable=usable,
        kvm_boot=boot_kvm() if usable and qemu else None,
        root=os.geteuid() == 0,
        namespace=host.try_user_namespace(),
        subordinate_ids=host.has_subordinate_ids(_user_name(), os.getuid(), root),
        apparmor_restricts=host.is_switched_on("kernel/apparmor_restrict_unprivileged_userns", root),
        cache=str(cache),
        free_bytes=host.free_bytes(cache),
        memory_available_mib=memory["MemAvailable"] // 1024 if "MemAvailable" in memory else None,
        swap_used_mib=(memory["SwapTotal"] - memory["SwapFree"]) // 1024,
        cpus=host.read_cpus(root),
        cpus_allowed=len(os.sched_getaffinity(0)),
        load_1m=host.read_load(root),
        other_vms=host.count_other_vms(root=root),
        governor=policy.governor,
        boost=policy.boost,
        intel_pstate=(root / "sys/devices/system/cpu/intel_pstate/no_turbo").exists(),
        virtualization=host.find_virtualization(root),
    )


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def find_missing() -> tuple[str, ...]:
    """The programs, and files by their paths, that guestbench needs and this host has not."""
    return tuple(each for each in process.DEBIAN_PACKAGES if not _is_installed(each))


def find_apt_line() -> list[str]:
    """The command that installs the packages of what is missing; empty if nothing is.

    Raises:
        HostError: something is missing, and this is no Debian system.
    """
    missing = find_missing()
    if missing and not _is_installed("apt-get"):
        raise HostError(
            f"not a Debian system, and these are not there: {', '.join(missing)}", "guestbench doctor"
        )
    packages = sorted({process.DEBIAN_PACKAGES[each] for each in missing})
    line = [*APT_INSTALL.split(), "--yes", *packages] if packages else []
    return line[1:] if os.geteuid() == 0 else line


def _is_installed(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    try:
        process.find_tool(program)
    except ToolMissing:
        return False
    return True


# --- judging ------------------------------------------------------------------------------------------


def judge(seen: Readings) -> tuple[Check, ...]:
    """What the readings mean, in the order in which one would mend things."""
    checks = (
        _check_python(seen),
        _check_qemu(seen),
        *_check_programs(seen),
        _check_namespaces(seen),
        _check_space(seen),
        _check_memory(seen),
        _check_kvm(seen),
        _check_load(seen),
        _check_other_vms(seen),
        _check_cpus(seen),
        *_check_frequency(seen),
    )
    if not seen.root:
        return checks
    # Root needs no sudo, and small systems have none.
    return tuple(msgspec.structs.replace(each, mend=each.mend.replace("sudo ", "")) for each in checks)


def find_lacks(checks: Sequence[Check]) -> tuple[Check, ...]:
    """What keeps the default comparison from running here."""
    return tuple(check for check in checks if check.status is Status.FAIL)


def _check(
    name: str, well: bool, found: str, amiss: str, mend: str, otherwise: Status = Status.WARN
) -> Check:
    """What was found; unless all is well, followed by what is amiss with it."""
    if well:
        return Check(name=name, status=Status.OK, found=found)
    return Check(name=name, status=otherwise, found=found + amiss, mend=mend)


def _check_python(seen: Readings) -> Check:
    found, wanted = (".".join(map(str, version)) for version in (seen.python, PYTHON_MIN))
    well = seen.python[:2] >= PYTHON_MIN
    return _check("Python", well, found, f", older than {wanted}", _install("python3"), Status.FAIL)


def _check_qemu(seen: Readings) -> Check:
    mend = _install(process.DEBIAN_PACKAGES[host.QEMU])
    return _check("QEMU", bool(seen.qemu), seen.qemu, seen.qemu_wrong, mend, Status.FAIL)


def _check_programs(seen: Readings) -> Iterator[Check]:
    others = [each for each in process.DEBIAN_PACKAGES if each != host.QEMU]
    lacking = [each for each in others if each in seen.missing]
    if not lacking:
        yield Check(name="programs", status=Status.OK, found=", ".join(others))
    for program in lacking:
        package = process.DEBIAN_PACKAGES[program]
        # Root can build without a user namespace, so it can do without the program that maps ids into one.
        status = Status.WARN if program == "newuidmap" and seen.root else Status.FAIL
        yield Check(name=program, status=status, found="not installed", mend=_install(package))


def _check_namespaces(seen: Readings) -> Check:
    name = "user namespaces"
    possible, said = seen.namespace
    if possible and (seen.subordinate_ids or seen.root):
        return Check(name=name, status=Status.OK, found="one could be made")
    if seen.root:
        return Check(name=name, status=Status.OK, found="none can be made; image builds run as root instead")
    if not possible:
        found = f"none can be made: {said or 'no reason given'}"
        mend = MEND_APPARMOR if seen.apparmor_restricts else MEND_USER_NAMESPACE
    else:
        found, mend = "this user has no ids to map in /etc/subuid and /etc/subgid", host.MEND_SUBORDINATE_IDS
    return Check(name=name, status=Status.FAIL, found=found, mend=mend)


def _check_space(seen: Readings) -> Check:
    found = f"{seen.free_bytes / GIB:.1f} GiB free for {seen.cache}"
    amiss = f"; building the images needs {SPACE_WANTED / GIB:.0f} GiB"
    mend = "export XDG_CACHE_HOME=DIR  # a folder with more room"
    return _check("disk space", seen.free_bytes >= SPACE_WANTED, found, amiss, mend, Status.FAIL)


def _check_memory(seen: Readings) -> Check:
    if seen.memory_available_mib is None:
        found = "how much is available is unknown: /proc/meminfo has no MemAvailable"
        return _check("memory", False, found, f"; {MEMORY_WANTED_MIB} MiB are wanted", "cat /proc/meminfo")
    swapped = f", {seen.swap_used_mib} MiB swapped out" if seen.swap_used_mib else ""
    found = f"{seen.memory_available_mib} MiB available{swapped}"
    well = seen.memory_available_mib >= MEMORY_WANTED_MIB
    mend = "ps -eo rss,pid,comm --sort=-rss | head"
    return _check("memory", well, found, f"; {MEMORY_WANTED_MIB} MiB are wanted", mend)


def _check_kvm(seen: Readings) -> Check:
    emulated = "guests run under software emulation (tcg)"
    nested = f" (nested: this machine runs in {seen.virtualization})" if seen.virtualization != "none" else ""
    well = bool(seen.kvm_boot and seen.kvm_boot[0])
    if not seen.kvm_device:
        found = f"no {KVM_DEVICE}; {emulated}"
        mend = "sudo modprobe kvm_intel || sudo modprobe kvm_amd"
    elif not seen.kvm_usable:
        found = f"{KVM_DEVICE} cannot be opened by this user; {emulated}"
        mend = 'sudo usermod --append --groups kvm "$USER"  # then log in again'
    elif seen.kvm_boot is None:
        found = f"{KVM_DEVICE} is there, but without QEMU it cannot be tried"
        mend = _install("qemu-system-x86")
    elif well:
        found, mend = f"{seen.kvm_boot[1]}{nested}; each run tries it with its own guests", ""
    else:
        found = f"{KVM_DEVICE} is there, but a guest did not boot with it{nested}: {seen.kvm_boot[1]}"
        found, mend = f"{found}; {emulated}", "guestbench run --accel tcg"
    return _check("KVM", well, found, "", mend)


def _check_load(seen: Readings) -> Check:
    found = f"load {seen.load_1m:.2f} on {seen.cpus} CPUs"
    well = seen.load_1m <= LOAD_BUSY * seen.cpus
    mend = "ps -eo pcpu,pid,comm --sort=-pcpu | head"
    return _check("load", well, found, "; what else runs will show in the figures", mend)


def _check_other_vms(seen: Readings) -> Check:
    found = f"{seen.other_vms} running" if seen.other_vms else "none running"
    amiss = "; they share CPUs and caches with what is measured"
    return _check("other VMs", not seen.other_vms, found, amiss, "ps -C qemu-system-x86 -o pid,pcpu,args")


def _check_cpus(seen: Readings) -> Check:
    found = f"{seen.cpus_allowed} of {seen.cpus} for this process"
    amiss = "; with one CPU the measuring process and the guest take turns"
    return _check("CPUs", seen.cpus_allowed >= 2, found, amiss, "taskset --cpu-list --pid $$")


def _check_frequency(seen: Readings) -> Iterator[Check]:
    if seen.governor:
        amiss = ": the clock follows the load, and times with it"
        steady = seen.governor == "performance"
        yield _check("CPU governor", steady, seen.governor, amiss, MEND_GOVERNOR)
    if seen.boost is not None:
        amiss = ": the clock depends on heat and on what the other cores do"
        mend = MEND_TURBO if seen.intel_pstate else MEND_BOOST
        yield _check("CPU boost", not seen.boost, "on" if seen.boost else "off", amiss, mend)


def _install(package: str) -> str:
    return f"{APT_INSTALL} {package}"


# --- showing ------------------------------------------------------------------------------------------


def render_checks(checks: Sequence[Check]) -> str:
    """The checks as plain text: one line each and, where something is amiss, a line to type below it."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{check.status.value:<4}  {check.name:<{width}}  {check.found}")
        if check.mend:
            lines.append(f"{'':4}  {'':{width}}  $ {check.mend}")
    failed = len(find_lacks(checks))
    warned = sum(check.status is Status.WARN for check in checks)
    verdict = "this host can run the comparison" if not failed else "this host cannot run the comparison yet"
    lines += ["", f"{verdict}: {failed} failed, {warned} warnings"]
    return "\n".join(lines)
