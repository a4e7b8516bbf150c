"""The frozen types that flow from experiment file to report; nothing here does any work.

Units are in the names (`t_ns`, `memory_mib`, `size_bytes`) or in a `Metric` row.
Every type decodes strictly: an unknown field is an error, never ignored.
"""

from __future__ import annotations

from enum import StrEnum
from typing import dataclass_transform

import msgspec

FORMAT_VERSION = 1
"""Version of the store's lines. Raised whenever an older reader would misread a newer store."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class FrozenMeta(msgspec.StructMeta):
    """Tells type checkers that subclasses of `Frozen` inherit its options, as they do at run time."""


class Frozen(msgspec.Struct, metaclass=FrozenMeta, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every type here: immutable, keyword-only, strict."""


# --- what is compared -------------------------------------------------------------------------------


class Family(StrEnum):
    """The kinds of guest that a report tells apart."""

    UNIKERNEL = "unikernel"
    LINUX = "linux"
    FLOOR = "floor"


class DiskFormat(StrEnum):
    """Disk image formats, named as QEMU names them."""

    QCOW2 = "qcow2"
    RAW = "raw"


class Role(StrEnum):
    """What an image file is to its guest."""

    KERNEL = "kernel"
    INITRD = "initrd"
    DISK = "disk"


class Kernel(Frozen, tag_field="type", tag="kernel"):
    """Booted by QEMU's `-kernel`, with `-initrd` and a disk where the guest wants them."""

    cmdline: str = ""
    initrd: bool = False
    disk: DiskFormat | None = None

    @property
    def roles(self) -> tuple[Role, ...]:
        """The image files this boot needs, kernel first."""
        return (
            Role.KERNEL,
            *((Role.INITRD,) if self.initrd else ()),
            *((Role.DISK,) if self.disk else ()),
        )


class Disk(Frozen, tag_field="type", tag="disk"):
    """Booted from a disk through firmware and the disk's own boot loader."""

    format: DiskFormat = DiskFormat.QCOW2

    @property
    def roles(self) -> tuple[Role, ...]:
        """The image files this boot needs."""
        return (Role.DISK,)


Boot = Kernel | Disk


class Milestone(Frozen):
    """A point on the way to ready: reached when the serial console has printed `pattern` (literal text)."""

    name: str
    pattern: str
    help: str = ""


class FailurePattern(Frozen):
    """Literal text on the serial console that means the guest is lost, and what it then died of."""

    pattern: str
    reason: str


class DebianDisk(Frozen, tag_field="method", tag="debian-disk"):
    """Recipe of a bootable GPT disk built from Debian packages with mmdebstrap.

    `size_mib` is the virtual size; `cmdline` goes to GRUB's Linux line; `files` are written into the
    root file system (absolute path to text), `masked` units are linked to /dev/null.
    """

    suite: str
    packages: tuple[str, ...]
    size_mib: int
    cmdline: str
    grub_timeout_s: int = 5
    hostname: str = "localhost"
    enable: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    files: dict[str, str] = {}


class DebianInitramfs(Frozen, tag_field="method", tag="debian-initramfs"):
    """Recipe of a Debian kernel and an initramfs that holds static busybox and a few files.

    `tree` names a folder in the system's folder whose files become the root of the initramfs; `modules`
    are kernel modules to put into it, their dependencies included, listed in load order in /etc/modules.
    """

    suite: str
    kernel_package: str
    tree: str
    modules: tuple[str, ...] = ()


class Assembly(Frozen, tag_field="method", tag="assembly"):
    """Recipe of a multiboot kernel from one assembly file in the system's folder, built with gcc."""

    source: str


Build = DebianDisk | DebianInitramfs | Assembly


class Fetch(Frozen):
    """An official image to download, verified against the publisher's list of `algorithm` digests."""

    url: str
    sums_url: str
    algorithm: str = "sha512"


