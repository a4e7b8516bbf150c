"""Memory: the least RAM to boot, and what a running guest takes, as the host and as the guest sees it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from guestbench.families import read_metrics
from guestbench.model import Family, Frozen, Purpose
from guestbench.model.kinds import Seconds, within

MEMORY, SEARCH = "memory", "memory-min"
LEAST, TRIED = "memory.min", "memory.tried"
TOUCHED, VMM, VMM_ABOVE_FLOOR = "memory.touched", "memory.vmm", "memory.vmm_above_floor"
IDLE, LOAD = (("state", "idle"),), (("state", "load"),)


class Settings(Frozen):
    """How memory is measured. A memory size counts as enough if enough boots in a row get ready with it."""

    cycles: Annotated[int, within(1, 1000, "Boots that count each system's memory.")] = 2
    settle_s: Annotated[Seconds, Meta(description="How long after ready a guest counts as idle.")] = 10.0
    boots: Annotated[int, within(1, 100, "Boots in a row that a memory size must pass.")] = 3
    well_s: Annotated[Seconds, Meta(description="How long each of them must stay well.")] = 2.0


FAMILY = Family(
    name="memory",
    title="Memory",
    order=3,
    metrics=read_metrics(__file__),
    printed=("memory.guest_total", "memory.guest_used", "memory.guest_available"),
    settings=Settings,
    purposes=(
        Purpose(name=MEMORY, timed=False, waits=True),
        Purpose(name=SEARCH, title="least RAM: boot", timed=False, search=True),
    ),
)
