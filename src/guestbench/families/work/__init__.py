"""Work: the same workloads on every guest that can do them, and known tools beside them."""

from __future__ import annotations

from guestbench.model import Better, Family, Metric, Purpose, WorkPlan

TIME = "work.time"
METRICS = (
    Metric(
        name=TIME,
        title="Time of the work",
        family="work",
        unit="s",
        better=Better.LOWER,
        help="From the byte that completes the line with which the work begins on the console to the byte "
        "that completes the line with which it ends, on the host's monotonic clock; labels workload=NAME, "
        "those of the workload's own metric, and clock=host. With clock=guest, the time by that clock.",
    ),
)

FAMILY = Family(
    name="work",
    title="Work",
    order=5,
    metrics=METRICS,
    settings=WorkPlan,
    purposes=(Purpose(name="work", works=True), Purpose(name="cross-check", works=True)),
)
