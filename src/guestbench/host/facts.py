"""What machine this is and what else it does meanwhile; it changes nothing and judges nothing.

Functions that read /proc, /sys or /etc take the folder that stands for `/`: any machine can be described.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from guestbench.errors import ToolFailed, ToolMissing
from guestbench.host import process
from guestbench.model import Conditions, CpuPolicy, Frozen, Host, MemoryPolicy

ROOT = Path("/")
QEMU = "qemu-system-x86_64"
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
"""QEMU gives up, before its guest runs, system calls that start programs or change its rights."""
QEMU_MIN = (7, 0)
TOOL_TIMEOUT_S = 20.0
STARTTIME = 20
"""Which word behind a program's name in /proc/PID/stat is its start, in clock ticks since the machine's."""

MEND_SUBORDINATE_IDS = 'sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$USER"'
"""What gives a user the ids that a user namespace maps."""
UNSHARE = ("unshare", "--user", "--map-root-user", "true")

VMM_NAMES = (
    "qemu-system",
    "qemu-kvm",
    "firecracker",
    "cloud-hyperviso",
    "crosvm",
    "VBoxHeadless",
    "VirtualBoxVM",
)
"""How the process names of virtual machine monitors begin; the kernel keeps 15 characters of a name."""

DMI_VENDORS = {
    "QEMU": "qemu",
    "Amazon EC2": "amazon",
    "Google": "google",
    "Microsoft Corporation": "microsoft",
    "VMware": "vmware",
    "innotek": "oracle",
    "Xen": "xen",
}
"""What a hypervisor writes where a mainboard has its vendor, and systemd-detect-virt's word for it."""


# --- facts that stay as they are ---------------------------------------------------------------------


def read_host(vmm_version: str, vmm_path: str, root: Path = ROOT) -> Host:
    """Describe this machine, which has a VMM of that version at that path."""
    facts = {
        "cpu_model": read_cpu_model(root),
        "cpus": read_cpus(root),
        "memory_mib": read_memory(root)["MemTotal"] // 1024,
        "kernel": _read_text(root / "proc/sys/kernel/osrelease") or platform.release(),
        "os": read_os(root),
        "virtualization": find_virtualization(root),
        "qemu_version": vmm_version,
    }
    return msgspec.convert(
        {
            **facts,
            "digest": digest_facts([*map(str, facts.values()), _read_text(root / "etc/machine-id")]),
            "qemu_path": vmm_path,
            "python": platform.python_version(),
        },
        Host,
    )


def digest_facts(facts: Iterable[str]) -> str:
    """SHA-256 over the facts that make two machines different ones for a benchmark.

    The machine id is among them, hashed with the rest as machine-id(5) asks, so that two machines of one
    make are told apart; Python and the VMM's place are not, for they do not change a guest's time.
    """
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def find_qemu_version() -> str:
    """QEMU's version as it says it, such as `7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`.

    Raises:
        ToolMissing: it is not installed, or older than `QEMU_MIN`.
        ToolFailed: it failed, or said something else.
    """
    said = process.run([QEMU, "--version"], timeout_s=TOOL_TIMEOUT_S).stdout.decode("utf-8", "replace")
    return check_qemu_version(said)


def check_qemu_version(said: str) -> str:
    """The version in what `qemu-system-x86_64 --version` prints. Raises as `find_qemu_version` does."""
    first = said.splitlines()[0] if said.strip() else ""
    found = re.search(r"version ((\d+)\.(\d+)\S*.*)", first)
    hint = f"apt-get install {process.DEBIAN_PACKAGES[QEMU]}"
    if found is None:
        raise ToolFailed(f"{QEMU} does not say its version: {first!r}", hint, status=0, stderr="")
    if (int(found[2]), int(found[3])) < QEMU_MIN:
        oldest = ".".join(map(str, QEMU_MIN))
        raise ToolMissing(f"{QEMU} {found[1]} is too old: {oldest} or newer is needed", hint)
    return found[1].strip()


def read_cpu_model(root: Path = ROOT) -> str:
    """The CPU's name, or the architecture's where the kernel tells none."""
    names = re.findall(r"(?m)^(?:model name|Model)\s*:\s*(.+)$", _read_text(root / "proc/cpuinfo"))
    return " ".join(names[0].split()) if names else platform.machine()


def read_cpus(root: Path = ROOT) -> int:
    """How many logical CPUs the machine has, whether or not this process may use them all."""
    return len(re.findall(r"(?m)^processor\s*:", _read_text(root / "proc/cpuinfo"))) or os.cpu_count() or 1


