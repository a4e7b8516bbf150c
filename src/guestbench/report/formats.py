"""The formats of `guestbench export`: names alone, for which the command line loads nothing heavy."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What a run can be exported as."""

    HYPERFINE = "hyperfine"
    OPENMETRICS = "openmetrics"
    GITHUB_ACTION_BENCHMARK = "github-action-benchmark"
    CSV = "csv"
    JSON = "json"
