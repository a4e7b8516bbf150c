"""Boot time: from the exec of the VMM to the byte that completes the ready marker."""

from __future__ import annotations

from guestbench.model import Better, Family, Metric, Purpose

BOOT = "boot"
READY, MARK, CPU, ABOVE_FLOOR = "boot.ready", "boot.mark", "boot.cpu", "boot.above_floor"

METRICS = (
    Metric(
        name=READY,
        title="Boot time",
        family="boot",
        unit="s",
        better=Better.LOWER,
        help="From the exec of the VMM to the byte that completes the ready marker on the serial console, "
        "on the host's monotonic clock.",
        compared=True,
        headline="Boot time",
        span="median boot time",
    ),
    Metric(
        name=MARK,
        title="Milestone",
        family="boot",
        unit="s",
        better=Better.LOWER,
        help="From the exec of the VMM to the byte that completes the milestone's text; label mark=NAME.",
    ),
    Metric(
        name=CPU,
        title="CPU time to ready",
        family="boot",
        unit="s",
        better=Better.LOWER,
        help="CPU time of the VMM process, all threads, user and system, when the ready marker arrived.",
        compared=True,
    ),
    Metric(
        name=ABOVE_FLOOR,
        title="Boot time above the floor",
        family="boot",
        unit="s",
        better=Better.LOWER,
        help="boot.ready less the median boot.ready of the floor in the same run: what the guest itself adds "
        "to the VMM and its firmware.",
        difference=True,
        headline="Above the floor, median",
    ),
)

FAMILY = Family(
    name="boot",
    title="Boot time",
    order=2,
    metrics=METRICS,
    purposes=(
        Purpose(name="first-boot", counted=False, pristine=True, main=READY),
        Purpose(name="warmup", counted=False, main=READY),
        Purpose(name=BOOT, main=READY),
    ),
)
