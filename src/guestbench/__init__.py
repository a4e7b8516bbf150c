"""guestbench measures what a virtual machine guest really costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestbench.version import __version__

if TYPE_CHECKING:
    from os import PathLike

    from guestbench.data import Results

__all__ = ["__version__", "load"]


def load(*folders: str | PathLike[str]) -> Results:
    """The results of the runs in these folders, as tables of typed rows.

    Nothing is measured or written. `results.samples.frame()` is a table as a frame of pandas or polars.

    Raises:
        StoreError: a folder holds no run, or one that cannot be read.
        UsageError: no folder is named, or two hold the same run.
    """
    # Whoever only wants the version is not to wait for what analyses a run.
    from guestbench.data import load_runs

    return load_runs(folders)
