"""Runs that stop by a rule."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from factories import make_boot_run

from guestbench.definition.until import limit, parse_until
from guestbench.model import Header, Record


def make_steered(
    until: str, spread: float, ratio: float = 1.0, cycles: int = 40, seed: int = 0
) -> tuple[Header, tuple[Record, ...]]:
    """A finished run of a floor, a baseline and one other; times scatter by `spread`, as a share of them."""
    random = np.random.default_rng(seed)
    times: dict[str, Sequence[float]] = {
        "floor": [0.1] * cycles,
        "base": [2.0] * cycles,
        "other": (2.0 * ratio * np.exp(random.normal(0, spread, cycles))).tolist(),
    }
    header, records = make_boot_run(times, floor="floor")
    experiment = msgspec.structs.replace(header.experiment, baseline="base", cycles=cycles)
    rule = limit(parse_until(until), cycles)
    return msgspec.structs.replace(header, experiment=experiment, until=rule), records
