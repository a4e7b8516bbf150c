"""Host facts, from folders that stand for the root of other machines."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.errors import ToolFailed, ToolMissing
from guestbench.host import facts as host
from guestbench.model import CpuPolicy
from guestbench.vmm.qemu import identify

CPUINFO = """\
processor\t: 0
model name\t: Example CPU  @ 2.0GHz
flags\t\t: fpu vme{flags}

processor\t: 1
model name\t: Example CPU  @ 2.0GHz
flags\t\t: fpu vme{flags}
"""

SECOND_NS = 1_000_000_000


def make_machine(root: Path, files: dict[str, str]) -> Path:
    """Write the files of a machine below `root`."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def cpu_times(total: float, busy: float, steal: float = 0.0) -> host.CpuTimes:
    """A snapshot from seconds."""
    return host.CpuTimes(
        total_ns=round(total * SECOND_NS),
        busy_ns=round(busy * SECOND_NS),
        steal_ns=round(steal * SECOND_NS),
        load_1m=0.5,
        at_ns=round(total * SECOND_NS / 2),
        waited_ns={},
    )


# --- facts --------------------------------------------------------------------------------------------


@pytest.mark.qemu
def test_this_host_describes_itself_the_same_twice() -> None:
    """A run could not be resumed, for the host would seem to be another one."""
    first, second = (host.read_host(*identify()) for _ in range(2))
    assert first == second
    assert len(first.digest) == 64
    assert first.vmm_version
    assert Path(first.vmm_path).is_absolute()
    assert first.cpus >= 1
    assert first.memory_mib > 0


def test_facts_of_a_machine_are_read(tmp_path: Path) -> None:
    """The report would not say on what machine it was measured."""
    root = make_machine(
        tmp_path,
        {
            "proc/cpuinfo": CPUINFO.format(flags=""),
            "proc/meminfo": "MemTotal:       2048 kB\nMemAvailable:   1024 kB\nHugePages_Total:       0\n",
            "etc/os-release": 'NAME="X"\nPRETTY_NAME="Example Linux 1"\n',
            "proc/loadavg": "1.25 0.50 0.25 2/99 1234\n",
        },
    )
    assert host.read_cpu_model(root) == "Example CPU @ 2.0GHz"
    assert host.read_cpus(root) == 2
    assert host.read_memory(root) == {"MemTotal": 2048, "MemAvailable": 1024, "SwapTotal": 0, "SwapFree": 0}
    assert host.read_os(root) == "Example Linux 1"
    assert host.read_load(root) == 1.25
    assert host.find_virtualization(root) == "none"


def test_machine_that_tells_nothing_is_described_all_the_same(tmp_path: Path) -> None:
    """On a host with an unusual /proc the tool would end in a traceback."""
    assert host.read_cpu_model(tmp_path)
    assert host.read_cpus(tmp_path) >= 1
    assert host.read_os(tmp_path)
    assert host.read_load(tmp_path) == 0.0
    assert host.find_virtualization(tmp_path) == "none"
    assert host.read_cpu_policy(tmp_path) == CpuPolicy(governor="", boost=None)
    assert host.count_other_vms(root=tmp_path) == 0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/cpuinfo": CPUINFO.format(flags=" hypervisor")}, "unknown hypervisor"),
        ({"proc/cpuinfo": CPUINFO.format(flags=" hypervisor_like")}, "none"),
        (
            {"proc/cpuinfo": CPUINFO.format(flags=" hypervisor"), "sys/class/dmi/id/sys_vendor": "QEMU\n"},
            "qemu",
        ),
        ({"sys/hypervisor/type": "xen\n"}, "xen"),
    ],
)
def test_hypervisor_below_the_host_is_found(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    """A report would not say that its host was itself a virtual machine."""
    assert host.find_virtualization(make_machine(tmp_path, files)) == expected


def test_digest_tells_machines_apart() -> None:
    """Values of two machines would be pooled as if one had made them."""
    facts = ["Example CPU", "2", "2048"]
    assert host.digest_facts([*facts, "machine a"]) != host.digest_facts([*facts, "machine b"])
    assert host.digest_facts(["ab", "c"]) != host.digest_facts(["a", "bc"])


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright\n", "7.2.22 (Debian 1:7.2+dfsg-7)"),
        ("QEMU emulator version 10.0.2\n", "10.0.2"),
        ("QEMU emulator version 7.0.0", "7.0.0"),
    ],
)
def test_qemu_version_is_what_qemu_says(said: str, version: str) -> None:
    """The report would name another QEMU than the one that ran."""
    assert host.check_qemu_version(said) == version


