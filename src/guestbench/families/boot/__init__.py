"""Boot time: from the exec of the VMM to the byte that completes the ready marker."""

from __future__ import annotations

from guestbench.families import read_metrics
from guestbench.model import Family, Purpose

FIRST, BOOT, TWIN = "first-boot", "boot", "twin"
READY, MARK, CPU, ABOVE_FLOOR = "boot.ready", "boot.mark", "boot.cpu", "boot.above_floor"

ENERGY = "energy"
COUNTED = {
    "cycles": "boot.cycles",
    "instructions": "boot.host_instructions",
    "cache_misses": "boot.cache_misses",
    ENERGY: "boot.energy",
}
"""The metrics of what the host's CPU counts, by the counter's name."""

WARMUP = Purpose(name="warmup", like=BOOT, counted=False, main=READY)

FAMILY = Family(
    name="boot",
    title="Boot time",
    order=2,
    metrics=read_metrics(__file__),
    purposes=(
        Purpose(name=FIRST, like=BOOT, counted=False, pristine=True, main=READY),
        WARMUP,
        Purpose(name=BOOT, main=READY),
        Purpose(name=TWIN, like=BOOT, counted=False, main=READY),
    ),
)
