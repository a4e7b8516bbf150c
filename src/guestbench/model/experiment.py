"""What an experiment asks for: the platform, the metrics, how often; no type here is a result."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from guestbench.model.base import Frozen
from guestbench.model.kinds import (
    DISTINCT,
    NOT_EMPTY,
    FamilyName,
    FileName,
    Kind,
    Line,
    Seconds,
    SystemReference,
    WorkloadName,
    of,
    within,
)

LARGEST_INTEGER = 2**63 - 1


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
    machine: Line = "q35"
    memory_mib: Annotated[int, within(1, 2**24)] = 512
    cpus: Annotated[int, within(1, 255)] = 1
    accel: Accel = Accel.AUTO
    net: Net = Net.USER
    extra: tuple[Line, ...] = ()


class MemoryPlan(Frozen):
    """How memory is measured. A memory size counts as enough if enough boots in a row get ready with it."""

    cycles: Annotated[int, within(1, 1000, "Boots that count each system's memory.")] = 2
    settle_s: Annotated[Seconds, Meta(description="How long after ready a guest counts as idle.")] = 10.0
    boots: Annotated[int, within(1, 100, "Boots in a row that a memory size must pass.")] = 3
    well_s: Annotated[Seconds, Meta(description="How long each of them must stay well.")] = 2.0


class SurfacePlan(Frozen):
    """How the attack surface is measured."""

    boots: Annotated[int, within(1, 100, "Fresh boots compared for addresses that vary.")] = 3


class WorkPlan(Frozen):
    """How work is measured: in shuffled blocks, on each system that can do it."""

    cycles: Annotated[int, within(1, 1000, "How often each workload is done.")] = 3
    workloads: Annotated[
        tuple[WorkloadName, ...], DISTINCT, Meta(description="What is done; see guestbench workloads.")
    ] = ("cpu", "memory", "merkle", "irmin")
    cross_checks: Annotated[
        bool, Meta(description="Run known tools beside them, on the guests that can run those.")
    ] = False
    transfer_mib: Annotated[int, within(1, 2**20, "Size of the TCP transfers, each way.")] = 32
    requests: Annotated[int, within(1, 1_000_000, "Single bytes sent in turn for the latency.")] = 1000


class Claim(Frozen):
    """Something that was expected of the figures before they were measured.

    It is about `metric` of `system`, which is a name, or `unikernel` for every unikernel of the run. With
    `against` it is how many times that other system's value is as large, else it is the value itself, in the
    metric's unit; what is claimed lies between `least` and `most`. Where a metric has values with labels
    only and `labels` asks for none, their sum is meant. `text` says it in words.
    """

    text: Line
    metric: Annotated[str, of(Kind.METRIC)]
    system: str
    against: str = ""
    least: float | None = None
    most: float | None = None
    labels: dict[str, str] = {}


class Experiment(Frozen):
    """What an `experiments/*.toml` file holds.

    `systems` and `optional` are names of the catalogue, or paths of folders with a `system.toml`;
    an optional system whose image is missing is left out, and the report says so. `metrics` are names of
    families, all of them where a file names none. The others are compared with `baseline`, one of them;
    without it nothing is compared. `claims` are judged by what was found.
    """

    name: FileName
    title: Line
    systems: Annotated[tuple[SystemReference, ...], NOT_EMPTY, DISTINCT]
    optional: Annotated[tuple[SystemReference, ...], DISTINCT] = ()
    metrics: Annotated[tuple[FamilyName, ...], NOT_EMPTY, DISTINCT] = ()
    cycles: Annotated[int, within(1, 100_000)] = 10
    warmups: Annotated[int, within(0, 100_000)] = 1
    seed: Annotated[int, within(0, LARGEST_INTEGER)] | None = None
    memory: MemoryPlan = MemoryPlan()
    surface: SurfacePlan = SurfacePlan()
    work: WorkPlan = WorkPlan()
    platform: Platform = Platform()
    baseline: str = ""
    claims: tuple[Claim, ...] = ()
