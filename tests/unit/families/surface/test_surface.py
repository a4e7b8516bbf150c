"""The attack surface probe: how answers of its parts become samples, and what stands for a missing one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from image_files import Load, elf64, multiboot_header
from monitor_guest import RecordedQmp, load_recording
from replay import make_system

from guestbench.errors import ShellError
from guestbench.families.surface import FAMILY
from guestbench.families.surface import probe as surface
from guestbench.families.surface.host.figures import find_host_side
from guestbench.families.surface.image import figures as image_figures
from guestbench.families.surface.linux.hardening import Flaw, Setting, count_flaws, count_settings
from guestbench.families.surface.network.figures import TCP_METRICS, describe_ports
from guestbench.families.surface.network.ports import PortScan
from guestbench.families.surface.network.tcp_scan import TcpPorts
from guestbench.families.surface.network.udp_scan import UdpPorts
from guestbench.families.surface.paging import figures as paging_figures
from guestbench.families.surface.paging.page_tables import Floor as StackFloor
from guestbench.families.surface.paging.page_tables import Stack
from guestbench.families.surface.probe import measure_boot, measure_images, measure_running
from guestbench.families.surface.seen import Seen
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import Booted
from guestbench.images.inspection import known, unknown
from guestbench.model import (
    Crashed,
    Gap,
    Guest,
    GuestFamily,
    Image,
    Incomplete,
    Kernel,
    Login,
    Ok,
    Origin,
    Provenance,
    Role,
    System,
    TrialResult,
    Unknown,
)
from guestbench.vmm.fake import REPLAYED, FakeMachine

UNIKERNEL = make_system()
LINUX = make_system(family=GuestFamily.LINUX, login=Login(user="root"))
MACHINE = FakeMachine((), None, ("fake",))
GUEST = RecordedQmp({}).monitor


def values(found: Seen) -> dict[tuple[str, str], float]:
    """The values by metric and the value of their label."""
    return {(s.metric, next(iter(s.labels.values()), "")): s.value for s in found.samples}


def reasons(gaps: tuple[Gap, ...] | list[Gap]) -> dict[str, str]:
    """The reasons by metric."""
    return {gap.metric: gap.reason for gap in gaps}


# --- ports --------------------------------------------------------------------------------------------


def test_open_ports_are_counted_and_named() -> None:
    """A reader would learn how many ports are open and not which."""
    tcp = TcpPorts(open=(7, 9), closed=65_532, filtered=1, filtered_ranges="80")
    udp = UdpPorts(asked=100, closed=99, no_answer=1)
    found = describe_ports(PortScan(address="10.0.2.15", tcp=tcp, udp=udp))
    assert values(found)["surface.open_tcp", ""] == 2
    assert values(found)["surface.filtered_tcp", ""] == 1
    details = {sample.metric: sample.detail for sample in found.samples}
    assert details["surface.open_tcp"] == "7, 9"
    assert details["surface.open_udp"] == "of 100 asked, 99 closed, 1 without an answer"
    assert all(sample.evidence == "ports" for sample in found.samples)
    assert msgspec.json.decode(found.raw["ports.json"])["address"] == "10.0.2.15"


def test_a_guest_that_cannot_be_scanned_has_no_number_of_ports() -> None:
    """A guest without an address would be said to have no open port."""
    found = describe_ports(PortScan(reason="the guest has no network"))
    assert not found.samples
    assert set(reasons(found.gaps)) == {*TCP_METRICS, "surface.open_tcp_ipv6", "surface.open_udp"}
    assert set(reasons(found.gaps).values()) == {"the guest has no network"}


@pytest.mark.parametrize(
    ("tcp", "told"),
    [
        (
            TcpPorts(closed=220, undecided=65_315),
            "between 0 and 65,315: 65,315 ports were not decided, too slow",
        ),
        (
            TcpPorts(open=(22, 80), closed=65_532, undecided=1),
            "between 2 and 3: 1 ports were not decided, too slow; for certain: 22, 80",
        ),
        (
            TcpPorts(open=(22,), filtered=5, filtered_ranges="1-5", undecided=65_529),
            "between 1 and 65,530: 65,529",
        ),
    ],
)
def test_ports_that_were_not_decided_leave_a_range_and_no_figure(tcp: TcpPorts, told: str) -> None:
    """A guest that refuses one port a second would be said to have no open port, and a claim be confirmed."""
    over_both = PortScan(tcp=tcp, reason="too slow", tcp_ipv6=tcp, reason_ipv6="too slow")
    found = describe_ports(over_both)
    assert not {sample.metric for sample in found.samples} & {*TCP_METRICS, "surface.open_tcp_ipv6"}
    assert reasons(found.gaps)["surface.open_tcp"].startswith(told)
    assert reasons(found.gaps)["surface.open_tcp_ipv6"].startswith(told)
    assert reasons(found.gaps)["surface.closed_tcp"].startswith(f"between {tcp.closed:,} and ")


def test_a_guest_that_answers_on_every_port_is_told_so() -> None:
    """A guest that accepts whatever comes would be said to run 65,535 services."""
    found = describe_ports(PortScan(tcp=TcpPorts(open=tuple(range(1, 65_536)))))
    details = {sample.metric: sample.detail for sample in found.samples}
    assert "answers on every port" in details["surface.open_tcp"]


# --- memory protection --------------------------------------------------------------------------------


def make_stack(pointer: int, *, guarded: bool | Unknown) -> Stack:
    """A stack in use."""
    floor = StackFloor.UNMAPPED if guarded is True else StackFloor.NONE_SEEN
    return Stack(pointer=pointer, below_kib=16, floor=floor, guarded=guarded)


@pytest.mark.parametrize(
    ("stacks", "value"),
    [
        # The idle task's stack is part of the kernel's image and says nothing of others.
        ([make_stack(0xFFFFFFFF82603E98, guarded=False), make_stack(0xFFFFC90000013E98, guarded=True)], 1),
        ([make_stack(0xFFFFC90000013E98, guarded=True), make_stack(0xFFFFC90000023E98, guarded=False)], 0),
        ([make_stack(0xFFFFFFFF82603E98, guarded=False)], None),
        ([Unknown(reason="in user mode"), make_stack(0x1000, guarded=Unknown(reason="far"))], None),
    ],
)
def test_guard_pages_are_judged_by_the_stacks_of_tasks(
    monkeypatch: pytest.MonkeyPatch, stacks: list[Stack | Unknown], value: int | None
) -> None:
    """Linux would be said to have no guard pages whenever it was stopped while idle."""
    monkeypatch.setattr(paging_figures, "read_stacks", lambda _: tuple(stacks))
    shell: Any = type("Quiet", (), {"run": lambda *_: None})()
    found = paging_figures.find_busy_stacks(GUEST, shell)
    assert values(found).get(("surface.stack_guard", "")) == value
    assert bool(found.gaps) == (value is None)


def test_tables_that_cannot_be_read_leave_every_figure_unknown() -> None:
    """A guest whose page tables were not read would seem to have no writable and executable page."""
    refusing = RecordedQmp({}).monitor
    for guest, reason in ((refusing, "QMP info registers: no such command"), (REPLAYED, REPLAYED.reason)):
        found = paging_figures.find_protection(guest, with_stack=True)
        assert not found.samples
        assert "surface.wx_pages" in reasons(found.gaps)
        assert set(reasons(found.gaps).values()) == {reason}


@pytest.mark.parametrize(
    ("writable", "told"), [("-r-", ""), ("-rw", "; the VMM itself lists other mappings")]
)
def test_a_vmm_that_lists_other_mappings_is_told(writable: str, told: str) -> None:
    """A figure that the VMM's own listing contradicts would be believed."""
    guest = load_recording("paging-pae")
    guest.answers["info mem"] = str(guest.answers["info mem"]).replace("-r-", writable)
    found = paging_figures.find_protection(guest.monitor, with_stack=True)
    (pages,) = [sample for sample in found.samples if sample.metric == "surface.wx_pages"]
    assert pages.detail == f"99.6% of what is mapped{told}"


