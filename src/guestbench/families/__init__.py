"""The families of metrics, one folder each."""

from __future__ import annotations

from importlib import import_module

from guestbench.model import Metric, MetricFamily

ROWS = ("guest.watch", "families.image.probe", "families.memory.least", "families.memory.probe")


def find_metrics(families: tuple[MetricFamily, ...]) -> tuple[Metric, ...]:
    """The metric rows of the families, in the order of the families and then of their module."""
    modules = [import_module(f"guestbench.{name}") for name in (*ROWS, "families.surface.metrics")]
    rows: list[Metric] = [row for module in modules for row in module.METRICS]
    return tuple(row for family in families for row in rows if row.family is family)
