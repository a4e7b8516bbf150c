"""The doctor's judgement of hosts, good and bad, and of this one."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec
import pytest

from guestbench.host import doctor, process
from guestbench.host.doctor import Check, Readings, Status
from guestbench.model import GIB

GOOD = Readings(
    python=(3, 11, 2),
    qemu="7.2.22",
    qemu_wrong="",
    missing=(),
    kvm_device=True,
    kvm_usable=True,
    kvm_boot=(True, "floor was ready"),
    root=False,
    namespace=(True, ""),
    subordinate_ids=True,
    apparmor_restricts=False,
    cache="/home/anna/.cache/guestbench",
    free_bytes=50 * GIB,
    memory_available_mib=8000,
    swap_used_mib=0,
    cpus=4,
    cpus_allowed=4,
    load_1m=0.1,
    other_vms=0,
    governor="performance",
    boost=False,
    intel_pstate=False,
    virtualization="none",
)


def change(**changes: object) -> Readings:
    """The good host with something else about it."""
    return msgspec.structs.replace(GOOD, **changes)


def amiss(seen: Readings) -> dict[str, Check]:
    """The checks that are not ok, by name."""
    return {check.name: check for check in doctor.judge(seen) if check.status is not Status.OK}


def test_good_host_has_nothing_amiss() -> None:
    """A host on which all is well would be sent to mend something."""
    checks = doctor.judge(GOOD)
    assert amiss(GOOD) == {}
    assert not doctor.find_lacks(checks)
    assert not any(check.mend for check in checks)


@pytest.mark.parametrize(
    ("seen", "name", "status", "mend"),
    [
        (change(python=(3, 10, 9)), "Python", Status.FAIL, "python3"),
        (change(qemu="", qemu_wrong="not installed"), "QEMU", Status.FAIL, "qemu-system-x86"),
        (change(missing=("debugfs",)), "debugfs", Status.FAIL, "e2fsprogs"),
        (change(missing=("newuidmap",)), "newuidmap", Status.FAIL, "uidmap"),
        (change(missing=("newuidmap",), root=True), "newuidmap", Status.WARN, "uidmap"),
        (change(subordinate_ids=False), "user namespaces", Status.FAIL, "--add-subuids"),
        (change(namespace=(False, "denied")), "user namespaces", Status.FAIL, "unprivileged_userns_clone"),
        (
            change(namespace=(False, "denied"), apparmor_restricts=True),
            "user namespaces",
            Status.FAIL,
            "apparmor",
        ),
        (change(free_bytes=GIB), "disk space", Status.FAIL, "XDG_CACHE_HOME"),
        (change(memory_available_mib=None), "memory", Status.WARN, "/proc/meminfo"),
        (change(memory_available_mib=300, swap_used_mib=9), "memory", Status.WARN, "rss"),
        (change(kvm_device=False, kvm_usable=False, kvm_boot=None), "KVM", Status.WARN, "modprobe"),
        (change(kvm_usable=False, kvm_boot=None), "KVM", Status.WARN, "--groups kvm"),
        (change(kvm_boot=None), "KVM", Status.WARN, "qemu-system-x86"),
        (change(kvm_boot=(False, "silence")), "KVM", Status.WARN, "--accel tcg"),
        (change(load_1m=3.0), "load", Status.WARN, "pcpu"),
        (change(other_vms=2), "other VMs", Status.WARN, "qemu"),
        (change(cpus_allowed=1), "CPUs", Status.WARN, "taskset"),
        (change(governor="powersave"), "CPU governor", Status.WARN, "performance"),
        (change(boost=True), "CPU boost", Status.WARN, "cpufreq/boost"),
        (change(boost=True, intel_pstate=True), "CPU boost", Status.WARN, "no_turbo"),
    ],
)
def test_each_lack_is_told_with_the_line_that_mends_it(
    seen: Readings, name: str, status: Status, mend: str
) -> None:
    """A user would learn that the host is unfit but not what to type."""
    found = amiss(seen)
    assert set(found) == {name}
    assert found[name].status is status
    assert found[name].found
    assert mend in found[name].mend
    assert (not doctor.find_lacks(doctor.judge(seen))) is (status is Status.WARN)


def test_root_needs_no_user_namespace() -> None:
    """Root in a container would be told that it cannot build images, and it can."""
    assert amiss(change(root=True, namespace=(False, "denied"), subordinate_ids=False)) == {}


def test_host_that_shows_no_clock_policy_is_not_judged_by_it() -> None:
    """A virtual machine, which shows no governor, would be told to set one."""
    names = {check.name for check in doctor.judge(change(governor="", boost=None))}
    assert not {"CPU governor", "CPU boost"} & names


def test_nested_kvm_is_called_nested() -> None:
    """A user would take times made with KVM inside a virtual machine for times on bare metal."""
    (found,) = (check for check in doctor.judge(change(virtualization="kvm")) if check.name == "KVM")
    assert "nested" in found.found


@pytest.mark.parametrize("root", [True, False])
def test_installing_asks_for_the_rights_it_needs(root: bool) -> None:
    """The line to type would not work as typed."""
    mend = amiss(change(missing=("zstd",), root=root))["zstd"].mend
    assert mend == f"{'' if root else 'sudo '}apt-get install --no-install-recommends zstd"
    mend = amiss(change(governor="powersave", root=root))["CPU governor"].mend
    assert ("sudo" in mend) is not root


def test_every_missing_program_is_told() -> None:
    """A user would install one program after the other."""
    found = amiss(change(missing=tuple(process.DEBIAN_PACKAGES), qemu="", qemu_wrong="not installed"))
    assert set(found) == {"QEMU", *process.DEBIAN_PACKAGES} - {"qemu-system-x86_64"}


def test_mending_lines_are_shell_commands() -> None:
    """A line to type would be a syntax error."""
    seen = change(
        missing=("zstd",),
        kvm_device=False,
        subordinate_ids=False,
        free_bytes=0,
        governor="powersave",
        boost=True,
        load_1m=9.0,
        other_vms=1,
    )
    for check in amiss(seen).values():
        assert shlex.split(check.mend, comments=True)


def test_rendered_text_has_a_line_for_each_check_and_a_verdict() -> None:
    """A check would be missing from what the user reads."""
    checks = doctor.judge(change(missing=("zstd",), load_1m=3.0))
    text = doctor.render_checks(checks)
    assert text.endswith("this host cannot run the comparison yet: 1 failed, 1 warnings")
    assert all(check.name in text and check.found in text and check.mend in text for check in checks)
    assert doctor.render_checks(doctor.judge(GOOD)).splitlines()[-1].startswith("this host can run")


def test_checks_survive_json() -> None:
    """A script that reads the doctor's JSON could not."""
    checks = doctor.judge(GOOD)
    assert msgspec.json.decode(msgspec.json.encode(checks), type=tuple[Check, ...]) == checks


