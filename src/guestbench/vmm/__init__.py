"""What a virtual machine monitor is to guestbench: what it starts, and what its machines may be able to do.

A VMM is a module of this package, or one that another package declares, of the shape `Vmm`. A machine always
has a console and a process; whatever else it can do is a capability: a small protocol of its own, or a reason
in words why this machine lacks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from guestbench.host.limits import Limits
from guestbench.model import Boot, Frozen, Image, Platform, Role, Unknown
from guestbench.registry import VMMS

if TYPE_CHECKING:
    from guestbench.model.machine import Listing, Mode, Registers, View, VirtioDevice

DAY_S = 86_400.0
TOOLS_SERIAL = "guestbench"
"""The serial number by which a guest finds the tools disk among its disks."""


class Chunk(Frozen):
    """Bytes that arrived together on the serial console, `t_ns` after the exec of the VMM.

    No bytes means that the VMM closed the console: nothing more will come.
    """

    t_ns: int
    data: bytes


Meanwhile = Callable[[], float]
"""What to do while a guest is waited for. Returns in how many seconds it wants to be called again."""


# --- what to start ------------------------------------------------------------------------------------


class Need(StrEnum):
    """A capability that a launch has to prepare for, since what it takes could change what is measured.

    With `memory` and `introspection` a guest that powers off can be looked at still.
    """

    MEMORY = "memory"
    BALLOON = "balloon"
    INTROSPECTION = "introspection"
    SNAPSHOTS = "snapshots"
    POWER_BUTTON = "power-button"
    LINK = "link"
    STAMPS = "stamps"
    HISTOGRAM = "histogram"
    TOTALS = "totals"
    VIRTUAL_TIME = "virtual time"


class LaunchSpec(Frozen):
    """What to start: a guest's boot method and image files on a platform.

    `folder` receives what the VMM itself prints. `writable` lets the guest change its disk for good: only for
    overlays of our own. `needs` are the capabilities that the machine is to have, where the VMM can. With
    `Need.LINK` we are at the other end of the guest's network link, in the place of the platform's network:
    the guest has the same device. `resume` goes on from a state that `Snapshots.save` wrote, with the same
    options and the same disk. `tools` is a raw disk that the guest may only read, with the serial number
    `TOOLS_SERIAL`. `forwards` are TCP ports of the guest that are to be reached from this host. Link and
    forwards may differ between a state and what goes on from it. With `Need.HISTOGRAM` the VMM loads `plugin`
    to count blocks of code, with `Need.TOTALS` to count all instructions and those of loops that wait; the
    counts are cut where the console says one of the texts `cuts`, and before the guest's code at the address
    `entry` is run. With `Need.VIRTUAL_TIME` the guest's clock goes on with its instructions, four
    nanoseconds each, and with the host's clock while the guest has nothing to do. `longest_s` is for how
    long whoever starts it could wait for it at most, in seconds.
    """

    boot: Boot
    images: dict[Role, Image]
    platform: Platform
    folder: Path
    writable: bool = False
    needs: frozenset[Need] = frozenset()
    resume: Path | None = None
    tools: Path | None = None
    forwards: tuple[int, ...] = ()
    plugin: Path | None = None
    cuts: tuple[bytes, ...] = ()
    entry: int | None = None
    longest_s: float = DAY_S


# --- what a machine may be able to do -----------------------------------------------------------------


class Lacking(Frozen):
    """In the place of a capability: why the machine does not have it, in words that a cell can show."""

    reason: str


class Footprint(Frozen):
    """What a machine takes of the host's memory now, in KiB.

    `guest_kib` is the guest RAM that was ever touched, by the guest, its firmware or its devices; `vmm_kib`
    the VMM's own memory, with pages that other processes share, however many these are.
    """

    guest_kib: int
    vmm_kib: int


class GuestMemory(Protocol):
    """The guest's memory as the host counts it."""

    def footprint(self) -> Footprint | None:
        """What the machine takes of the host's memory; None once its VMM has gone."""


class Balloon(Protocol):
    """What the guest's balloon driver tells the VMM."""

    def statistics(self) -> dict[str, int]:
        """KiB by the statistic's name; empty where the guest has no such driver or it said nothing yet."""


class Introspection(Protocol):
    """What can be seen of a guest without asking it. Only its first CPU is looked at.

    Every method raises HostError where the VMM hangs up or refuses; what it does not show is Unknown.
    """

    @property
    def evidence(self) -> Mapping[str, bytes]:
        """What the VMM said last: `registers`, `tlb`, `mem` (of the page tables), `devices`, `regions`."""

    def stopped(self) -> AbstractContextManager[None]:
        """Keep the guest stopped; on leaving it goes on, unless it was not running before."""

    def read_registers(self) -> Registers | Unknown:
        """The first CPU's registers."""

    def read_memory(self, address: int, items: int, item_bytes: int) -> dict[int, int] | None:
        """Of so many numbers of 4 or 8 bytes at a physical address, those that are not 0, by their address.

        None where no memory can be read.
        """

    def list_mappings(self, mode: Mode) -> Listing:
        """What the VMM itself says that the page tables of that mode map."""

    def read_ram_bytes(self) -> int | Unknown:
        """How much RAM the guest was started with."""

    def list_devices(self) -> tuple[str, ...] | Unknown:
        """The types of the devices, as the VMM calls them; a virtio device counts once."""

    def list_views(self) -> tuple[View, ...] | Unknown:
        """The address spaces, and how much of what is in them."""

    def list_virtio(self) -> tuple[VirtioDevice, ...] | Unknown:
        """The virtio devices, and whether they are driven."""


