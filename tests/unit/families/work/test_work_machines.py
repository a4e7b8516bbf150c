"""How the machines of trials are started, and how guests are given their work."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from factories import make_guest
from replay import FAKE, write_recording
from work_factories import (
    CPU,
    begin_line,
    end_line,
    make_kit,
    make_kit_work,
    make_report,
    make_work_kit,
    make_work_systems,
    trial_of,
)

from guestbench.families import find_family, find_hook, find_purpose
from guestbench.families.work.probe import measure as give_work
from guestbench.guest.serial import SerialLog
from guestbench.model import (
    BootWork,
    Disk,
    Image,
    Job,
    Kernel,
    Kit,
    Ok,
    Platform,
    ProgramLoad,
    Role,
    ShellWork,
    System,
    Trial,
)
from guestbench.run import worker
from guestbench.vmm import LaunchSpec

PLATFORM = Platform()
FLOOR, DEBIAN, APP, MIRAGE = make_work_systems()
KIT = make_work_kit()


def job_of(
    trial: Trial, system: System, kit: Kit | None, platform: Platform = PLATFORM, folder: Path = Path()
) -> Job:
    """The job of a trial of a system."""
    return Job(
        trial=trial, family=find_family(trial.purpose).name, purpose=find_purpose(trial.purpose),
        guest=make_guest(system), platform=platform, host="", folder=str(folder), parent_pid=0, kit=kit,
    )  # fmt: skip


def equip(job: Job) -> LaunchSpec:
    """How the machine of a trial is started."""
    plain = LaunchSpec(
        boot=job.system.boot, images=job.guest.images, platform=job.platform, folder=Path(job.folder)
    )
    hook = find_hook(job.family, "probe", "equip")
    equipped: LaunchSpec = hook(job, plain) if hook else plain
    return equipped


@pytest.mark.parametrize(
    ("system", "purpose", "workload", "cmdline"),
    [
        (APP, "work", "cpu", "rdinit=/guestwork -- cpu events=1200"),
        (APP, "work", "merkle", "rdinit=/merkle -- "),
        (APP, "work", "", ""),
        (APP, "net", "", ""),
        (APP, "boot", "", ""),
        (APP, "memory", "load", ""),
        (
            msgspec.structs.replace(APP, load=ProgramLoad(arguments=("memory", "parts=write:64M:4G"))),
            "memory",
            "load",
            "rdinit=/guestwork -- memory parts=write:64M:4G",
        ),
        (DEBIAN, "work", "cpu", ""),
    ],
)  # fmt: skip
def test_a_guest_is_booted_with_its_work_where_that_is_how_it_works(
    system: System, purpose: str, workload: str, cmdline: str
) -> None:
    """A guest would boot without its work, or a counted boot with some."""
    boot = equip(job_of(trial_of(system.name, purpose, workload), system, KIT)).boot
    assert isinstance(boot, Kernel) and boot.cmdline == cmdline


def test_a_guest_that_boots_from_a_disk_is_never_given_a_command_line() -> None:
    """A definition that cannot be would end with a traceback."""
    system = msgspec.structs.replace(APP, boot=Disk())
    job = job_of(trial_of("linux-app", "work", "cpu"), system, KIT)
    assert equip(job).boot == Disk()
    assert equip(job).images == job.guest.images


@pytest.mark.parametrize(
    ("system", "purpose", "disk"),
    [
        (DEBIAN, "work", "kit.ext4"),
        (DEBIAN, "net", "kit.ext4"),
        (DEBIAN, "cross-check", "tools.ext4"),
        (DEBIAN, "memory", None),
        (DEBIAN, "boot", None),
        (msgspec.structs.replace(DEBIAN, work=ShellWork(disk=False)), "work", None),
        (APP, "work", None),
        (MIRAGE, "net", None),
    ],
)
def test_only_trials_of_work_over_a_shell_have_a_tools_disk(
    system: System, purpose: str, disk: str | None
) -> None:
    """A boot would be measured with a disk that is no part of the guest."""
    found = equip(job_of(trial_of(system.name, purpose), system, KIT)).tools
    assert (found.name if found else None) == disk


@pytest.mark.parametrize(
    ("purpose", "ports"),
    [
        ("net", (7, 9, 19, 80)),
        ("cross-check", (5201, 80)),
        ("work", ()),
        ("boot", ()),
    ],
)
def test_only_trials_of_the_network_have_ports_forwarded(purpose: str, ports: tuple[int, ...]) -> None:
    """A boot would have a listening port that others have not, or a network trial none."""
    assert equip(job_of(trial_of("debian", purpose), DEBIAN, KIT)).forwards == ports


def test_a_trial_of_work_keeps_what_the_guest_said(tmp_path: Path) -> None:
    """The record would lack the work, or the file that shows what the guest printed."""
    lines = begin_line("cpu", limit=100) + end_line("cpu")
    recording = write_recording(
        tmp_path / "recorded", [(1000, lines[:-40].encode()), (3000, lines[-40:].encode())], 0
    )
    stat = recording.stat()
    image = Image(path=str(recording), size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256="")
    work = msgspec.structs.replace(make_kit_work(CPU, make_report("cpu", limit="100")), program=image)
    kit = msgspec.structs.replace(make_kit(work), disk=image, server=image)
    job = job_of(trial_of("linux-app", "work", "cpu"), APP, kit, FAKE, tmp_path)
    guest = msgspec.structs.replace(job.guest, images={Role.KERNEL: image}, pristine={Role.KERNEL: image})
    record = worker.run_trial(msgspec.structs.replace(job, guest=guest))
    assert record.outcome == Ok()
    (report,) = record.work
    assert (report.workload, report.seconds) == ("cpu", 2.0)
    assert {sample.metric for sample in record.samples} == {"work.cpu", "work.time"}
    assert (tmp_path / record.artifacts["serial"]).read_bytes() == lines.encode()


def test_a_trial_of_work_without_its_kit_is_a_mistake_of_ours() -> None:
    """A run would go on with trials that can do nothing."""
    machine, log = object(), SerialLog()
    for kit, what in ((None, "without its kit"), (make_kit(), "no workload cpu")):
        job = job_of(trial_of("debian", "work", "cpu"), DEBIAN, kit)
        with pytest.raises(RuntimeError, match=what):
            give_work(job, machine, log)  # type: ignore[arg-type]


def test_a_program_takes_the_place_of_the_initial_ramdisk_where_that_is_how_it_comes() -> None:
    """A guest would work with another file than the others, or boot into its work in every trial."""
    way = BootWork(cmdline="{program} {arguments}", initrd=True)
    load = ProgramLoad(arguments=("memory", "parts=write:64M:4G"))
    system = msgspec.structs.replace(APP, work=way, load=load)
    work = KIT.find("cpu")
    assert work is not None and work.program is not None
    spec = equip(job_of(trial_of(system.name, "work", "cpu"), system, KIT))
    assert isinstance(spec.boot, Kernel)
    assert spec.boot.cmdline == " ".join(["guestwork", *work.workload.arguments])
    assert spec.images[Role.INITRD] == work.program
    spec = equip(job_of(trial_of(system.name, "memory", "load"), system, KIT))
    assert isinstance(spec.boot, Kernel) and spec.boot.cmdline == "guestwork memory parts=write:64M:4G"
    assert spec.images[Role.INITRD] == KIT.server
    for purpose in ("boot", "net", "memory"):
        job = job_of(trial_of(system.name, purpose, ""), system, KIT)
        assert (equip(job).boot, equip(job).images) == (APP.boot, job.guest.images)
