"""Makes headers, guests and records for tests; a whole run among them that looks like a real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from guestbench.analysis.summary import find_summary, summarise
from guestbench.definition.settings import find_family_tables
from guestbench.families import find_metrics
from guestbench.model import (
    FORMAT_VERSION,
    Absent,
    Accel,
    AccelChoice,
    Boot,
    Conditions,
    Crashed,
    Disk,
    DiskFormat,
    Experiment,
    Guest,
    GuestFamily,
    Header,
    Host,
    Image,
    Kernel,
    Mark,
    Milestone,
    Ok,
    Origin,
    Outcome,
    Platform,
    Provision,
    Record,
    Role,
    Sample,
    Summary,
    System,
    Trial,
    Wait,
    to_table,
)

TOOL = "0.1.0"
HOST_DIGEST = "5f2c9e7d1a3b4c60"
SEED = 20240117

ROWS = {row.name: row for row in find_metrics(("image", "boot"))}
BOOT_METRICS = tuple(
    msgspec.structs.replace(ROWS[name], title=title, help=help_text)
    for name, title, help_text in (
        ("boot.ready", "Boot time", "From the exec of the VMM to the byte that completes the ready marker."),
        ("boot.mark", "Milestone", "From the exec of the VMM to the milestone; label mark=NAME."),
        ("boot.cpu", "CPU time to ready", "CPU time of the VMM when the ready marker arrived."),
        ("boot.above_floor", "Boot time above the floor", "boot.ready less the floor's median."),
    )
)
IMAGE_METRICS = tuple(
    msgspec.structs.replace(ROWS[f"image.{name}"], title=title, help=help_text)
    for name, title, help_text in (
        ("file", "Files", "Bytes of the image files."),
        ("allocated", "Allocated", "Bytes the files take on the host's disk."),
        ("virtual", "Virtual disk", "Size of the disk that the guest sees."),
        ("zstd", "Compressed", "Bytes of the files compressed by zstd."),
        ("rootfs", "Root file system used", "Bytes used in the root file system."),
        ("kernel", "Kernel", "Bytes of the kernel."),
        ("initrd", "Initrd", "Bytes of the initrd."),
        ("text", "Code", "Bytes of executable segments."),
    )
)


def make_image(name: str, size_bytes: int = 4096) -> Image:
    """An image file whose digest is made of its name."""
    digest = "".join(f"{ord(c):02x}" for c in name).ljust(64, "0")[:64]
    return Image(
        path=f"/srv/images/{name}", size_bytes=size_bytes, mtime_ns=1_700_000_000_000_000_000, sha256=digest
    )


def make_system(
    name: str,
    *,
    title: str = "",
    family: GuestFamily = GuestFamily.LINUX,
    boot: Boot | None = None,
    ready: str = "login: ",
    milestones: Mapping[str, str] | None = None,
    timeout_s: float = 180,
    help: str = "",  # noqa: A002
    provision: Provision | None = None,
    wait: Wait | None = None,
) -> System:
    """A system; `milestones` maps names to patterns."""
    return System(
        name=name,
        title=title or name,
        family=family,
        boot=boot or Kernel(),
        ready=ready,
        timeout_s=timeout_s,
        help=help,
        milestones=tuple(Milestone(name=n, pattern=p) for n, p in (milestones or {}).items()),
        provision=provision or Provision(),
        wait=wait,
    )


def make_guest(
    system: System,
    *,
    sizes: Mapping[Role, int] | None = None,
    origin: Origin | None = None,
    settled: bool = False,
) -> Guest:
    """A guest with one image file a role; a settled one boots another disk than the pristine."""
    sizes = sizes or dict.fromkeys(system.boot.roles, 4096)
    pristine = {role: make_image(f"{system.name}.{role.value}", size) for role, size in sizes.items()}
    images = dict(pristine)
    if settled:
        images[Role.DISK] = make_image(f"{system.name}.settled", 90_308_608)
    return Guest(
        system=system,
        images=images,
        pristine=pristine,
        origin=origin or Origin(kind="built", detail="from source", settled=settled),
    )


def make_trials(
    names: Sequence[str], cycles: int, warmups: int = 0, first: Sequence[str] = (), images: bool = True
) -> tuple[Trial, ...]:
    """Trials in the plan's order; the blocks rotate the systems."""
    plan: list[tuple[str, str, int, int]] = []
    if images:
        plan += [(name, "image", 0, 1) for name in names]
    plan += [(name, "first-boot", 0, 1) for name in first]
    plan += [(name, "warmup", 0, cycle) for cycle in range(1, warmups + 1) for name in names]
    for cycle in range(1, cycles + 1):
        turn = cycle % len(names) if names else 0
        plan += [(name, "boot", cycle, cycle) for name in (*names[turn:], *names[:turn])]
    return tuple(
        Trial(
            id=f"{number:03}-{purpose}-{name}-{cycle}",
            system=name,
            purpose=purpose,
            block=block,
            cycle=cycle,
            definition=f"{name}-definition",
        )
        for number, (name, purpose, block, cycle) in enumerate(plan, 1)
    )