class Provision(Frozen):
    """Where a system's image files come from. Several ways may be open; a path the user gives wins."""

    path: str = ""
    """A file the user brings, looked for below the working folder."""
    share: str = ""
    """Another system whose disk this one uses; kernel and initrd are taken out of that disk."""
    build: Build | None = None
    fetch: Fetch | None = None
    settle: bool = False
    """Whether the disk is booted once before it is measured (machine-id, growfs), first boots apart."""
    differences: tuple[str, ...] = ()
    """How a built image differs from the official one."""
    hint: str = ""
    """How to come by an image where the tool cannot build or fetch one."""


class Login(Frozen):
    """How to get a shell on the serial console once the guest is ready."""

    user: str
    password: str = ""
    prompt: str = "# "


class System(Frozen):
    """A guest of the catalogue: what `systems/NAME/system.toml` holds."""

    name: str
    title: str
    family: Family
    boot: Boot
    ready: str
    timeout_s: float
    help: str = ""
    milestones: tuple[Milestone, ...] = ()
    failures: tuple[FailurePattern, ...] = ()
    login: Login | None = None
    services: tuple[str, ...] = ()
    provision: Provision = Provision()


class Accel(StrEnum):
    """QEMU accelerators; `auto` is resolved before the first trial by booting the guests themselves."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class Vmm(StrEnum):
    """The VMMs there are; `fake` replays recorded serial logs and starts no process."""

    QEMU = "qemu"
    FAKE = "fake"


class Net(StrEnum):
    """Guest networking: QEMU's user networking on a virtio-net device, or none."""

    USER = "user"
    NONE = "none"


class Platform(Frozen):
    """The virtual machine every system of an experiment gets."""

    vmm: Vmm = Vmm.QEMU
    machine: str = "q35"
    memory_mib: int = 512
    cpus: int = 1
    accel: Accel = Accel.AUTO
    net: Net = Net.USER
    extra: tuple[str, ...] = ()


class MetricFamily(StrEnum):
    """Groups of metrics that are measured together; what `--metrics` chooses from."""

    IMAGE = "image"
    BOOT = "boot"


class Experiment(Frozen):
    """What an `experiments/*.toml` file holds.

    `systems` and `optional` are names of the catalogue, or paths of folders with a `system.toml`;
    an optional system whose image is missing is left out, and the report says so.
    """

    name: str
    title: str
    systems: tuple[str, ...]
    optional: tuple[str, ...] = ()
    metrics: tuple[MetricFamily, ...] = (MetricFamily.IMAGE, MetricFamily.BOOT)
    cycles: int = 10
    warmups: int = 1
    seed: int | None = None
    platform: Platform = Platform()


# --- what is measured -------------------------------------------------------------------------------


class Better(StrEnum):
    """Which direction of a metric is the better one."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


class Metric(Frozen):
    """A row of the metric table: a probe returns samples of it, a report prints its unit and help."""

    name: str
    title: str
    family: MetricFamily
    unit: str
    better: Better
    help: str


class Provenance(StrEnum):
    """Where a value comes from."""

    MEASURED = "measured"
    DERIVED = "derived"
    DECLARED = "declared"


class Image(Frozen):
    """A file that a guest boots from, as found before the first trial."""

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str


class Origin(Frozen):
    """How a system's image files came to be: `kind` is built, fetched, given or shared."""

    kind: str
    detail: str
    differences: tuple[str, ...] = ()
    settled: bool = False


class Guest(Frozen):
    """A system with its image files found: what a trial boots.

    `pristine` holds the images as provisioned; `images` those to measure boots on, which for a settled
    disk is an overlay on the pristine one. They are the same files where nothing was settled.
    """

    system: System
    images: dict[Role, Image]
    pristine: dict[Role, Image]
    origin: Origin


class Purpose(StrEnum):
    """What a trial is for. Only `boot` trials enter the boot statistics."""

    IMAGE = "image"
    FIRST_BOOT = "first-boot"
    WARMUP = "warmup"
    BOOT = "boot"


