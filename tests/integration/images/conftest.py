"""A root file system and its inventory, for the tests that look into disks."""

from __future__ import annotations

from pathlib import Path

import pytest
from disks import fill_root, inspect, make_ext, without_size

from guestbench.images.inspection import FileSystem


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that becomes a root file system, with nothing that a file system cannot keep."""
    root = fill_root(tmp_path_factory.mktemp("tree") / "root")
    (root / "tmp").chmod(0o755)
    return root


@pytest.fixture(scope="session")
def ext4(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system as one ext4."""
    return make_ext(tree, tmp_path_factory.mktemp("image") / "ext4", "-t", "ext4")


@pytest.fixture(scope="session")
def inventory(ext4: Path, tmp_path_factory: pytest.TempPathFactory) -> FileSystem:
    """What is in the root, whatever it lies in."""
    return without_size(inspect(ext4, tmp_path_factory.mktemp("scratch")))
