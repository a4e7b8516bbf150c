"""What is compared: systems, how they boot and where their images come from; no type here is a result."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from guestbench.model.base import Frozen
from guestbench.model.kinds import (
    DISTINCT,
    NOT_EMPTY,
    Argument,
    FileName,
    Filled,
    Kind,
    Line,
    Seconds,
    Url,
    WorkloadName,
    of,
    within,
)


class GuestFamily(StrEnum):
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
    """A point on the way to ready: reached when the serial console has printed `pattern` (literal text).

    Before one that is `required` the text of ready counts for nothing.
    """

    name: str
    pattern: Filled
    help: str = ""
    required: bool = False


class Layer(Frozen):
    """A part of a system between the firmware and the application, which is the last of its layers.

    Its time is that from the milestone `since` (empty: the exec of the VMM) to the milestone `until`, `ready`
    among them; without `until` it has none of its own. `size` names the metric of its size in the image.
    """

    name: Line
    help: str = ""
    since: str = ""
    until: str = ""
    size: str = ""


class Wait(Frozen):
    """Time in `metric` in which a system as distributed waits for somebody, and does nothing.

    `what` says what it waits for, in words. `without` names a system that is the same without it.
    """

    what: Line
    metric: Annotated[str, of(Kind.METRIC)]
    without: str = ""


class FailurePattern(Frozen):
    """Literal text on the serial console that means the guest is lost, and what it then died of.

    `of_host`: it is the host that does this to a guest, so that the trial says nothing of the guest.
    """

    pattern: Filled
    reason: Line
    of_host: bool = False


class Fetch(Frozen):
    """An official image to download, verified against the publisher's list of `algorithm` digests."""

    url: Url
    sums_url: Url
    algorithm: Annotated[str, of(Kind.CHECKSUM)] = "sha512"


class Provision(Frozen):
    """Where a system's image files come from. Several ways may be open; a path the user gives wins."""

    path: str = ""
    """A file the user brings, looked for below the working folder."""
    share: Annotated[str, of(Kind.SHARED_SYSTEM)] = ""
    """Another system whose disk this one uses; kernel and initrd are taken out of that disk."""
    build: Annotated[dict[str, Any], of(Kind.RECIPE)] | None = None
    """The settings of a recipe, which `method` names, each of them told."""
    fetch: Fetch | None = None
    on_request: bool = False
    """Whether its image is built only by `guestbench systems build`, and not because a run needs it."""
    settle: bool = False
    """Whether the disk is booted once before it is measured (machine-id, growfs), first boots apart."""
    differences: tuple[str, ...] = ()
    """How a built image differs from the official one."""
    hint: str = ""
    """How to come by an image where the tool cannot build or fetch one."""


class Login(Frozen):
    """How to get a shell on the serial console once the guest is ready."""

    user: Line
    password: str = ""
    prompt: Filled = "# "


class Command(Frozen, tag_field="type", tag="command"):
    """A load that is typed into the guest's shell, and is over when `command` ends."""

    command: Line
    timeout_s: Seconds = 120.0
    help: str = ""


class OwnWork(Frozen, tag_field="type", tag="own-work"):
    """A load that the guest begins by itself when it is ready, over when its console has printed `end`."""

    end: Filled
    timeout_s: Seconds = 120.0
    help: str = ""


class ProgramLoad(Frozen, tag_field="type", tag="program"):
    """A load that is work of the C workload program, started with `arguments`, and over when that ends.

    It is sent into a guest's shell; a guest that is booted with its work is booted with it once more.
    """

    arguments: Annotated[tuple[Argument, ...], NOT_EMPTY]
    timeout_s: Seconds = 120.0
    help: str = ""


Load = Command | OwnWork | ProgramLoad


class MemoryReport(Frozen):
    """Where a guest without a shell prints a figure of its memory.

    The first whole number behind the literal text `before` on the serial console is a count of
    `unit_bytes` bytes, and becomes a sample of `metric`.
    """

    metric: Annotated[str, of(Kind.PRINTED_METRIC)]
    before: Filled
    unit_bytes: Annotated[int, within(1, 2**30)] = 1
    help: str = ""