def test_a_vmm_that_shows_nothing_leaves_gaps_with_its_reason() -> None:
    """A run on another VMM would stop, or say that its guests have no devices and no stack guards."""
    found = find_host_side(MACHINE)
    found.take(paging_figures.find_busy_stacks(REPLAYED, None))  # type: ignore[arg-type]
    assert not found.samples
    names = ("devices", "pio_bytes", "mmio_bytes", "virtio_driven")
    assert {reasons(found.gaps)[f"surface.{name}"] for name in names} == {REPLAYED.reason}
    assert "surface.stack_guard" not in reasons(found.gaps)


# --- the guest as a whole -----------------------------------------------------------------------------


@pytest.fixture
def quiet_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network shows nothing; guests get ready at once."""
    nothing = describe_ports(PortScan(reason="the guest has no network"))
    monkeypatch.setattr(surface, "find_ports", lambda *_: nothing)
    ready = Booted(outcome=Ok(), marks=())
    monkeypatch.setattr(surface, "watch_boot", lambda *_, **__: ready)


def probe(system: System, *, resumed: bool = False) -> TrialResult:
    """Probe a machine."""
    return measure_running(FakeMachine((), None, ("fake",)), system, SerialLog(), resumed=resumed)


@pytest.mark.usefixtures("quiet_parts")
def test_what_a_unikernel_cannot_have_is_declared_with_its_reason() -> None:
    """A figure nobody measured would stand among measurements."""
    result = probe(UNIKERNEL)
    declared = {s.metric: s for s in result.samples if s.provenance is Provenance.DECLARED}
    assert {"surface.users", "surface.suid", "surface.sgid", "surface.modules", "surface.processes"} == set(
        declared
    )
    assert all(sample.detail for sample in declared.values())
    assert declared["surface.processes"].value == 1
    assert not [s for s in result.samples if s.metric == "surface.syscalls"]


@pytest.mark.usefixtures("quiet_parts")
def test_a_linux_without_a_login_is_unknown_inside() -> None:
    """A Linux that nobody can ask would get the figures of a unikernel."""
    result = probe(msgspec.structs.replace(LINUX, login=None))
    assert not result.samples
    assert all(reasons(result.gaps)[m].startswith("unknown: ") for m in surface.SHELL_METRICS)


@pytest.mark.usefixtures("quiet_parts")
def test_a_refused_login_keeps_what_was_seen_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password would throw the port scan away."""

    def refuse(*_: object, **__: object) -> None:
        raise ShellError("the guest refused the login of 'root'", "x")

    monkeypatch.setattr(surface, "open_shell", refuse)
    result = probe(LINUX, resumed=True)
    assert result.outcome == Incomplete(reason="the guest refused the login of 'root'")
    assert reasons(result.gaps)["surface.users"] == "the guest refused the login of 'root'"
    assert reasons(result.gaps)["surface.open_tcp"] == "the guest has no network"
    assert "ports.json" in result.raw


