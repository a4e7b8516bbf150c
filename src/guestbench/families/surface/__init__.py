"""Attack surface: what can be reached, what is inside, what is lacking, what lies towards the host."""

from __future__ import annotations

from typing import Annotated

from guestbench.families import read_metrics
from guestbench.model import Family, Frozen, Purpose
from guestbench.model.kinds import within

IMAGE, RUNNING, BOOT = "surface-image", "surface", "surface-boot"


class Settings(Frozen):
    """How the attack surface is measured. Boots made for other families count among the fresh ones."""

    boots: Annotated[int, within(1, 100, "Fresh boots compared for addresses that vary.")] = 3


FAMILY = Family(
    name="surface",
    title="Attack surface",
    order=4,
    metrics=read_metrics(__file__),
    settings=Settings,
    aside=("memory",),
    purposes=(
        Purpose(name=IMAGE, counted=False, timed=False, boots=False, pristine=True, facts=True),
        Purpose(name=RUNNING, counted=False, timed=False, waits=True, facts=True),
        Purpose(name=BOOT, like="boot", counted=False, timed=False),
    ),
)
