"""Trials of work: which there are, what each worker is given, and how its guest is started."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from factories import make_guest, make_header, make_image, make_system
from replay import FAKE, write_recording
from work_factories import (
    CPU,
    begin_line,
    end_line,
    guests_of,
    make_experiment,
    make_kit,
    make_kit_work,
    make_report,
    make_work_header,
    make_work_kit,
    make_work_run,
    make_work_systems,
    work_record,
)

from guestbench import provision
from guestbench.errors import TrialError
from guestbench.families import find_family, find_hook, find_purpose, list_families
from guestbench.families.work import check_guest
from guestbench.families.work.probe import measure as give_work
from guestbench.guest.serial import SerialLog
from guestbench.model import (
    BootWork,
    Disk,
    DiskFormat,
    Experiment,
    Guest,
    Image,
    Job,
    Kernel,
    Kit,
    Login,
    Net,
    Ok,
    Platform,
    ProgramLoad,
    Role,
    ShellWork,
    System,
    Trial,
)
from guestbench.provision.snapshot import Snapshot
from guestbench.run import trials as run
from guestbench.run import worker
from guestbench.run.plan import plan_trials
from guestbench.run.progress import Forecast, describe_record, describe_trial
from guestbench.vmm import LaunchSpec
from guestbench.vmm.qemu.command import build_argv, build_interactive_argv
from guestbench.vmm.qemu.monitor import parse_forwards

PLATFORM = Platform()
WORKING = ("work", "net", "cross-check")


def plan(experiment: Experiment | None = None, kit: Kit | None = None, seed: int = 1) -> list[Trial]:
    """The trials of work of the four systems."""
    header = make_header(guests_of(make_work_systems()))
    experiment = msgspec.structs.replace(experiment or make_experiment(cycles=3), seed=seed)
    trials = plan_trials(msgspec.structs.replace(header, experiment=experiment, kit=kit))
    return [trial for trial in trials if trial.purpose in WORKING]


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


def trial_of(system: str, purpose: str, workload: str = "") -> Trial:
    """A trial."""
    return Trial(id="t", system=system, purpose=purpose, block=1, cycle=1, definition="", workload=workload)


FLOOR, DEBIAN, APP, MIRAGE = make_work_systems()
KIT = make_work_kit()


# --- the plan -------------------------------------------------------------------------------------------


def test_every_block_has_every_piece_of_work_once() -> None:
    """A system would do some work more often than another, or under other conditions of the host."""
    trials = plan(kit=KIT)
    wanted = {
        *(("debian", "work", name) for name in ("cpu", "memory", "merkle")),
        *(("debian", "cross-check", name) for name in check_guest.TOOL_NAMES),
        *(("linux-app", "work", name) for name in ("cpu", "memory")),
        ("mirage", "work", ""),
        *((name, "net", "") for name in ("debian", "linux-app", "mirage")),
    }
    for block in (1, 2, 3):
        done = Counter((t.system, t.purpose, t.workload) for t in trials if t.block == block)
        assert done == Counter(wanted)
    assert [t.block for t in trials] == sorted(t.block for t in trials)
    assert all(t.cycle == t.block for t in trials)


def test_a_seed_gives_one_order_and_blocks_differ() -> None:
    """A run could not be repeated, or drift of the host would hit always the same system last."""
    assert plan(kit=KIT) == plan(kit=KIT)
    assert plan(kit=KIT) != plan(kit=KIT, seed=2)
    orders = {tuple((t.system, t.workload) for t in plan(kit=KIT) if t.block == block) for block in (1, 2, 3)}
    assert len(orders) == 3


def test_ids_name_the_work_and_are_unique() -> None:
    """Two trials would share a folder of artifacts, or one be taken for the other when a run goes on."""
    trials = plan(kit=KIT)
    assert len({trial.id for trial in trials}) == len(trials)
    assert all(trial.id.endswith(f"-{trial.cycle}") for trial in trials)
    first = next(t for t in trials if t.workload == "memory" and t.system == "debian")
    assert first.id.partition("-")[2] == "work-memory-debian-1"


@pytest.mark.parametrize(
    ("kit", "purposes"),
    [
        (None, set[str]()),
        (make_kit(), {"net", "work"}),
        (make_kit(make_kit_work(CPU)), {"net", "work"}),
    ],
)
def test_work_that_the_kit_has_no_program_for_is_not_planned(kit: Kit | None, purposes: set[str]) -> None:
    """Every trial of a program that could not be built would fail."""
    trials = plan(kit=kit)
    assert {trial.purpose for trial in trials} == purposes
    names = {trial.workload for trial in trials if trial.system != "mirage"} - {""}
    assert names == ({work.workload.name for work in kit.works} if kit else set())


def test_families_that_are_not_asked_for_are_not_planned() -> None:
    """`--metrics work` would measure the network as well."""
    for family, purposes in (
        ("work", {"work", "cross-check"}),
        ("net", {"net"}),
        ("boot", set()),
    ):
        experiment = msgspec.structs.replace(make_experiment(), metrics=(family,))
        assert {trial.purpose for trial in plan(experiment, KIT)} == purposes


PURPOSES = [purpose.name for family in list_families() for purpose in family.purposes]

# --- what a worker is given -----------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", PURPOSES)
def test_only_trials_that_give_work_get_the_kit(purpose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial of work would have no programs, or a timed boot would wait for files it does not need."""
    monkeypatch.setattr(run, "_find_state", lambda *_: None)
    header = make_work_header(make_work_systems(), KIT)
    job = run.make_job(trial_of("debian", purpose, "cpu"), header, Path())
    needs = {*WORKING, "memory", "memory-min"}
    assert (job.kit is not None) == (purpose in needs)
    assert job.settings == header.experiment.settings


