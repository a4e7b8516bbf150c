"""`guestbench inspect` on the guests that are built: the figures, and how long they take."""

from __future__ import annotations

import json
import os
from pathlib import Path

import disks
import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import open_shell
from guestbench.host import process
from guestbench.images.formats.disk import convert_to_raw
from guestbench.images.inspection import Elf, FileSystem, Inspection, Kind
from guestbench.model import Accel, Guest, Platform, Role
from guestbench.provision.layout import ROOT_START
from guestbench.report.sbom import render_sbom
from guestbench.vmm import find_vmm

pytestmark = [pytest.mark.image, pytest.mark.network]

PLATFORM = Platform(accel=Accel.TCG)
INSPECTION_S = 30.0
UNIKERNEL_S = 5.0
"""Of CPU time, QEMU's included: what passes on the clock meanwhile is a matter of what else the host does."""


def prepare(name: str) -> Guest:
    """A guest of the catalogue, from the user's cache if it is there: a second test run is quick."""
    catalogue = load_catalogue()
    return provision.prepare(catalogue[name], {}, catalogue, say=lambda _: None)


def cpu_s() -> float:
    """Seconds of CPU time that this process and its children have taken."""
    return sum(os.times()[:4])


@pytest.fixture(scope="module")
def debian() -> Path:
    """The pristine disk of the Debian guest."""
    return Path(prepare("debian-12-nocloud").pristine[Role.DISK].path)


@pytest.fixture(scope="module")
def timed(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Inspection, float]:
    """What is in the Debian disk, and how many seconds of CPU time it took to find out."""
    scratch = tmp_path_factory.mktemp("scratch")
    disks.get_inspector()
    start_s = cpu_s()
    found = disks.inspect(debian, scratch)
    return found, cpu_s() - start_s


@pytest.fixture(scope="module")
def files(timed: tuple[Inspection, float]) -> FileSystem:
    """The root file system of the Debian disk."""
    assert timed[0].files is not None
    assert timed[0].files.value is not None
    return timed[0].files.value