def read_memory(root: Path = ROOT) -> dict[str, int]:
    """/proc/meminfo in KiB: `MemTotal`, `SwapTotal`, `SwapFree`, and what else there is."""
    rows = re.findall(r"(?m)^(\w+):\s+(\d+) kB$", _read_text(root / "proc/meminfo"))
    wanted = ("MemTotal", "SwapTotal", "SwapFree")
    return dict.fromkeys(wanted, 0) | {name: int(kib) for name, kib in rows}


def read_memory_policy(root: Path = ROOT) -> MemoryPolicy:
    """The settings of this machine's kernel that move memory figures."""
    huge_pages = root / "sys/kernel/mm/transparent_hugepage"
    return MemoryPolicy(
        huge_pages=_chosen_word(huge_pages / "enabled"),
        shmem_huge_pages=_chosen_word(huge_pages / "shmem_enabled"),
        ksm=_read_text(root / "sys/kernel/mm/ksm/run"),
        swap_mib=read_memory(root)["SwapTotal"] // 1024,
    )


def _chosen_word(file: Path) -> str:
    """The word in brackets, as sysfs marks the one of several that is in force."""
    found = re.search(r"\[([^\]]*)\]", _read_text(file))
    return found[1] if found else ""


def read_os(root: Path = ROOT) -> str:
    """The operating system's name as os-release(5) gives it."""
    for file in (root / "etc/os-release", root / "usr/lib/os-release"):
        found = re.search(r'(?m)^PRETTY_NAME="?([^"\n]*)"?$', _read_text(file))
        if found:
            return found[1]
    return platform.system()


def find_virtualization(root: Path = ROOT) -> str:
    """What this machine itself runs in: `none`, a hypervisor, a container, or both, as far as it shows."""
    if root == ROOT and shutil.which("systemd-detect-virt"):
        said = [_detect_virt(kind) for kind in ("--vm", "--container")]
    else:
        said = [guess_hypervisor(root)]
    # In a container systemd-detect-virt may miss the hypervisor around it; the CPU's flag does not.
    if said[0] == "none":
        said[0] = guess_hypervisor(root)
    return " + ".join(word for word in said if word != "none") or "none"


def _detect_virt(kind: str) -> str:
    try:
        done = process.run(["systemd-detect-virt", kind], timeout_s=TOOL_TIMEOUT_S, check=False)
    except ToolFailed:
        return "none"
    return done.stdout.decode("ascii", "replace").strip() or "none"


def guess_hypervisor(root: Path = ROOT) -> str:
    """The hypervisor below this machine by /sys/hypervisor, DMI and the CPU's flags; `none` if none shows."""
    if kind := _read_text(root / "sys/hypervisor/type"):
        return kind
    flags = re.search(r"(?m)^flags\s*:(.*)$", _read_text(root / "proc/cpuinfo"))
    if flags is None or "hypervisor" not in flags[1].split():
        return "none"
    vendor = _read_text(root / "sys/class/dmi/id/sys_vendor")
    return next((word for name, word in DMI_VENDORS.items() if vendor.startswith(name)), "unknown hypervisor")


# --- facts that change --------------------------------------------------------------------------------


LEAST_SLEEP_S = 0.1


class CpuTimes(Frozen):
    """CPU time of the whole machine since it started, all CPUs together, from /proc/stat.

    The kernel counts in ticks of 10 ms on most machines: shares of spans far shorter than that mean nothing.
    `waited_ns` is for how long some task had to wait for `cpu`, `io` or `memory`, empty where the kernel has
    no pressure stall information. `at_ns` is when all this was so, on the monotonic clock, and `asleep_ns`
    for how long the machine has been suspended since it started.
    """

    total_ns: int
    busy_ns: int
    steal_ns: int
    load_1m: float
    at_ns: int
    waited_ns: dict[str, int]
    asleep_ns: int = 0


def read_cpu_times(root: Path = ROOT) -> CpuTimes:
    """Take a snapshot for `conditions`."""
    # proc(5): user nice system idle iowait irq softirq steal; guest times are inside user and nice already.
    words = _read_text(root / "proc/stat").partition("\n")[0].split()
    ticks = [int(word) for word in words[1:9]] + [0] * (9 - len(words))
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    user, nice, system, idle, iowait, irq, softirq, steal = ticks
    busy = user + nice + system + irq + softirq
    return CpuTimes(
        total_ns=(busy + idle + iowait + steal) * tick_ns,
        busy_ns=busy * tick_ns,
        steal_ns=steal * tick_ns,
        load_1m=read_load(root),
        at_ns=time.monotonic_ns(),
        waited_ns=read_pressure(root),
        asleep_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns(),
    )


