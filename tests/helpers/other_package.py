"""Makes packages that are not ours, installed for the time of a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from guestbench import registry


@contextmanager
def installed(site: Path, name: str, entry_points: str, modules: Mapping[str, str]) -> Iterator[None]:
    """A package of that name in the folder `site`, with the source of each of its modules by its path."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for path, source in {"__init__.py": "", **modules}.items():
        file = site / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    sys.path.insert(0, str(site))
    registry.list_entries.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        registry.list_entries.cache_clear()
        for module in [each for each in sys.modules if each.partition(".")[0] == name]:
            del sys.modules[module]
