"""What a user asks for of a run; nothing is looked up here."""

from __future__ import annotations

from pathlib import Path

from guestbench import model
from guestbench.definition.settings import Changes


class Version(model.Frozen):
    """A system that takes part under another name: `reference` names it, and `image` is booted for its own.

    `told` says where the image comes from, where that is not its path.
    """

    reference: str
    image: Path | None = None
    told: str = ""


class Request(model.Frozen):
    """What the user asked for on the command line. Empty or None means: as the experiment says.

    `experiment` is its name or path, or the experiment itself; `run` what the run is to be called. A system
    that it names and `versions` has is that one. Images must be those of the run in the folder `images_of`.
    """

    experiment: str | model.Experiment
    run: str = ""
    given: dict[str, Path] = {}
    versions: dict[str, Version] = {}
    only: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    cycles: int | None = None
    warmups: int | None = None
    seed: int | None = None
    accel: model.Accel | None = None
    settings: Changes = {}
    until: model.StopRule | None = None
    budget_s: float | None = None
    build: bool = True
    images_of: Path | None = None
    command: tuple[str, ...] = ()