Asked = list[tuple[str, Path | None, float]]


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The snapshots that are asked for: system, tools disk, seconds of settling."""
    asked: Asked = []

    def take(guest: Guest, platform: Platform, *_: object, tools: Path | None, settle_s: float) -> Snapshot:
        asked.append((guest.system.name, tools, settle_s))
        return Snapshot(guest=guest, platform=platform, state=Path("/state"))

    monkeypatch.setattr(provision, "take_snapshot", take)
    return asked


@pytest.mark.parametrize(
    ("system", "purpose", "disk", "settle_s"),
    [
        (DEBIAN, "work", "kit.ext4", 10.0),
        (DEBIAN, "net", "kit.ext4", 10.0),
        (DEBIAN, "cross-check", "tools.ext4", 10.0),
        (DEBIAN, "boot", None, None),
        (DEBIAN, "memory", None, None),
        (DEBIAN, "surface", None, None),
        (msgspec.structs.replace(DEBIAN, login=Login(user="root")), "surface", "", 0.0),
        (APP, "work", None, None),
        (APP, "net", None, None),
        (MIRAGE, "work", None, None),
        (FLOOR, "boot", None, None),
    ],
)
def test_only_guests_with_a_shell_go_on_from_a_snapshot(
    system: System, purpose: str, disk: str | None, settle_s: float | None, snapshots: Asked
) -> None:
    """A boot would not be a boot, or each trial of work would boot a guest for a minute."""
    header = make_work_header([system], KIT)
    job = run.make_job(trial_of(system.name, purpose), header, Path())
    assert (job.resume is not None) == (disk is not None)
    if disk is not None:
        tools = Path(make_image(disk).path) if disk else None
        assert snapshots == [(system.name, tools, settle_s)]


def test_a_guest_that_gets_no_snapshot_boots_in_its_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that does not get ready would stop the whole run."""

    def fail(*_: object, **__: object) -> Snapshot:
        raise TrialError("it did not get ready", "")

    monkeypatch.setattr(provision, "take_snapshot", fail)
    header = make_work_header(make_work_systems(), KIT)
    assert run.make_job(trial_of("debian", "work", "cpu"), header, Path()).resume is None


def test_no_state_is_kept_of_a_replayed_guest(snapshots: Asked) -> None:
    """A run on recordings would ask QEMU for a snapshot."""
    header = make_work_header(make_work_systems(), KIT)
    header = msgspec.structs.replace(header, platform=Platform(vmm="fake"))
    assert run.make_job(trial_of("debian", "work", "cpu"), header, Path()).resume is None
    assert snapshots == []