def make_header(
    guests: Sequence[Guest] = (),
    trials: Sequence[Trial] = (),
    *,
    absent: Sequence[Absent] = (),
    title: str = "A comparison",
    cycles: int = 10,
    warmups: int = 1,
) -> Header:
    """A header of a run on a small emulating host."""
    platform = Platform(accel=Accel.TCG)
    return Header(
        version=FORMAT_VERSION,
        run="20240117-101500-seed",
        created="2024-01-17T10:15:00+00:00",
        tool=TOOL,
        command=("run", "seed"),
        experiment=Experiment(
            name="seed",
            title=title,
            systems=tuple(guest.system.name for guest in guests),
            optional=tuple(a.system for a in absent),
            metrics=("image", "boot"),
            settings={name: to_table(table()) for name, table in find_family_tables().items()},
            cycles=cycles,
            warmups=warmups,
            seed=SEED,
        ),
        guests=tuple(guests),
        absent=tuple(absent),
        platform=platform,
        accel=AccelChoice(
            requested=Accel.AUTO, used=Accel.TCG, reason="KVM: linux-minimal did not get ready within 20 s"
        ),
        host=Host(
            digest=HOST_DIGEST,
            cpu_model="Example CPU @ 2.50GHz",
            cpus=2,
            memory_mib=7950,
            kernel="6.1.0-18-amd64",
            os="Debian GNU/Linux 12 (bookworm)",
            virtualization="kvm",
            vmm_version="7.2.22",
            vmm_path="/usr/bin/qemu-system-x86_64",
            python="3.11.2",
        ),
        load_1m=0.12,
        metrics=(*IMAGE_METRICS, *BOOT_METRICS),
        trials=tuple(trials),
    )


def make_record(
    trial: Trial,
    samples: Sequence[Sample] = (),
    *,
    outcome: Outcome | None = None,
    marks: Sequence[Mark] = (),
    argv: Sequence[str] = (),
    images: Mapping[Role, str] | None = None,
    conditions: Conditions | None = None,
    artifacts: Mapping[str, str] | None = None,
    started: str = "2024-01-17T10:15:00.000+00:00",
) -> Record:
    """The record of a trial, successful unless an outcome says otherwise."""
    return Record(
        version=FORMAT_VERSION,
        trial=trial,
        outcome=outcome or Ok(),
        marks=tuple(marks),
        samples=tuple(samples),
        argv=tuple(argv),
        host=HOST_DIGEST,
        images=dict(images or {}),
        tool=TOOL,
        started=started,
        wall_ns=1_000_000_000,
        conditions=conditions or Conditions(load_1m=0.8, cpu_others=0.02, cpu_steal=0.0),
        artifacts=dict(artifacts or {}),
    )


def boot_samples(ready: float, cpu: float, marks: Mapping[str, float] | None = None) -> tuple[Sample, ...]:
    """The samples of a successful boot, in seconds, as the boot probe makes them."""
    reached = {**(marks or {}), "ready": ready}
    return (
        Sample(metric="boot.ready", value=ready),
        *(Sample(metric="boot.mark", value=t, labels={"mark": name}) for name, t in reached.items()),
        Sample(metric="boot.cpu", value=cpu),
    )


def find_own(header: Header, records: Sequence[Record], system: str, metric: str = "boot.ready") -> Summary:
    """What is made of a system's values of a metric without labels."""
    found = find_summary(summarise(header, records), system, metric)
    assert found is not None
    return found


def make_boot_run(
    values: Mapping[str, Sequence[float]], floor: str = ""
) -> tuple[Header, tuple[Record, ...]]:
    """A run of systems with the boot times given; the one named `floor` is of that family."""
    kinds = {name: GuestFamily.FLOOR if name == floor else GuestFamily.LINUX for name in values}
    guests = [make_guest(make_system(name, family=kind)) for name, kind in kinds.items()]
    cycles = max(len(times) for times in values.values())
    trials = make_trials(list(values), cycles, images=False)
    records = tuple(
        make_record(trial, boot_samples(values[trial.system][trial.cycle - 1], 0.1))
        for trial in trials
        if trial.cycle <= len(values[trial.system])
    )
    return make_header(guests, trials), records


# --- a whole run ------------------------------------------------------------------------------------

HOSTILE_REASON = (
    "the guest panicked: | <b>`Kernel`</b> | \x1b[31m[panic](http://evil.example/?a|b)\n# not syncing"
)
"""What a hostile guest might print: a table cell, HTML, a link, an escape sequence and a heading."""

