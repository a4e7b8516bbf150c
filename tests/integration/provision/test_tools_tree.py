"""The benchmark programs in their tree: on the host through its loader, in Debian 12 through chroot."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.families.work import cross_check as checks
from guestbench.families.work.cross_check import Check, HostProgram, Unreadable
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell, open_shell
from guestbench.host import process
from guestbench.images.formats.elf import read_elf
from guestbench.images.source import open_source
from guestbench.model import Accel, Platform, Start
from guestbench.provision import ext4
from guestbench.provision.cache import read_image
from guestbench.provision.tools_tree import TOOLS, Tools, prepare_tools
from guestbench.vmm import Lacking, find_vmm

MIB = 1 << 20
PLATFORM = Platform(accel=Accel.TCG)
LOGIN_S = 180.0
RUN_S = 120.0
FOLDER = Path("/mnt/guestbench-tools")
CHROOT = f"chroot {shlex.quote(str(FOLDER))}"

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def tools() -> Tools:
    """The tools, built."""
    return prepare_tools(lambda _: None)


def test_the_tools_are_small_and_complete(tools: Tools) -> None:
    """Programs would lack libraries in a guest, or the image hold what nobody runs."""
    assert tools.image.stat().st_size < 80 * MIB
    there = {path.name for path in tools.tree.rglob("*") if path.is_file()}
    for program in TOOLS:
        with open_source(tools.tree / "usr/bin" / program) as source:
            assert set(read_elf(source).read_needed(source)) <= there
    assert {package.name for package in tools.kept.made.packages} >= {"libc6", *TOOLS}
    assert prepare_tools(lambda _: None) == tools


def test_the_image_is_the_tree(tools: Tools, tmp_path: Path) -> None:
    """A guest would run other programs than the host, or users get different images of the same packages."""
    again = tmp_path / "again.ext4"
    ext4.write_image(again, tools.tree)
    assert again.read_bytes() == tools.image.read_bytes()
    copy = tmp_path / "copy"
    copy.mkdir()
    process.run(["debugfs", "-R", "rdump / copy", again], cwd=tmp_path)
    files = [path.relative_to(tools.tree) for path in tools.tree.rglob("*") if path.is_file()]
    assert sorted(files) == sorted(path.relative_to(copy) for path in copy.rglob("*") if path.is_file())
    assert all((copy / each).read_bytes() == (tools.tree / each).read_bytes() for each in files)


def test_programs_run_on_the_host(tools: Tools) -> None:
    """Network cross-checks would need programs installed on the host."""
    for check in (checks.sysbench_cpu(events=20), checks.stress_ng_matrix(operations=5)):
        program = tools.host_argv(Path(check.argv[0]).name)
        assert read(checks.run_on_host(check, program, timeout_s=RUN_S)) > 0


def read(value: float | Unreadable | None) -> float:
    """A reading, or the failure of the test with its reason."""
    assert isinstance(value, float), value
    return value


@pytest.fixture(scope="module")
def debian(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, int]]:
    """A shell in Debian 12 with the tools mounted, and the port of this host that leads to iperf3's."""
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue["debian-12-nocloud"], {}, catalogue, say=lambda _: None)
    assert guest.system.login is not None
    start = Start(tools=read_image(tools.image))
    snapshot = provision.take_snapshot(guest, PLATFORM, lambda _: None, start)
    spec = msgspec.structs.replace(
        snapshot.launch_spec(tmp_path_factory.mktemp("guest")),
        tools=tools.image,
        forwards=(checks.IPERF3_PORT,),
    )
    with find_vmm(PLATFORM.vmm).start(spec) as machine:
        shell = open_shell(machine, guest.system.login, SerialLog(), timeout_s=LOGIN_S)
        for line in checks.mount_lines("/dev/disk/by-label/guestbench", FOLDER):
            answer = shell.run(line)
            assert answer.status == 0, answer.stderr
        assert not isinstance(machine.forwards, Lacking)
        yield shell, machine.forwards[checks.IPERF3_PORT]


@pytest.mark.qemu
@pytest.mark.image
@pytest.mark.slow
@pytest.mark.parametrize(
    "check",
    [
        checks.sysbench_cpu(events=200),
        checks.sysbench_memory(total_bytes=200 * MIB),
        checks.sysbench_memory(total_bytes=200 * MIB, operation="read"),
        checks.stress_ng_matrix(operations=50),
    ],
    ids=lambda check: check.name,
)
def test_programs_run_in_debian(debian: tuple[Shell, int], check: Check) -> None:
    """Our own workloads could not be checked against known programs in the guest."""
    answer = debian[0].run(f"{CHROOT} {check.command}", timeout_s=RUN_S)
    assert answer.status == 0, answer.stderr
    assert read(check.parse(answer.stdout + answer.stderr)) > 0


@pytest.mark.qemu
@pytest.mark.image
@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True], ids=["in", "out"])
def test_iperf3_measures_between_host_and_debian(
    debian: tuple[Shell, int], tools: Tools, reverse: bool
) -> None:
    """Our own throughput could not be checked against a known program."""
    shell, port = debian
    check = checks.iperf3_client(port, size_bytes=8 * MIB, reverse=reverse)
    server = f"{CHROOT} {shlex.join(checks.iperf3_server())}"
    with HostProgram(check, tools.host_argv("iperf3"), timeout_s=RUN_S, tries=100) as client:
        shell.run(server, timeout_s=RUN_S, meanwhile=client)
        end = time.monotonic() + RUN_S
        while client.result is None and time.monotonic() < end:
            time.sleep(client())
        assert read(client.result) > 0