@pytest.mark.usefixtures("quiet_parts")
def test_a_guest_that_does_not_boot_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that panics would be probed, or end the run."""
    lost = Booted(outcome=Crashed(reason="kernel panic"), marks=())
    monkeypatch.setattr(surface, "watch_boot", lambda *_, **__: lost)
    assert probe(UNIKERNEL).outcome == Crashed(reason="kernel panic")
    assert measure_boot(MACHINE, UNIKERNEL, SerialLog()).outcome == Crashed(reason="kernel panic")


@pytest.mark.usefixtures("quiet_parts")
def test_answers_over_the_shell_are_kept_as_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who doubts a figure could not look at what the guest said."""
    told = Seen()
    told.add("surface.suid", 11, "surface-suid")
    told.keep({"surface-suid": b"/bin/su\n"})
    monkeypatch.setattr(surface, "open_shell", lambda *_, **__: None)
    monkeypatch.setattr(surface, "ask_inventory", lambda _: told)
    monkeypatch.setattr(surface, "ask_hardening", lambda _: Seen())
    result = probe(LINUX, resumed=True)
    assert isinstance(result.outcome, Ok)
    assert result.raw["surface-suid.txt"] == b"/bin/su\n"
    assert [s.value for s in result.samples if s.metric == "surface.suid"] == [11]