@pytest.fixture(scope="module")
def raw(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian disk as a raw file."""
    path = tmp_path_factory.mktemp("raw") / "disk.raw"
    convert_to_raw(debian, path)
    return path


def cat(raw: Path, path: str) -> str:
    """A file in the disk by debugfs, which shares no code with what is tested."""
    device = f"{raw}?offset={ROOT_START * 512}"
    return process.run(["debugfs", "-R", f"cat {path}", device]).stdout.decode()


def test_inspecting_debian_takes_at_most_half_a_minute(timed: tuple[Inspection, float]) -> None:
    """The command would take too long to be used."""
    assert timed[1] < INSPECTION_S


def test_packages_of_debian_agree_with_the_build_and_with_dpkg(
    debian: Path, raw: Path, files: FileSystem
) -> None:
    """The number of packages would differ from what is installed."""
    assert files.packages.value is not None
    listed = {(package.name, package.version) for package in files.packages.value}
    manifest = json.loads((debian.parent / "manifest.json").read_bytes())
    # A disk that was downloaded comes without a list.
    built = manifest["made"].get("packages")
    assert not built or len(built) == len(listed)
    status = cat(raw, "/var/lib/dpkg/status")
    assert status.count("\nStatus: install ok installed\n") == len(files.packages.value)
    # As far as Debian's point releases move it.
    assert len(listed) == pytest.approx(291, abs=10)


def test_users_of_debian_agree_with_passwd(raw: Path, files: FileSystem) -> None:
    """A user would be missed, or root without a password not be noticed."""
    assert files.users.value is not None
    names = [line.split(":")[0] for line in cat(raw, "/etc/passwd").splitlines()]
    assert [user.name for user in files.users.value] == names
    assert {user.name: user.password for user in files.users.value}["root"] == "empty"
    assert len(names) in range(22, 28)


def test_privileged_files_of_debian(files: FileSystem) -> None:
    """A file that gives its user root's rights would be missed."""
    suid = {file.path for file in files.suid.value or ()}
    assert {f"/usr/bin/{name}" for name in ("su", "mount", "umount", "passwd", "chsh", "sudo")} <= suid
    assert len(suid) in range(9, 13)
    assert [file.path for file in files.sgid.value or ()] == [
        "/usr/bin/chage",
        "/usr/bin/expiry",
        "/usr/lib/x86_64-linux-gnu/utempter/utempter",
        "/usr/sbin/unix_chkpwd",
    ]
    assert [(file.path, file.detail) for file in files.capabilities.value or ()] == [
        ("/usr/bin/ping", "cap_net_raw=ep")
    ]
    assert files.world_writable.value == ()


def test_programs_and_kernel_of_debian(raw: Path, files: FileSystem) -> None:
    """The kernel's options, or what runs scripts and installs packages, would be wrong in the report."""
    config = files.kernel_config.value
    assert config is not None
    # 2418 and 3853 with Linux 6.1.0-56; a point release may move them by a few.
    assert config.builtin == pytest.approx(2418, abs=20)
    assert config.modules == pytest.approx(3853, abs=20)
    release = str(files.kernel.value).removeprefix("vmlinuz-")
    assert cat(raw, f"/boot/config-{release}").count("=y\n") == config.builtin
    assert cat(raw, f"/boot/config-{release}").count("=m\n") == config.modules
    assert files.kernel_cmdline.value is not None
    assert "console=ttyS0,115200" in files.kernel_cmdline.value
    executables = files.executables.value
    assert executables is not None
    assert executables.elf == pytest.approx(627, rel=0.05)
    assert {"/usr/bin/bash", "/usr/bin/dash"} <= {program.target for program in files.shells.value or ()}
    assert {"/usr/bin/apt", "/usr/bin/dpkg"} <= {p.target for p in files.package_managers.value or ()}
    assert "systemd-networkd.service" in {unit.name for unit in files.units.value or ()}
    assert files.modules.value is not None
    assert files.modules.value > 3000
    assert files.entries > 20_000


def test_gadgets_of_debian_are_counted(timed: tuple[Inspection, float]) -> None:
    """Linux would have no figure beside the unikernel's."""
    assert timed[0].code is not None
    rows = timed[0].code.value or ()
    assert len(rows) == 4
    assert rows[0].name.endswith(": vmlinux")
    for row in rows:
        assert row.gadgets.value is not None, row.gadgets.unknown
        assert row.gadgets.value.places > 10_000


@pytest.mark.qemu
def test_debian_says_of_itself_what_the_image_says(tmp_path: Path, files: FileSystem) -> None:
    """What is read from the image would not be what the guest that was booted has."""
    guest = prepare("debian-12-nocloud")
    assert guest.system.login is not None
    snapshot = provision.take_snapshot(guest, PLATFORM, lambda _: None)
    with find_vmm(PLATFORM.vmm).start(snapshot.launch_spec(tmp_path)) as machine:
        shell = open_shell(machine, guest.system.login, SerialLog(), timeout_s=180)
        packages = shell.run("dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Version}\\n' | grep ^ii")
        privileged = shell.run("find / -xdev -type f -perm /6000", timeout_s=120)
        users = shell.run("cut -d: -f1 /etc/passwd")
    assert files.packages.value is not None
    installed = {f"ii {package.name} {package.version}" for package in files.packages.value}
    assert set(packages.stdout.decode().splitlines()) == installed
    found = {file.path for each in (files.suid, files.sgid) for file in each.value or ()}
    assert set(privileged.stdout.decode().split()) == found
    assert users.stdout.decode().split() == [user.name for user in files.users.value or ()]


def test_bill_of_materials_of_debian(
    debian: Path, timed: tuple[Inspection, float], files: FileSystem
) -> None:
    """The bill of materials would lack packages, or name them in a way that scanners do not know."""
    bill = json.loads(render_sbom(timed[0], debian))
    assert files.packages.value is not None
    assert len(bill["components"]) == len(files.packages.value)
    assert all(each["purl"].startswith("pkg:deb/debian/") for each in bill["components"])


def test_minimal_linux_has_what_was_put_into_it(tmp_path: Path) -> None:
    """The smallest Linux guest would seem to have more, or less, than BusyBox."""
    paths = prepare("linux-minimal").pristine
    found = disks.inspect(Path(paths[Role.INITRD].path), tmp_path)
    assert found.kind is Kind.INITRAMFS
    assert found.files is not None
    files = found.files.value
    assert files is not None
    assert files.suid.value == files.sgid.value == ()
    assert files.modules.value == 9  # three drivers of virtio, and what they need
    assert {program.target for program in files.shells.value or ()} == {"/bin/busybox"}
    assert files.packages.value is None

    kernel = disks.inspect(Path(paths[Role.KERNEL].path), tmp_path).kernel
    assert kernel is not None
    assert "cloud-amd64" in str(kernel.version.value)
    program = kernel.program.value
    assert program is not None
    # The positive control: Linux does set the entry of SYSCALL.
    assert read_counts(program)["code that names LSTAR"] >= 1
    assert {row.name: row.state for row in program.mitigations}["stack protector"] == "present"


def read_counts(program: Elf) -> dict[str, int]:
    """The ways in by a trap."""
    assert program.syscall_entry.value is not None
    return {row.name: row.count for row in program.syscall_entry.value}


def test_floor_has_nothing(tmp_path: Path) -> None:
    """The guest that does nothing would be reported with an attack surface."""
    image = Path(prepare("floor").pristine[Role.KERNEL].path)
    start_s = cpu_s()
    found = disks.inspect(image, tmp_path)
    assert cpu_s() - start_s < UNIKERNEL_S
    assert found.elf is not None
    assert set(read_counts(found.elf).values()) == {0}
    assert found.elf.wx_segments.value == 0
    assert found.elf.programs.value == ()
    assert found.elf.gadgets.value is not None
    assert found.elf.gadgets.value.places == 0
    assert found.elf.code_bytes.value is not None
    assert found.elf.code_bytes.value < 200
