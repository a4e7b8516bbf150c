"""Work: the same workloads on every guest that can do them, and known tools beside them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from guestbench.families import read_metrics
from guestbench.model import (
    GIVEN_WORK,
    Batch,
    Better,
    Family,
    Frozen,
    Header,
    Kit,
    Metric,
    Purpose,
    Trial,
    Wanted,
    Workload,
    find_settings,
)
from guestbench.model.kinds import DISTINCT, Seconds, WorkloadName, within

WORK, CHECK = "work", "cross-check"
TIME = "work.time"


class Settings(Frozen):
    """How work is measured: in shuffled blocks, on each system that can do it."""

    cycles: Annotated[int, within(1, 1000, "How often each workload is done.")] = 3
    settle_s: Annotated[
        Seconds, Meta(description="How long after ready a guest with a shell goes to work.")
    ] = 10.0
    snapshots: Annotated[
        int,
        within(1, 100, "In how many boots a guest with a shell works, one after the other."),
    ] = 3
    workloads: Annotated[
        tuple[WorkloadName, ...], DISTINCT, Meta(description="What is done; see guestbench workloads.")
    ] = ("cpu", "memory", "merkle", "irmin")
    cross_checks: Annotated[
        bool, Meta(description="Run known tools beside them, on the guests that can run those.")
    ] = False
    transfer_mib: Annotated[int, within(1, 2**20, "Size of the TCP transfers, each way.")] = 32
    requests: Annotated[int, within(1, 1_000_000, "Single bytes sent in turn for the latency.")] = 1000

    def choose_state(self, trial: Trial) -> tuple[float, int]:
        """Seconds after ready at which a guest goes to work, and in which of its boots: they take turns."""
        return self.settle_s, (trial.cycle - 1) % self.snapshots


def to_metric(tool: str) -> str:
    """The name of a tool's metric."""
    return f"check.{tool.replace('-', '_')}"


_ROWS = tomllib.loads(Path(__file__).with_name("checks.toml").read_text())["checks"]
CHECKS = tuple(
    Metric(
        name=row["name"],
        title=row["title"],
        family="work",
        unit=row["unit"],
        better=Better.HIGHER,
        help="The figure of a known tool, by its own clock, to check our own work against.",
        relative_error=0.005,
        read_to_why="not measured: it is by the tool's own clock, and printed with three digits at least",
    )
    for row in _ROWS
)
COUNTERPARTS: dict[str, tuple[str, dict[str, str]] | None] = {
    row["name"]: (row["ours"], row.get("labels", {})) if "ours" in row else None for row in _ROWS
}
"""Metrics of known tools, and the metric and labels of our own work that does the same, if any does."""


def describe_metric(workload: Workload) -> Metric:
    """The row of the metric table that a workload makes."""
    return Metric(
        name=workload.metric,
        title=workload.title,
        family="work",
        unit=f"{workload.unit}/s",
        better=Better.HIGHER,
        help=" ".join(workload.help.replace("`", "").split()),
        compared=True,
        relative_error=0.001,
        read_to_why="by construction: two stamps of 0.3 ms at most in work of 0.6 s; of shorter it is more",
        span="speed of plain computing" if workload.metric == "work.cpu" else "",
    )


def list_metrics(kit: Kit | None) -> tuple[Metric, ...]:
    """The rows of a run with this kit: of its workloads, of their time, and of known tools if it has any."""
    if kit is None:
        return ()
    rates = (describe_metric(work.workload) for work in kit.works)
    return (*rates, *FAMILY.metrics, *(CHECKS if kit.checks else ()))


FAMILY = Family(
    name="work",
    title="Work",
    order=5,
    metrics=read_metrics(__file__),
    settings=Settings,
    needs="a [work] table and workloads of this run",
    purposes=(Purpose(name=WORK, works=True), Purpose(name=CHECK, works=True)),
)


def find_own(header: Header) -> Settings:
    """The run's settings of work, which the network's trials share."""
    return find_settings(header.experiment.settings, FAMILY.name, Settings)


def plan_blocks(header: Header, wanted: tuple[Wanted, ...]) -> Batch:
    """As many blocks as the run has of given work, each with all of these trials."""
    return Batch(trials=wanted, rounds=find_own(header).cycles, shuffle=GIVEN_WORK, blocks=True)