def test_old_qemu_is_refused_with_the_line_that_mends_it() -> None:
    """A run on an old QEMU would fail at the first guest, saying nothing of QEMU's age."""
    with pytest.raises(ToolMissing) as caught:
        host.check_qemu_version("QEMU emulator version 6.2.0 (Debian 1:6.2)\n")
    assert (
        caught.value.message == "qemu-system-x86_64 6.2.0 (Debian 1:6.2) is too old: 7.0 or newer is needed"
    )
    assert caught.value.hint == "apt-get install qemu-system-x86"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("said", ["", "\n", "hello\n"])
def test_program_that_is_no_qemu_is_refused(said: str) -> None:
    """Another program named as QEMU would end in a traceback."""
    with pytest.raises(ToolFailed, match="does not say its version"):
        host.check_qemu_version(said)


# --- conditions ---------------------------------------------------------------------------------------


def test_snapshot_counts_every_kind_of_cpu_time_once(tmp_path: Path) -> None:
    """Guest time, which the kernel counts twice, would be taken for a neighbour's."""
    root = make_machine(tmp_path, {"proc/stat": "cpu  10 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3\n"})
    tick_ns = SECOND_NS // os.sysconf("SC_CLK_TCK")
    times = host.read_cpu_times(root)
    assert times.busy_ns == (10 + 20 + 30 + 6 + 7) * tick_ns
    assert times.steal_ns == 8 * tick_ns
    assert times.total_ns == (10 + 20 + 30 + 400 + 50 + 6 + 7 + 8) * tick_ns


def test_real_snapshots_go_forward() -> None:
    """The conditions of a trial would be nonsense on this kernel."""
    before = host.read_cpu_times()
    after = host.read_cpu_times()
    assert 0 < before.total_ns <= after.total_ns
    assert 0 < before.busy_ns < before.total_ns


def test_conditions_leave_our_own_work_out() -> None:
    """A guest's own CPU time would be reported as a neighbour's."""
    found = host.conditions(cpu_times(0, 0), cpu_times(10, 4, 1), 3 * SECOND_NS)
    assert (found.cpu_others, found.cpu_steal, found.load_1m) == (0.1, 0.1, 0.5)


def test_conditions_of_no_time_at_all_are_zero() -> None:
    """A trial shorter than a kernel tick would divide by zero."""
    found = host.conditions(cpu_times(5, 1), cpu_times(5, 1), 1000)
    assert (found.cpu_others, found.cpu_steal) == (0.0, 0.0)


@given(
    before=st.tuples(*[st.floats(0, 1e6)] * 3),
    after=st.tuples(*[st.floats(0, 1e6)] * 3),
    own=st.integers(0, 10**15),
)
def test_conditions_are_shares(
    before: tuple[float, float, float], after: tuple[float, float, float], own: int
) -> None:
    """A report could say that neighbours used more than the whole machine, or less than nothing."""
    found = host.conditions(cpu_times(*before), cpu_times(*after), own)
    assert 0 <= found.cpu_others <= 1
    assert 0 <= found.cpu_steal <= 1


def test_pressure_is_the_share_of_the_trial_in_which_something_waited(tmp_path: Path) -> None:
    """A host that keeps its tasks waiting would look like one that does not."""
    some = "some avg10=1.50 avg60=0.50 avg300=0.10 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    files = {"proc/pressure/cpu": some.format(1_500_000), "proc/pressure/io": some.format(20)}
    waited = host.read_pressure(make_machine(tmp_path, files))
    assert waited == {"cpu": 1_500_000_000, "io": 20_000}
    before = msgspec.structs.replace(cpu_times(0, 0), waited_ns={"cpu": 500_000_000})
    after = msgspec.structs.replace(cpu_times(8, 0), waited_ns=waited)  # four seconds, of two CPUs
    assert host.conditions(before, after, 0).pressure == {"cpu": 0.25}


