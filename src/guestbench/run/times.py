"""Remembers how long trials took on this host, by which a run with a budget is planned before it starts."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import fmean

import msgspec

from guestbench.analysis.forecast import kind_of
from guestbench.model import Record
from guestbench.model.decoding import NOT_JSON
from guestbench.provision.cache import cache_folder

MOST = 2000
"""So many kinds of trials are remembered, those of the newest runs."""


def recall_times(host: str) -> dict[str, float]:
    """Seconds by kind of trial on the host of that digest; empty where nothing is remembered."""
    try:
        return msgspec.json.decode(_find_file(host).read_bytes(), type=dict[str, float])
    except (OSError, *NOT_JSON):
        return {}


def remember_times(host: str, records: Iterable[Record]) -> None:
    """Add the means of these records. What cannot be written is not remembered."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        found[kind_of(record.trial)].append(record.wall_ns / 1e9)
    known = {kind: seconds for kind, seconds in recall_times(host).items() if kind not in found}
    known |= {kind: fmean(seconds) for kind, seconds in found.items()}
    file = _find_file(host)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.write_bytes(msgspec.json.encode(dict([*known.items()][-MOST:])))
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)


def _find_file(host: str) -> Path:
    return cache_folder() / "times" / f"{host}.json"