def read_pressure(root: Path = ROOT) -> dict[str, int]:
    """For how long some task has waited for each resource since the machine started, in nanoseconds.

    That is the `total` of the line `some` of /proc/pressure (Linux, Documentation/accounting/psi.rst).
    """
    files = {name: _read_text(root / "proc/pressure" / name) for name in ("cpu", "io", "memory")}
    totals = {name: re.search(r"(?m)^some .*\btotal=(\d+)$", text) for name, text in files.items()}
    return {name: int(found[1]) * 1000 for name, found in totals.items() if found}


def read_own_age_ns(root: Path = ROOT) -> int | None:
    """How long this process has run, in nanoseconds, to a tick of the kernel's clock; None if unknown."""
    # proc(5): the name of a program, in parentheses, may have anything in it.
    words = _read_text(root / "proc/self/stat").rpartition(")")[2].split()
    if len(words) < STARTTIME:
        return None
    started_ns = int(words[STARTTIME - 1]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started_ns
    return age_ns if age_ns >= 0 else None


def conditions(before: CpuTimes, after: CpuTimes, own_cpu_ns: int) -> Conditions:
    """What others did on this machine between two snapshots, in which we used `own_cpu_ns` of CPU time.

    Shares are of all CPUs' time, from 0 to 1; both are 0 where no tick passed between the snapshots.
    """
    total, span = after.total_ns - before.total_ns, after.at_ns - before.at_ns
    pressure = {
        name: _clamp((waited - before.waited_ns[name]) / span)
        for name, waited in after.waited_ns.items()
        if name in before.waited_ns and span > 0
    }
    # Two clocks are not read at one moment.
    asleep_s = (after.asleep_ns - before.asleep_ns) / 1e9
    suspended_s = asleep_s if asleep_s > LEAST_SLEEP_S else msgspec.UNSET
    if total <= 0:
        return Conditions(
            load_1m=after.load_1m, cpu_others=0.0, cpu_steal=0.0, pressure=pressure, suspended_s=suspended_s
        )
    others = after.busy_ns - before.busy_ns - own_cpu_ns
    return Conditions(
        load_1m=after.load_1m,
        cpu_others=_clamp(others / total),
        cpu_steal=_clamp((after.steal_ns - before.steal_ns) / total),
        pressure=pressure,
        suspended_s=suspended_s,
    )


def _clamp(share: float) -> float:
    return min(1.0, max(0.0, share))


def read_load(root: Path = ROOT) -> float:
    """The load average of the last minute; 0 where the kernel tells none."""
    words = _read_text(root / "proc/loadavg").split()
    return float(words[0]) if words else 0.0


def count_other_vms(own_pids: Collection[int] = (), root: Path = ROOT) -> int:
    """How many virtual machine monitors run here, those in `own_pids` aside."""
    names = {int(file.parent.name): _read_text(file) for file in (root / "proc").glob("[0-9]*/comm")}
    return sum(pid not in own_pids and name.startswith(VMM_NAMES) for pid, name in names.items())


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written to the file system of `folder`, or of its nearest parent there is."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def read_cpu_policy(root: Path = ROOT) -> CpuPolicy:
    """How fast this machine's CPUs may run."""
    cpus = root / "sys/devices/system/cpu"
    governor = _read_text(cpus / "cpu0/cpufreq/scaling_governor")
    if no_turbo := _read_text(cpus / "intel_pstate/no_turbo"):
        return CpuPolicy(governor=governor, boost=no_turbo == "0")
    boost = _read_text(cpus / "cpufreq/boost")
    return CpuPolicy(governor=governor, boost=boost == "1" if boost else None)


def try_user_namespace() -> tuple[bool, str]:
    """Whether this user can make a user namespace, found by making one; and if not, what said so."""
    try:
        done = process.run(UNSHARE, timeout_s=TOOL_TIMEOUT_S, check=False)
    except (ToolMissing, ToolFailed) as wrong:
        return False, wrong.message
    said = process.tail(done.stderr).strip().splitlines()
    return done.status == 0, said[-1] if said else ""


def has_subordinate_ids(user: str, uid: int, root: Path = ROOT) -> bool:
    """Whether `user` has user ids and group ids of its own to map, as subuid(5) wants for an image build."""
    lines = (re.split(r"\s+", _read_text(root / f"etc/{name}")) for name in ("subuid", "subgid"))
    return all(any(line.split(":")[0] in (user, str(uid)) for line in each if line) for each in lines)


def is_switched_on(setting: str, root: Path = ROOT) -> bool:
    """Whether a kernel setting (a path below /proc/sys) exists and is not 0."""
    return _read_text(root / "proc/sys" / setting) not in ("", "0")


def _read_text(file: Path) -> str:
    """A small file's text without the white space around it; empty where it cannot be read."""
    try:
        return file.read_bytes().decode("utf-8", "replace").strip()
    except OSError:
        return ""