class Trial(Frozen):
    """One measurement to make: one worker process and, except for `image`, one VM.

    `block` counts the shuffled blocks from 1, and is 0 outside them; `cycle` counts this system's trials
    of this purpose from 1. `definition` is a digest of all that defines what is booted and how.
    """

    id: str
    system: str
    purpose: Purpose
    block: int
    cycle: int
    definition: str


class Mark(Frozen):
    """A milestone reached, in nanoseconds of `clock` since the exec of the VMM."""

    name: str
    t_ns: int
    clock: str = "monotonic"


class Sample(Frozen):
    """One value of a metric, in the metric's unit."""

    metric: str
    value: int | float
    labels: dict[str, str] = {}
    provenance: Provenance = Provenance.MEASURED


class Ok(Frozen, tag_field="result", tag="ok"):
    """The trial did what it was for."""

    reason: str = ""


class TimedOut(Frozen, tag_field="result", tag="timed-out"):
    """The guest did not get ready in its time."""

    reason: str


class Crashed(Frozen, tag_field="result", tag="crashed"):
    """The guest or its VMM died before it was ready; the reason quotes the line that says so."""

    reason: str


class Unsupported(Frozen, tag_field="result", tag="unsupported"):
    """The trial cannot be made for this system on this host."""

    reason: str


Outcome = Ok | TimedOut | Crashed | Unsupported


class Conditions(Frozen):
    """What else the host did during a trial, as shares of all its CPUs' time (0 to 1)."""

    load_1m: float
    cpu_others: float
    cpu_steal: float


class Record(Frozen, tag_field="kind", tag="record"):
    """All that a trial produced. Failures are records too.

    `images` maps a role to the file's SHA-256; `artifacts` a name to a path relative to the run folder;
    `started` is UTC in ISO 8601.
    """

    version: int
    trial: Trial
    outcome: Outcome
    marks: tuple[Mark, ...]
    samples: tuple[Sample, ...]
    argv: tuple[str, ...]
    host: str
    images: dict[Role, str]
    tool: str
    started: str
    wall_ns: int
    conditions: Conditions
    artifacts: dict[str, str] = {}


# --- a run ------------------------------------------------------------------------------------------


class Host(Frozen):
    """The machine that measured. `digest` identifies it: runs of different digests are never pooled."""

    digest: str
    cpu_model: str
    cpus: int
    memory_mib: int
    kernel: str
    os: str
    virtualization: str
    qemu_version: str
    qemu_path: str
    python: str


class AccelChoice(Frozen):
    """Which accelerator a run uses, and why."""

    requested: Accel
    used: Accel
    reason: str


class Absent(Frozen):
    """A system that the experiment names and the run does without."""

    system: str
    reason: str


class Header(Frozen, tag_field="kind", tag="header"):
    """The first line of a store: everything about a run that its records share."""

    version: int
    run: str
    created: str
    tool: str
    command: tuple[str, ...]
    experiment: Experiment
    guests: tuple[Guest, ...]
    absent: tuple[Absent, ...]
    platform: Platform
    accel: AccelChoice
    host: Host
    load_1m: float
    metrics: tuple[Metric, ...]
    trials: tuple[Trial, ...]


class Job(Frozen):
    """What a worker process reads on its standard input: one trial and all it needs.

    `folder` is the run folder; `parent_pid` the process without which the worker must not go on.
    """

    trial: Trial
    guest: Guest
    platform: Platform
    host: str
    folder: str
    parent_pid: int


# --- what analysis makes of it ----------------------------------------------------------------------


class Interval(Frozen):
    """A closed interval and the probability with which its method covers the true value."""

    low: float
    high: float
    confidence: float


class Summary(Frozen):
    """One system's values of one metric: `n` successes, `failed` trials, every value kept in trial order.

    `sd` is the sample standard deviation (n - 1), and is missing below two values; `median_ci` is
    missing where n is too small for the confidence asked for.
    """

    system: str
    metric: str
    labels: dict[str, str]
    n: int
    failed: int
    values: tuple[float, ...]
    mean: float | None
    sd: float | None
    median: float | None
    minimum: float | None
    maximum: float | None
    median_ci: Interval | None
    warnings: tuple[str, ...] = ()
