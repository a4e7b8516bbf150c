"""A run: its host, its header, and the job of a worker; no type here holds a measurement."""

from __future__ import annotations

from guestbench.model.base import Frozen
from guestbench.model.experiment import (
    Accel,
    Experiment,
    Platform,
    Tables,
)
from guestbench.model.family import Purpose
from guestbench.model.record import Metric, Trial
from guestbench.model.system import Guest, Image, Role, System
from guestbench.model.work import Kit


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


class MemoryPolicy(Frozen):
    """Settings of the host's kernel that move memory figures; empty where the kernel has no such thing.

    `huge_pages` and `shmem_huge_pages` are the chosen words of transparent huge pages for anonymous and
    for shared memory; `ksm` is the run state of kernel same-page merging.
    """

    huge_pages: str
    shmem_huge_pages: str
    ksm: str
    swap_mib: int


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

    `purposes` are what its trials are for, so that it can be analysed where a family is not installed.
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
    kit: Kit | None = None
    purposes: tuple[Purpose, ...] = ()

    @property
    def systems(self) -> tuple[System, ...]:
        """The systems of the run, in its order."""
        return tuple(guest.system for guest in self.guests)

    @property
    def is_emulated(self) -> bool:
        """Whether the guests' instructions were emulated rather than run by the CPU."""
        return self.accel.used is Accel.TCG


class Expectation(Frozen):
    """How a guest behaves with the platform's memory, which is what a smaller size must not change.

    `ready_s` is the longest it took to get ready, `work_ends` whether its own work came to its end, and
    `work_s` how long that took after ready at most.
    """

    ready_s: float
    work_ends: bool = False
    work_s: float = 0.0


class Resume(Frozen):
    """A state to go on from instead of booting, and the image files that go with it."""

    state: str
    images: dict[Role, Image]


class Job(Frozen):
    """What a worker process reads on its standard input: one trial and all it needs.

    `folder` is the run folder; `parent_pid` the process without which the worker must not go on.
    `expected` is there for trials that ask whether a memory size is enough, `resume` for those that need no
    boot of their own, `kit` for those that give the guest work.
    """

    trial: Trial
    guest: Guest
    platform: Platform
    host: str
    folder: str
    parent_pid: int
    settings: Tables = {}
    expected: Expectation | None = None
    resume: Resume | None = None
    kit: Kit | None = None