def test_this_host_is_examined(tmp_path: Path) -> None:
    """The doctor would end in a traceback on a real machine."""
    checks = doctor.judge(doctor.take_readings(lambda: (True, "ready"), tmp_path / "not there yet"))
    assert {"Python", "QEMU", "KVM", "disk space"} <= {check.name for check in checks}


def test_kvm_is_not_tried_where_it_cannot_be_opened(tmp_path: Path) -> None:
    """The doctor would wait for a boot that cannot begin."""
    called = []

    def boot() -> tuple[bool, str]:
        called.append(True)
        return True, "ready"

    seen = doctor.take_readings(boot, tmp_path)
    assert bool(called) is (seen.kvm_usable and bool(seen.qemu))
    assert (seen.kvm_boot is None) is (not called)


def test_memory_that_is_not_known_is_not_none(tmp_path: Path) -> None:
    """On a host that does not tell, a user would be sent to free memory that is free."""
    (tmp_path / "proc").mkdir()
    for text in ("", "MemTotal: 2048 kB\n", "MemTotal: 2048 kB\nMemFree: 9 kB\n"):
        (tmp_path / "proc/meminfo").write_text(text)
        readings = doctor.take_readings(lambda: (True, "ready"), tmp_path, tmp_path)
        (check,) = (each for each in doctor.judge(readings) if each.name == "memory")
        assert check.found.startswith("how much is available is unknown")
        assert "0 MiB available" not in check.found
