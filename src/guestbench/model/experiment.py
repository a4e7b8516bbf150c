"""What an experiment asks for: the platform, the metrics, how often; no type here is a result."""

from __future__ import annotations

from enum import StrEnum

from guestbench.model.base import Frozen


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
    MEMORY = "memory"
    SURFACE = "surface"
    WORK = "work"
    NET = "net"


class MemoryPlan(Frozen):
    """How memory is measured. A memory size counts as enough if `boots` boots in a row get ready with it.

    Each must also stay well for `well_s` seconds. `settle_s` is how long after ready a guest counts as idle;
    `cycles` how often each guest is booted to count its memory.
    """

    cycles: int = 2
    settle_s: float = 10.0
    boots: int = 3
    well_s: float = 2.0


class SurfacePlan(Frozen):
    """How the attack surface is measured: `boots` fresh boots are compared for addresses that vary."""

    boots: int = 3


class WorkPlan(Frozen):
    """How work is measured: `workloads` on each system that can do them, `cycles` times in shuffled blocks.

    `cross_checks` has known tools run beside them on the guests that can run those. TCP transfers are of
    `transfer_mib` each way, and `requests` single bytes are sent one after another for the latency.
    """

    cycles: int = 3
    workloads: tuple[str, ...] = ("cpu", "memory", "merkle", "irmin")
    cross_checks: bool = False
    transfer_mib: int = 32
    requests: int = 1000


class Claim(Frozen):
    """Something that was expected of the figures before they were measured.

    It is about `metric` of `system`, which is a name, or `unikernel` for every unikernel of the run. With
    `against` it is how many times that other system's value is as large, else it is the value itself, in the
    metric's unit; what is claimed lies between `least` and `most`. Where a metric has values with labels
    only and `labels` asks for none, their sum is meant. `text` says it in words.
    """

    text: str
    metric: str
    system: str
    against: str = ""
    least: float | None = None
    most: float | None = None
    labels: dict[str, str] = {}


class Experiment(Frozen):
    """What an `experiments/*.toml` file holds.

    `systems` and `optional` are names of the catalogue, or paths of folders with a `system.toml`;
    an optional system whose image is missing is left out, and the report says so. The others are compared
    with `baseline`, one of them; without it nothing is compared. `claims` are judged by what was found.
    """

    name: str
    title: str
    systems: tuple[str, ...]
    optional: tuple[str, ...] = ()
    metrics: tuple[MetricFamily, ...] = tuple(MetricFamily)
    cycles: int = 10
    warmups: int = 1
    seed: int | None = None
    memory: MemoryPlan = MemoryPlan()
    surface: SurfacePlan = SurfacePlan()
    work: WorkPlan = WorkPlan()
    platform: Platform = Platform()
    baseline: str = ""
    claims: tuple[Claim, ...] = ()
