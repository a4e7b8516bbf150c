"""What a boot and a piece of work cost in instructions: counted one by one, and the same on a busy host."""

from __future__ import annotations

from typing import Annotated

from guestbench.families import read_metrics
from guestbench.model import Family, Frozen, Purpose
from guestbench.model.kinds import within

BOOT, WORK = "cost", "cost-of-work"
ALL, GUEST, WAITING, OF_WORK = (
    "cost.instructions",
    "cost.instructions_guest",
    "cost.instructions_waiting",
    "cost.work",
)


class Settings(Frozen):
    """The table [cost] of an experiment.

    `boots` is how often each guest is booted while its instructions are counted, `works` how often it does
    each workload, whose counts scatter less. With `icount` the clock of a guest whose kernel the VMM loads
    goes on with its instructions, four nanoseconds each, so that it does not depend on how fast the host is
    how often a timer interrupts it. To a boot loader the seconds of its menu would be a billion instructions.
    """

    boots: Annotated[int, within(1, 100_000)] = 3
    works: Annotated[int, within(1, 100_000)] = 1
    icount: bool = True


FAMILY = Family(
    name="cost",
    title="Instructions",
    order=2,
    metrics=read_metrics(__file__),
    settings=Settings,
    purposes=(
        Purpose(name=BOOT, timed=False, main=GUEST),
        Purpose(name=WORK, title="cost of work", timed=False, works=True),
    ),
)