def test_kernel_without_pressure_tells_none(tmp_path: Path) -> None:
    """A host that does not tell would pass for a quiet one, or end the run."""
    damaged = make_machine(tmp_path, {"proc/pressure/cpu": "some total=\n", "proc/stat": "cpu 1 2 3 4\n"})
    assert host.read_pressure(damaged) == {}
    times = host.read_cpu_times(damaged)
    assert host.conditions(times, times, 0).pressure == {}


def test_age_of_this_process_is_since_its_start(tmp_path: Path) -> None:
    """The cost of a worker would be another's, or the machine's whole time."""
    first = host.read_own_age_ns()
    assert first is not None
    assert 0 < first < 3600 * SECOND_NS * 24
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    ticks = (now_ns // SECOND_NS - 7) * os.sysconf("SC_CLK_TCK")
    words = " ".join(["S", *["0"] * 18, str(ticks), "0"])
    found = host.read_own_age_ns(make_machine(tmp_path, {"proc/self/stat": f"12 (a) b) {words}"}))
    assert found is not None
    assert 6.9 < found / SECOND_NS < 40
    assert host.read_own_age_ns(tmp_path / "nothing") is None


def test_other_vms_are_counted_and_our_own_are_not(tmp_path: Path) -> None:
    """Our own guest would be reported as a neighbour, or a neighbour's not at all."""
    root = make_machine(
        tmp_path,
        {
            "proc/10/comm": "qemu-system-x86\n",
            "proc/11/comm": "qemu-system-aar\n",
            "proc/12/comm": "bash\n",
            "proc/13/comm": "firecracker\n",
            "proc/self/comm": "qemu-system-x86\n",
        },
    )
    assert host.count_other_vms((10,), root) == 2


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"intel_pstate/no_turbo": "0\n"}, ("", True)),
        ({"intel_pstate/no_turbo": "1\n"}, ("", False)),
        ({"cpufreq/boost": "1\n", "cpu0/cpufreq/scaling_governor": "powersave\n"}, ("powersave", True)),
        ({"cpufreq/boost": "0\n"}, ("", False)),
    ],
)
def test_cpu_policy_is_read_from_either_driver(
    tmp_path: Path, files: dict[str, str], expected: tuple[str, bool | None]
) -> None:
    """A clock that changes under the measurement would go unnoticed."""
    base = "sys/devices/system/cpu"
    root = make_machine(tmp_path, {f"{base}/{name}": text for name, text in files.items()})
    assert host.read_cpu_policy(root) == CpuPolicy(governor=expected[0], boost=expected[1])


@pytest.mark.parametrize(
    ("subuid", "subgid", "expected"),
    [
        ("anna:100000:65536\n", "anna:100000:65536\n", True),
        ("1000:100000:65536\n", "x:1:1\nanna:100000:65536\n", True),
        ("anna:100000:65536\n", "", False),
        ("annabel:100000:65536\n", "annabel:100000:65536\n", False),
    ],
)
def test_subordinate_ids_are_found_by_name_or_number(
    tmp_path: Path, subuid: str, subgid: str, expected: bool
) -> None:
    """A user who cannot build images would be told so only by a failing build."""
    root = make_machine(tmp_path, {"etc/subuid": subuid, "etc/subgid": subgid})
    assert host.has_subordinate_ids("anna", 1000, root) is expected


def test_user_namespace_is_tried_for_real() -> None:
    """The doctor would guess from files what the kernel allows."""
    possible, said = host.try_user_namespace()
    assert possible or said


@pytest.mark.parametrize(("asleep_s", "told"), [(0.0, False), (0.05, False), (60.0, True)])
def test_a_sleep_of_the_host_is_a_condition(asleep_s: float, told: bool) -> None:
    """No clock that a trial is timed by goes on meanwhile, so that nothing else would show it."""
    before = cpu_times(100, 10)
    after = msgspec.structs.replace(cpu_times(102, 10), asleep_ns=round(asleep_s * SECOND_NS))
    found = host.conditions(before, after, 0)
    assert found.suspended_s == (asleep_s if told else msgspec.UNSET)
    assert (b"suspended_s" in msgspec.json.encode(found)) == told