def test_settings_are_counted_by_whether_they_are_as_recommended() -> None:
    """A setting that is not known would count as met or as not met."""
    settings = tuple(
        Setting(name=name, found="1", met=met)
        for name, met in (("a", True), ("b", False), ("c", False), ("d", Unknown(reason="?")))
    )
    found = count_settings("sysctls", settings, "hardening-sysctl")
    found.take(count_settings("options", Unknown(reason="no configuration"), "hardening-kernel-config"))
    assert values(found)["surface.hardening_met", "sysctls"] == 1
    assert values(found)["surface.hardening_unmet", "sysctls"] == 2
    assert [s.detail for s in found.samples if s.metric == "surface.hardening_unmet"] == ["b, c"]
    assert {s.evidence for s in found.samples} == {"hardening-sysctl"}
    assert [gap.labels for gap in found.gaps] == [{"kind": "options"}] * 2


def test_flaws_of_the_cpu_are_those_without_a_remedy() -> None:
    """A flaw that the kernel holds in check would be counted, or an unknown one as none."""
    flaws = (
        Flaw(name="mds", state="Vulnerable: no microcode"),
        Flaw(name="meltdown", state="Not affected"),
        Flaw(name="retbleed", state="Mitigation: x"),
    )
    (sample,) = count_flaws(flaws).samples
    assert (sample.value, sample.detail) == (1, "mds; of 3")
    unknown_flaws = count_flaws(Unknown(reason="no such folder"))
    assert reasons(unknown_flaws.gaps) == {"surface.cpu_flaws": "unknown: no such folder"}


# --- images -------------------------------------------------------------------------------------------


def test_files_that_cannot_be_read_leave_their_figures_unknown() -> None:
    """An encrypted disk would be said to hold no package and no SUID file."""
    found = image_figures.describe_files(unknown("an encrypted file system (LUKS)"), "inspect-disk")
    assert not found.samples
    assert set(reasons(found.gaps)) == {*image_figures.FILE_METRICS}
    assert all("LUKS" in reason for reason in reasons(found.gaps).values())


def test_known_and_unknown_figures_of_an_image_are_kept_apart() -> None:
    """One unreadable list would hide the others, or count as none."""
    found = Seen()
    image_figures.add_gadgets(found, unknown("too large"), "inspect-kernel", {"file": "x"})
    assert reasons(found.gaps)["surface.gadgets"] == "unknown: too large"
    assert known(3, "here").value == 3


def test_a_kernel_and_its_program_are_one_image(tmp_path: Path) -> None:
    """The code of a unikernel's program would be left out, or be shown as if it were the kernel's."""
    kernel, program = tmp_path / "kernel.elf", tmp_path / "program"
    header = multiboot_header(0x10000, 0x100000, 0x100000, 0x100000, 0x100000, 0x100000)
    kernel.write_bytes(elf64(multiboot=header))
    program.write_bytes(elf64((Load(7, b"\x90" * 50),)) + b"GNU bash, version 5.2")
    images = {
        role: Image(path=str(path), size_bytes=path.stat().st_size, mtime_ns=0, sha256="")
        for role, path in {Role.KERNEL: kernel, Role.INITRD: program}.items()
    }
    guest = Guest(
        system=make_system(boot=Kernel(initrd=True)),
        images=images,
        pristine=images,
        origin=Origin(kind="given", detail=""),
    )
    result = measure_images(guest, tmp_path, None)
    shown = {sample.metric: sample for sample in result.samples}
    assert (shown["surface.code_bytes"].value, shown["surface.wx_segments"].value) == (350, 1)
    assert shown["surface.code_bytes"].detail == "kernel: 300; program: 50"
    assert (shown["surface.shells"].value, shown["surface.shells"].detail) == (1, "bash")
    files = {s.labels["file"] for s in result.samples if s.metric == "surface.gadgets"}
    files |= {gap.labels["file"] for gap in result.gaps if gap.metric == "surface.gadgets"}
    assert files == {"kernel", "program"}
    assert set(result.raw) == {"inspect-kernel.json", "inspect-initrd.json"}


def test_every_metric_has_a_table_and_a_name_of_its_own() -> None:
    """A figure would be measured and shown nowhere."""
    assert len({metric.name for metric in FAMILY.metrics}) == len(FAMILY.metrics)
    assert all(metric.group and metric.help.endswith(".") and metric.unit for metric in FAMILY.metrics)