class ShellWork(Frozen, tag_field="type", tag="shell"):
    """Work is begun in the guest's shell, with programs of a read-only tools disk attached for that alone.

    `drivers` says that the kernel has to be given drivers of such a disk first, which lie beside the image.
    Without a `disk` the program is sent over the shell, which only a small one can be.
    """

    drivers: bool = False
    disk: bool = True


class BootWork(Frozen, tag_field="type", tag="boot-argument"):
    """Work is a program of the image, chosen by the kernel's command line; the guest is off when it ends.

    In `cmdline` stand `{program}` and `{arguments}`, the latter separated by spaces. With `initrd` the
    program is no part of the image: it takes the place of the system's own initial ramdisk.
    """

    cmdline: Annotated[str, of(Kind.WORK_CMDLINE)]
    initrd: bool = False


class ImageWork(Frozen, tag_field="type", tag="image"):
    """The image works by itself as soon as it is ready, and has `timeout_s` for all of it.

    An image that prints no lines of the workload contract is understood to do `workload` between its texts
    `begin` and `end`; the number behind the text `count` is then how much of it is done.
    """

    timeout_s: Seconds = 120.0
    workload: str = ""
    begin: str = ""
    end: str = ""
    count: str = ""


Work = ShellWork | BootWork | ImageWork


class Service(StrEnum):
    """TCP services that a guest may offer, by their standard names; see `port`."""

    ECHO = "echo"
    DISCARD = "discard"
    CHARGEN = "chargen"
    HTTP = "http"

    @property
    def port(self) -> int:
        """The port that IANA has registered for it."""
        return {"echo": 7, "discard": 9, "chargen": 19, "http": 80}[self.value]


class System(Frozen):
    """A guest of the catalogue: what `systems/NAME/system.toml` holds."""

    name: FileName
    title: Line
    family: GuestFamily
    boot: Boot
    ready: Filled
    timeout_s: Seconds
    help: str = ""
    milestones: Annotated[tuple[Milestone, ...], of(Kind.MILESTONES)] = ()
    layers: tuple[Layer, ...] = ()
    failures: tuple[FailurePattern, ...] = ()
    login: Login | None = None
    load: Load | None = None
    memory_reports: tuple[MemoryReport, ...] = ()
    work: Work | None = None
    workloads: Annotated[tuple[WorkloadName, ...], DISTINCT] = ()
    services: Annotated[tuple[Service, ...], DISTINCT] = ()
    provision: Provision = Provision()
    wait: Wait | None = None

    @property
    def required(self) -> tuple[str, ...]:
        """The milestones behind which alone it can be ready."""
        return tuple(each.name for each in self.milestones if each.required)

    def does(self, workload: str) -> bool:
        """Whether it can be given that work: any with a disk of tools in a shell, else what it names."""
        tools = isinstance(self.work, ShellWork) and self.work.disk
        return self.work is not None and (tools or workload in self.workloads)


class Image(Frozen):
    """A file that a guest boots from, as found before the first trial."""

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str


class Origin(Frozen):
    """How a system's image files came to be: `kind` is built, fetched, given or shared.

    A `settled` one has a disk that is booted once before anything but its first boot is measured.
    """

    kind: str
    detail: str
    differences: tuple[str, ...] = ()
    settled: bool = False


class Guest(Frozen):
    """A system with its image files found: what a trial boots.

    `pristine` holds the images as provisioned; `images` those to measure boots on, which for a settled
    disk is an overlay on the pristine one. They are the same files where nothing is settled, or not yet.
    `programs` has the SHA-256 of those workload programs that are inside of the image.
    """

    system: System
    images: dict[Role, Image]
    pristine: dict[Role, Image]
    origin: Origin
    programs: dict[str, str] = {}
