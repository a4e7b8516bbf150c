"""Network: TCP connections to a guest's standard services."""

from __future__ import annotations

from guestbench.families import read_metrics
from guestbench.model import Family, Kit, Metric, Purpose

HTTP = "net.http"


def list_metrics(kit: Kit | None) -> tuple[Metric, ...]:
    """All of them, if there is anything that guests can be given to serve connections with."""
    return FAMILY.metrics if kit else ()


FAMILY = Family(
    name="net",
    title="Network",
    order=6,
    metrics=read_metrics(__file__),
    needs="services, or a [work] table with a shell",
    purposes=(Purpose(name="net", works=True),),
)