# --- how a worker starts its guest ----------------------------------------------------------------------


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


# --- QEMU's options -------------------------------------------------------------------------------------


def spec(**fields: object) -> LaunchSpec:
    """How a guest with a disk of its own is started."""
    guest = make_guest(make_system("debian", boot=Kernel(disk=DiskFormat.QCOW2)))
    defaults = {"boot": guest.system.boot, "images": guest.images, "platform": PLATFORM, "folder": Path()}
    return LaunchSpec(**(defaults | fields))  # type: ignore[arg-type]


def test_the_tools_disk_comes_last_and_can_only_be_read() -> None:
    """The guest would boot from the tools disk, or write to it."""
    plain, argv = build_argv(spec()), build_argv(spec(tools=Path("/srv/a,b/kit.ext4")))
    added = argv[len(plain) :]
    assert argv[: len(plain)] == plain
    assert added == (
        *("-drive", "file=/srv/a,,b/kit.ext4,format=raw,read-only=on,if=none,id=tools"),
        *("-device", "virtio-blk-pci,drive=tools,serial=guestbench,addr=0x10"),
    )


def test_ports_are_forwarded_from_this_host_alone() -> None:
    """A guest's services would be open to the network that the host is in."""
    argv = build_argv(spec(forwards=(7, 80)))
    assert "user,id=n0,hostfwd=tcp:127.0.0.1:0-:7,hostfwd=tcp:127.0.0.1:0-:80" in argv
    assert "user,id=n0" in build_argv(spec())
    without = build_argv(spec(forwards=(7,), platform=Platform(net=Net.NONE)))
    assert not any("hostfwd" in word for word in without)
    assert not any("hostfwd" in word for word in build_interactive_argv(spec(forwards=(7,))))


USERNET = """Hub -1 (n0):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[HOST_FORWARD]  14       127.0.0.1 40217       10.0.2.15     7     0     0\r
  TCP[HOST_FORWARD]  13       127.0.0.1 35111       10.0.2.15    80     0     0\r
  TCP[SYN_SENT]      20       127.0.0.1 50000       10.0.2.15     9     0     0\r
  UDP[236 sec]       35       10.0.2.15    53       10.0.2.3     53     0     0\r
  ICMP[1 sec]        36       10.0.2.15     1       10.0.2.2      1     0     0\r
"""


def test_forwarded_ports_are_those_that_qemu_says() -> None:
    """The host would talk to another port than the guest's."""
    assert parse_forwards(USERNET) == {7: 40217, 80: 35111}
    assert parse_forwards("") == {}


# --- progress -------------------------------------------------------------------------------------------


def test_progress_says_what_work_took() -> None:
    """Whoever waits for a run would not see what it does."""
    record = work_record("debian", [make_report("cpu", seconds=2.345)], workload="cpu", cycle=2)
    assert describe_trial(record.trial) == "debian work cpu 2"
    assert describe_record(record) == "debian work cpu 2: cpu 2.35 s"
    idle = work_record("mirage")
    assert describe_record(idle) == "mirage work 1: it does no such work"
    _, records = make_work_run()
    lines = [describe_record(each) for each in records]
    assert "debian net 1: done" in lines
    assert "debian cross-check iperf3-in 1: done" in lines
    assert any(line.startswith("linux-app work cpu 2: FAILED: cpu was killed") for line in lines)


def test_the_time_left_is_known_for_each_workload_apart() -> None:
    """A workload of minutes would be forecast from one of seconds."""
    kinds = [("debian", "cpu"), ("debian", "memory"), ("mirage", "")]
    records = [
        work_record(system, workload=workload, cycle=cycle) for cycle in (1, 2) for system, workload in kinds
    ]
    forecast = Forecast([record.trial for record in records])
    for seconds, record in zip((10, 60, 100), records[:3], strict=True):
        forecast.learn(msgspec.structs.replace(record, wall_ns=seconds * 10**9))
    assert forecast.describe() == "2 min 50 s left"


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