_MARKS: dict[str, dict[str, str]] = {
    "floor": {"firmware": "SeaBIOS (version"},
    "linux-minimal": {"firmware": "SeaBIOS (version", "kernel": "Linux version ", "init": "[init]"},
    "debian-12-direct": {"firmware": "SeaBIOS (version", "kernel": "Linux version ", "init": "systemd[1]"},
    "debian-12-nocloud": {
        "firmware": "SeaBIOS (version",
        "boot loader": "GNU GRUB",
        "kernel": "Linux version ",
        "init": "systemd[1]",
    },
}
_WAY = {"firmware": 0.004, "boot loader": 0.01, "kernel": 0.33, "init": 0.52}
"""About which share of a boot is over at each milestone; the first is of the floor's time for all."""
_READY = {
    "floor": (0.0931, 0.0928, 0.0940, 0.0925, 0.0933, 0.0951, 0.0929, 0.0930, 0.0938, 0.0927),
    "linux-minimal": (2.61, 2.48, 2.55, 2.72, 2.50, 2.58, 2.66, 2.49, 2.53, 2.60),
    "debian-12-direct": (33.6, 33.1, 34.9, 33.4, 51.8, 33.8, 33.2, 34.0, 33.5, 33.9),
    "debian-12-nocloud": (45.8, 45.2, 46.9, 45.5, 46.1, 45.7, 45.9, 47.0, 45.3, 46.2),
}
_FAILED = ("debian-12-nocloud", 7)
_BUSY = ("debian-12-direct", 5)
_IMAGE: dict[str, dict[str, int]] = {
    "floor": {"file": 272, "allocated": 4096, "zstd": 168, "kernel": 272, "text": 57},
    "linux-minimal": {
        "file": 9_481_216,
        "allocated": 9_486_336,
        "zstd": 9_207_401,
        "kernel": 8_297_920,
        "initrd": 1_183_296,
    },
    "debian-12-direct": {
        "file": 1_054_117_888,
        "allocated": 1_054_121_984,
        "virtual": 3_221_225_472,
        "zstd": 296_412_160,
        "rootfs": 1_011_875_840,
        "kernel": 8_183_232,
        "initrd": 33_021_952,
    },
    "debian-12-nocloud": {
        "file": 1_012_912_704,
        "allocated": 1_012_916_224,
        "virtual": 3_221_225_472,
        "zstd": 258_998_272,
        "rootfs": 1_011_875_840,
    },
}
_ARGV_COMMON = (
    *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "512M", "-smp", "1"),
    *("-nodefaults", "-no-user-config", "-nographic", "-no-reboot"),
    *("-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0"),
    *("-serial", "stdio"),
)


def make_run() -> tuple[Header, tuple[Record, ...]]:
    """A finished run of four systems with one left out, one boot failed, and one disturbed by a neighbour."""
    guests = _make_guests()
    names = [guest.system.name for guest in guests]
    trials = make_trials(names, cycles=10, warmups=1, first=["debian-12-direct", "debian-12-nocloud"])
    # Behind all others, so that these keep their numbers.
    boots = [trial for trial in trials if trial.purpose == "boot" and trial.system == "floor"]
    trials += tuple(
        msgspec.structs.replace(trial, id=f"{len(trials) + n:03}-twin-floor-{n}", purpose="twin")
        for n, trial in enumerate(boots, 1)
    )
    header = make_header(
        guests,
        trials,
        absent=[Absent(system="mirage-unikraft", reason="dist/hello.qemu is not there")],
        title="MirageOS on Unikraft and Debian 12 under identical QEMU settings",
    )
    by_name = {guest.system.name: guest for guest in guests}
    return header, tuple(
        _make_run_record(trial, by_name[trial.system], number) for number, trial in enumerate(trials)
    )


def make_partial_run(trials: int) -> tuple[Header, tuple[Record, ...]]:
    """The same run stopped after so many trials."""
    header, records = make_run()
    return header, records[:trials]


def with_outcome(record: Record, outcome: Outcome) -> Record:
    """The record as if the trial had ended so, without samples."""
    return msgspec.structs.replace(record, outcome=outcome, samples=())


_DISK = Origin(
    kind="built",
    detail="from Debian packages, suite bookworm",
    settled=True,
    differences=(
        "288 packages, as the package lists of the official image give them; their versions are newer",
        "the file system is made by mke2fs, so its layout on the disk is another",
    ),
)


