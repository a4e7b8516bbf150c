"""What an experiment asks for: the platform, the metrics, how often; no type here is a result."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec

from guestbench.errors import StoreError
from guestbench.model.base import Frozen
from guestbench.model.kinds import (
    DISTINCT,
    NOT_EMPTY,
    FamilyName,
    FileName,
    Kind,
    Line,
    SystemReference,
    VmmName,
    of,
    within,
)

LARGEST_INTEGER = 2**63 - 1
MOST_BOOTS = 100_000
"""Of a system."""


class Accel(StrEnum):
    """Accelerators; `auto` is resolved before the first trial by booting the guests themselves."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


REPLAYING_VMM = "fake"
"""The VMM that replays recorded serial logs: its times are no measurement."""


class Net(StrEnum):
    """Guest networking: user networking on a virtio-net device, or none."""

    USER = "user"
    NONE = "none"


class Platform(Frozen):
    """The virtual machine every system of an experiment gets.

    With `pin` the VMM runs on the host's CPU of that number alone. With `sandbox` the host's kernel refuses
    it what it does not need; without `internet` its guest's user network ends at the forwarded ports.
    """

    vmm: VmmName = "qemu"
    machine: Line = "q35"
    memory_mib: Annotated[int, within(1, 2**24)] = 512
    cpus: Annotated[int, within(1, 255)] = 1
    accel: Accel = Accel.AUTO
    net: Net = Net.USER
    extra: tuple[Line, ...] = ()
    pin: Annotated[int, within(0, 4095)] | None = None
    sandbox: bool = True
    internet: bool = False


Tables = dict[str, dict[str, Any]]
"""The settings of families as plain data, by the family's name."""
Settings = TypeVar("Settings", bound=Frozen)


def find_settings(tables: Tables, family: str, wanted: type[Settings]) -> Settings:
    """The settings of a family; keys that are not there have their defaults.

    Raises:
        StoreError: they are those of another version of the family.
    """
    try:
        return msgspec.convert(tables.get(family, {}), wanted)
    except msgspec.ValidationError as wrong:
        raise StoreError(
            f"the run's settings of {family} are not those of this version: {wrong}",
            "guestbench run -o DIR  # measure again, into a new folder",
        ) from None


def to_table(settings: Frozen) -> dict[str, Any]:
    """Settings as plain data, all of them."""
    table: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))
    return table


class Claim(Frozen):
    """Something that was expected of the figures before they were measured.

    It is about `metric` of `system`, which is a name, or `unikernel` for every unikernel of the run. With
    `against` it is how many times that other system's value is as large, else it is the value itself, in the
    metric's unit; what is claimed lies between `least` and `most`. Where a metric has values with labels
    only, `labels` has to name one of them. `text` says it in words.
    """

    text: Line
    metric: Annotated[str, of(Kind.METRIC)]
    system: str
    against: str = ""
    least: float | None = None
    most: float | None = None
    labels: dict[str, str] = {}


class Step(Frozen):
    """A change that leads from the system `before` to the system `after`, and `what` it is, in words."""

    what: Line
    before: str
    after: str


class Experiment(Frozen):
    """What an `experiments/*.toml` file holds.

    `systems` and `optional` are names of the catalogue, or paths of folders with a `system.toml`;
    an optional system whose image is missing is left out, and the report says so. `metrics` are names of
    families, all of them where a file names none. The others are compared with `baseline`, one of them;
    without it nothing is compared. `claims` are judged by what was found, and what each of the `steps`
    brings is told. `settings` are the tables of the
    families, each of the type that the family names.
    """

    name: FileName
    title: Line
    systems: Annotated[tuple[SystemReference, ...], NOT_EMPTY, DISTINCT]
    optional: Annotated[tuple[SystemReference, ...], DISTINCT] = ()
    metrics: Annotated[tuple[FamilyName, ...], NOT_EMPTY, DISTINCT] = ()
    cycles: Annotated[int, within(1, MOST_BOOTS)] = 10
    warmups: Annotated[int, within(0, MOST_BOOTS)] = 1
    seed: Annotated[int, within(0, LARGEST_INTEGER)] | None = None
    settings: Tables = {}
    platform: Platform = Platform()
    baseline: str = ""
    claims: tuple[Claim, ...] = ()
    steps: tuple[Step, ...] = ()