class Snapshots(Protocol):
    """A machine's state, kept for others to go on from."""

    def save(self, file: Path) -> None:
        """Stop the machine for good and write its state.

        Raises:
            HostError: it cannot be written.
        """


class Link(Protocol):
    """One end of a guest's network link: Ethernet frames both ways. `is_closed` says the VMM has gone."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing comes any more."""

    def send(self, *frames: bytes) -> bool:
        """Send frames to the guest, as soon as it takes them; False if too many wait, and none was taken."""

    def receive(self, timeout_s: float = 0.0) -> list[bytes]:
        """Some of the frames that the guest has sent, oldest first; none if none came in `timeout_s` seconds.

        None come, and at once, when `is_closed`.
        """


class Histogram(Protocol):
    """How often each block of code was executed, from reset on."""

    def finish(self) -> str:
        """End the machine for good and give the counts, as `analysis.profile.histogram` reads them.

        Raises:
            HostError: the VMM did not write them.
        """


class HardwareCounters(Protocol):
    """What the host's CPU has counted of the VMM, since it was started."""

    @property
    def scope(self) -> str:
        """Of which part of what it did, where the kernel hides its own; empty where it is all."""

    def read(self) -> dict[str, float | Unknown]:
        """By name: cycles, instructions, cache_misses; and energy, joules of the whole CPU package."""


class Stamps(Protocol):
    """When the guest wrote what it wrote on its serial console, by the VMM's own clock."""

    def read(self) -> tuple[Chunk, ...] | Lacking:
        """Each byte written so far, with its time; or why the times are not known."""


class PowerButton(Protocol):
    """The button by which a guest is asked to power off."""

    def press(self) -> None:
        """Press it. Raises HostError if the VMM has gone."""


# --- machines and VMMs --------------------------------------------------------------------------------


class Machine(ABC):
    """A running virtual machine. Times are nanoseconds since the exec of its VMM.

    `argv` is the exact command line, `pid` the VMM's process id, if it has one, and `sandbox` how the VMM was
    asked for a filter of its own system calls; empty if it was not. `limits` are what it may take of the
    host, and `stays` says why it runs as whoever started it, if it does. Of all that a machine may be able to
    do it has nothing, for one reason, until something is put in its place. `forwards` are ports on 127.0.0.1
    by the guest's ports that they lead to, those that the launch asked for.
    """

    def __init__(self, argv: Sequence[str], lacking: Lacking) -> None:
        self.argv = tuple(argv)
        self.pid: int | None = None
        self.sandbox = ""
        self.limits: Limits | None = None
        self.stays = ""
        self.memory: GuestMemory | Lacking = lacking
        self.balloon: Balloon | Lacking = lacking
        self.introspection: Introspection | Lacking = lacking
        self.snapshots: Snapshots | Lacking = lacking
        self.power_button: PowerButton | Lacking = lacking
        self.stamps: Stamps | Lacking = lacking
        self.histogram: Histogram | Lacking = lacking
        self.counters: HardwareCounters | Lacking = lacking
        self.link: Link | Lacking = lacking
        self.forwards: Mapping[int, int] | Lacking = lacking

    @abstractmethod
    def now_ns(self) -> int:
        """The time now, on the clock that stamps the serial console."""

    @abstractmethod
    def read_serial(self, timeout_s: float) -> Chunk | None:
        """The next bytes of the serial console, stamped on arrival; None if none came in time."""

    @abstractmethod
    def write_serial(self, data: bytes) -> None:
        """Type on the serial console."""

    @abstractmethod
    def cpu_ns(self) -> int | None:
        """CPU time the VMM has used so far, or None where there is no such thing."""

    @abstractmethod
    def exit_status(self) -> int | None:
        """The VMM's exit status (negative: the signal), or None while it runs."""

    @abstractmethod
    def wait(self, timeout_s: float) -> int | None:
        """Wait for the VMM to exit; its exit status, or None if it still runs after `timeout_s`."""

    @abstractmethod
    def complaint(self) -> str:
        """What the VMM printed about itself, as printable text; empty if nothing."""


class Traits(Frozen):
    """What a VMM is, whatever it is to start.

    One that `replays` takes recordings in the place of images, and its times are no measurement. `snapshots`
    says that it can go on from a state that it wrote; `accelerates` that it runs guests by KVM, if it works.
    """

    replays: bool
    snapshots: bool
    accelerates: bool


class Identity(NamedTuple):
    """Which VMM it is: its version in its own words, and its program."""

    version: str
    path: str


class Vmm(Protocol):
    """A VMM's module."""

    @property
    def TRAITS(self) -> Traits:  # noqa: N802 - a constant of the module
        """What it is."""

    def identify(self) -> Identity:
        """Which it is on this host.

        Raises:
            HostError: it is not installed, or too old, or cannot say its version.
        """

    def check(self, platform: Platform) -> None:
        """Refuse a platform that this VMM does not know.

        Raises:
            UsageError: it does not know the machine.
        """

    def describe(self, spec: LaunchSpec) -> tuple[str, ...]:
        """The command line that the machine is made with; states of one machine go with no other."""

    def describe_interactive(self, spec: LaunchSpec) -> tuple[str, ...]:
        """The command line of the same machine with its serial console on the terminal."""

    def start(self, spec: LaunchSpec) -> AbstractContextManager[Machine]:
        """Start `spec`, and end it on leaving the context."""


def find_vmm(name: str) -> Vmm:
    """A VMM by its name. Raises UsageError if there is none."""
    return cast(Vmm, VMMS.load(name))