def _make_guests() -> tuple[Guest, ...]:
    root = "root=/dev/vda1 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0"
    floor = make_system(
        "floor",
        title="Null guest",
        family=GuestFamily.FLOOR,
        ready="[floor ready]",
        milestones=_MARKS["floor"],
        timeout_s=10,
        help="Says it is ready and halts: what QEMU and its firmware cost.",
    )
    minimal = make_system(
        "linux-minimal",
        title="Debian's cloud kernel with busybox",
        boot=Kernel(cmdline="console=ttyS0 quiet", initrd=True),
        ready="[minimal ready]",
        milestones=_MARKS["linux-minimal"],
        timeout_s=60,
    )
    direct = make_system(
        "debian-12-direct",
        title="Debian 12, kernel given to QEMU",
        boot=Kernel(cmdline=root, initrd=True, disk=DiskFormat.QCOW2),
        milestones=_MARKS["debian-12-direct"],
        provision=Provision(settle=True, share="debian-12-nocloud"),
    )
    nocloud = make_system(
        "debian-12-nocloud",
        title="Debian 12, nocloud image",
        boot=Disk(),
        milestones=_MARKS["debian-12-nocloud"],
        provision=Provision(settle=True),
        wait=Wait(what="GRUB's menu of five seconds", metric="boot.ready", without="debian-12-direct"),
    )
    return (
        make_guest(
            floor,
            sizes={Role.KERNEL: 272},
            origin=Origin(kind="built", detail="from floor.S in the system's folder"),
        ),
        make_guest(
            minimal,
            sizes={Role.KERNEL: 8_297_920, Role.INITRD: 1_183_296},
            origin=Origin(kind="built", detail="from Debian packages, suite bookworm"),
        ),
        make_guest(
            direct,
            sizes={Role.KERNEL: 8_183_232, Role.INITRD: 33_021_952, Role.DISK: 1_012_912_704},
            origin=Origin(kind="shared", detail="the disk of debian-12-nocloud", settled=True),
            settled=True,
        ),
        make_guest(nocloud, sizes={Role.DISK: 1_012_912_704}, origin=_DISK, settled=True),
    )


def _make_run_record(trial: Trial, guest: Guest, number: int) -> Record:
    started = f"2024-01-17T{10 + number // 60:02}:{number % 60:02}:00.000+00:00"
    if trial.purpose == "image":
        samples = [Sample(metric=f"image.{k}", value=v) for k, v in _IMAGE[trial.system].items()]
        if len(guest.pristine) > 1:
            samples += [
                Sample(metric="image.file", value=image.size_bytes, labels={"role": role.value})
                for role, image in guest.pristine.items()
            ]
        digests = {role: image.sha256 for role, image in guest.pristine.items()}
        return make_record(trial, samples, images=digests, started=started)
    images = guest.pristine if trial.purpose == "first-boot" else guest.images
    argv = (*_ARGV_COMMON, *_own_options(guest.system.boot, images))
    ready = _READY[trial.system][trial.cycle - 1] * {"first-boot": 1.18, "warmup": 1.04}.get(trial.purpose, 1)
    if trial.purpose == "twin":
        ready = _READY[trial.system][trial.cycle % len(_READY[trial.system])]
    marks = {
        mark: round(0.0712 + trial.cycle % 4 / 5000, 6)
        if mark == "firmware"
        else round(ready * _WAY[mark], 6)
        for mark in _MARKS[trial.system]
    }
    busy = (trial.system, trial.cycle) == _BUSY and trial.purpose == "boot"
    conditions = Conditions(
        load_1m=round(1.0 + number % 7 / 50, 2),
        cpu_others=0.47 if busy else 0.013,
        cpu_steal=0.002,
        pressure={"cpu": 0.31 if busy else 0.004, "io": 0.0, "memory": 0.0},
    )
    digests = {role: image.sha256 for role, image in images.items()}
    folder = f"trials/{trial.id}"
    artifacts = {"serial": f"{folder}/serial.log", "timing": f"{folder}/timing.jsonl"}
    if (trial.system, trial.cycle) == _FAILED and trial.purpose == "boot":
        return make_record(
            trial,
            outcome=Crashed(reason=HOSTILE_REASON),
            marks=[Mark(name=name, t_ns=round(t * 1e9)) for name, t in marks.items()][:3],
            argv=argv,
            images=digests,
            conditions=conditions,
            artifacts=artifacts,
            started=started,
        )
    return make_record(
        trial,
        boot_samples(round(ready, 6), round(ready * 0.96, 6), marks),
        marks=[Mark(name=name, t_ns=round(t * 1e9)) for name, t in {**marks, "ready": ready}.items()],
        argv=argv,
        images=digests,
        conditions=conditions,
        artifacts=artifacts,
        started=started,
    )


def _own_options(boot: Boot, images: Mapping[Role, Image]) -> list[str]:
    options = []
    if isinstance(boot, Kernel):
        options += ["-kernel", images[Role.KERNEL].path]
        if boot.initrd:
            options += ["-initrd", images[Role.INITRD].path]
        if boot.cmdline:
            options += ["-append", boot.cmdline]
    if Role.DISK in images:
        options += ["-drive", f"file={images[Role.DISK].path},if=virtio,format=qcow2,snapshot=on"]
    return options
