"""A run: its host, its header, and the job of a worker; no type here holds a measurement."""

from __future__ import annotations

from typing import Any

import msgspec

from guestbench.model.base import Frozen
from guestbench.model.budget import Budget
from guestbench.model.experiment import REPLAYING_VMM, Accel, Experiment, Platform, Tables
from guestbench.model.family import Purpose
from guestbench.model.plan import Start
from guestbench.model.record import Metric, Trial
from guestbench.model.stopping import StopRule
from guestbench.model.system import Guest, Image, Role, System
from guestbench.model.work import Kit


class Host(Frozen):
    """The machine that measured, and its VMM. Runs of different digests are never pooled.

    In stores the VMM's version and program have the names that they had when QEMU was the only one.
    """

    digest: str
    cpu_model: str
    cpus: int
    memory_mib: int
    kernel: str
    os: str
    virtualization: str
    vmm_version: str = msgspec.field(name="qemu_version")
    vmm_path: str = msgspec.field(name="qemu_path")
    python: str


class MemoryPolicy(Frozen):
    """Settings of the host's kernel that move memory figures; empty where the kernel has no such thing.

    `huge_pages` and `shmem_huge_pages` are the chosen words of transparent huge pages for anonymous and
    for shared memory; `ksm` is the run state of kernel same-page merging.
    """

    huge_pages: str
    shmem_huge_pages: str
    ksm: str
    swap_mib: int


class CpuPolicy(Frozen):
    """How fast the host's CPUs may run.

    `governor` is the first one's for its frequency, empty if none shows; `boost` says whether they may exceed
    their base frequency, None where that does not show.
    """

    governor: str
    boost: bool | None


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
    """The first line of a store: everything about a run that its records share.

    `purposes` are what its trials are for, so that it can be analysed where a family is not installed. With
    a rule `until`, or a `budget`, `trials` are the most that there may be. `hosts` are those of a fleet, of
    which `host` is one; it is empty where the run is made without a fleet.
    """

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
    memory_policy: MemoryPolicy | None = None
    cpu_policy: CpuPolicy | None = None
    kit: Kit | None = None
    purposes: tuple[Purpose, ...] = ()
    until: StopRule | None = None
    budget: Budget | None = None
    hosts: tuple[Host, ...] = ()

    @property
    def systems(self) -> tuple[System, ...]:
        """The systems of the run, in its order."""
        return tuple(guest.system for guest in self.guests)

    @property
    def vmm(self) -> str:
        """What reports call the VMM; what is replayed was recorded with QEMU."""
        name = self.platform.vmm
        return "QEMU" if name in ("qemu", REPLAYING_VMM) else name

    @property
    def is_emulated(self) -> bool:
        """Whether the guests' instructions were emulated rather than run by the CPU."""
        return self.accel.used is Accel.TCG

    @property
    def largest_first(self) -> list[Guest]:
        """The guests, first those with the largest image files, which take longest."""
        return sorted(
            self.guests, key=lambda guest: -sum(image.size_bytes for image in guest.pristine.values())
        )

    def find_guest(self, system: str) -> Guest:
        """The guest of that system. Raises KeyError if the run has none."""
        return {guest.system.name: guest for guest in self.guests}[system]


class OpenShell(Frozen):
    """A shell that is open in a guest: its programs, by their names, and how many commands it was given."""

    encoding: str
    checksum: str
    number: int


class Resume(Frozen):
    """A state to go on from instead of booting, its image files, and its shell if one is open."""

    state: str
    images: dict[Role, Image]
    shell: OpenShell | None = None


Asked = tuple[str, Start | None]
"""A state of a run: a system and where its trials start, or a disk that is booted once."""


class State(Frozen, tag_field="kind", tag="state"):
    """What a worker process reads on its standard input that is to make a state: of which guest, and which.

    Without a `start` it is the guest's disk after its first boot. `folder` is the run folder; `parent_pid`
    the process without which it must not go on.
    """

    guest: Guest
    platform: Platform
    start: Start | None
    folder: str
    parent_pid: int

    @property
    def asked(self) -> Asked:
        """What tells it from the other states of a run."""
        return self.settled if self.start is None else (self.guest.system.name, self.start)

    @property
    def settled(self) -> Asked:
        """What tells the guest's disk after its first boot from other states; guests may share one."""
        return self.guest.pristine[Role.DISK].path if Role.DISK in self.guest.pristine else "", None


class Job(Frozen, tag_field="kind", tag="job"):
    """What a worker process reads on its standard input: one trial and all it needs.

    `folder` is the run folder; `parent_pid` the process without which the worker must not go on. `brief` is
    what the family has to say of the trial from those before it, `resume` is there for trials that need no
    boot of their own, `kit` for those of families that give guests work. `asides` are families that look at
    the guest as well, when the trial is at its end. With an `obstacle` the trial cannot be made, for that
    reason.
    """

    trial: Trial
    family: str
    purpose: Purpose
    guest: Guest
    platform: Platform
    host: str
    folder: str
    parent_pid: int
    settings: Tables = {}
    brief: dict[str, Any] = {}
    resume: Resume | None = None
    kit: Kit | None = None
    obstacle: str = ""
    asides: tuple[str, ...] = ()

    @property
    def system(self) -> System:
        """The system that is measured."""
        return self.guest.system
