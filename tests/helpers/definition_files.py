"""Definition files as users write them, and what is said about their mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestbench.definition.experiments import load_experiment
from guestbench.definition.systems import load_system
from guestbench.errors import DefinitionError

EXPERIMENT = """
name = "mine"
title = "Two of them"
systems = ["mirage-unikraft"]
"""
SYSTEM = """
name = "toy"
title = "A toy"
family = "unikernel"
ready = "up"
timeout_s = 10

[boot]
type = "kernel"
"""


def write_experiment(folder: Path, text: str) -> str:
    """Write an experiment file and return its path as a user would type it."""
    file = folder / "experiment.toml"
    file.write_text(text)
    return str(file)


def write_system(folder: Path, text: str) -> Path:
    """Make a system folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "system.toml").write_text(text)
    return folder


def problems_of_experiment(folder: Path, text: str) -> tuple[str, ...]:
    """What is said about an experiment, without the file's name in front."""
    reference = write_experiment(folder, text)
    with pytest.raises(DefinitionError) as caught:
        load_experiment(reference)
    assert all(each.startswith(f"{reference}: ") for each in caught.value.messages)
    return tuple(each.removeprefix(f"{reference}: ") for each in caught.value.messages)


def problems_of_system(folder: Path, text: str) -> tuple[str, ...]:
    """What is said about a system file, without the file's name in front."""
    write_system(folder, text)
    with pytest.raises(DefinitionError) as caught:
        load_system(folder, ("floor", "debian-12-nocloud"))
    return tuple(each.removeprefix(f"{folder}/system.toml: ") for each in caught.value.messages)
