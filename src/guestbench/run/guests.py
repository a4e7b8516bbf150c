"""Finds the guests that a run is to measure: definitions, and images, built where they are missing."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from guestbench import model, provision
from guestbench.definition.systems import Catalogue, find_system, system_folder
from guestbench.errors import GuestbenchError, HostError, ImageError, UsageError
from guestbench.run.ahead import build_ahead
from guestbench.run.request import Request, Version
from guestbench.run.store import read_store


class Candidate(model.Frozen):
    """A system that the experiment names; one that is not needed may be left out."""

    system: model.System
    version: Version
    needed: bool


def find_systems(
    experiment: model.Experiment, catalogue: Catalogue, request: Request
) -> dict[str, Candidate]:
    """The systems of an experiment that are asked for, by the names that the run has for them.

    Raises:
        UsageError: one that is asked for is not in it.
        DefinitionError: a system's definition has mistakes.
    """
    wanted: dict[str, Candidate] = {}
    for reference in (*experiment.systems, *experiment.optional):
        version = request.versions.get(reference)
        system = find_system(version.reference if version else reference, catalogue, Path.cwd())
        name = reference if version else system.name
        if version is None:
            version = Version(reference=reference, image=request.given.get(name))
        needed = name in request.only or name in request.given or reference in experiment.systems
        wanted[name] = Candidate(system=system, version=version, needed=needed)
    for name in (*request.only, *request.given):
        if name not in wanted:
            raise UsageError(
                f"system {name!r} is not in experiment {experiment.name}, which has: {', '.join(wanted)}",
                "guestbench systems list",
            )
    return {name: wanted[name] for name in wanted if not request.only or name in request.only}


def find_guests(
    candidates: Mapping[str, Candidate],
    request: Request,
    catalogue: Mapping[str, model.System],
    say: model.Say,
    *,
    checked: bool,
) -> tuple[tuple[model.Guest, ...], tuple[model.Absent, ...]]:
    """The guests, and the systems that the run does without. Images are `checked` for being bootable.

    Raises:
        ImageError, HostError: a system that is needed has no image, and none can be made; or none has one.
    """
    guests: list[model.Guest] = []
    absent: list[model.Absent] = []
    failed = _build_ahead(candidates, request, catalogue, say) if request.build else {}
    for name, candidate in candidates.items():
        system, version = candidate.system, candidate.version
        try:
            if name in failed:
                raise failed[name]
            guest = provision.prepare(
                system,
                _find_given(request, candidate),
                catalogue,
                say=say,
                build=request.build,
                folder=system_folder(version.reference),
            )
        except (ImageError, HostError) as error:
            # HostError: what it is built from cannot be downloaded here, say.
            if candidate.needed:
                raise
            absent.append(model.Absent(system=name, reason=error.message))
            say(f"leaving out {name}: {error.message} (to include it: {error.hint})")
            continue
        if checked:
            provision.check(guest)
        guests.append(_rename(guest, name, version.told))
    if not guests:
        raise ImageError("none of the experiment's systems has an image", "guestbench systems list")
    return tuple(guests), tuple(absent)


def _find_given(request: Request, candidate: Candidate) -> Mapping[str, Path]:
    """The image files that the user gave, by system, as far as this one is concerned."""
    image = candidate.version.image
    return request.given if image is None else {**request.given, candidate.system.name: image}


def _build_ahead(
    candidates: Mapping[str, Candidate],
    request: Request,
    catalogue: Mapping[str, model.System],
    say: model.Say,
) -> dict[str, GuestbenchError]:
    """Build several images that are missing side by side, those of disks first; why some cannot be built."""
    missing: dict[str, tuple[model.System, Path | None]] = {}
    for name, candidate in candidates.items():
        system, folder = candidate.system, system_folder(candidate.version.reference)
        with contextlib.suppress(GuestbenchError):  # it is told when its turn comes
            if provision.is_to_build(system, _find_given(request, candidate), catalogue, folder=folder):
                missing[name] = (system, folder)
    disks = [name for name, (system, _) in missing.items() if model.Role.DISK in system.boot.roles]
    # Whatever has a disk is looked into, some of it before the first trial.
    looks: dict[str, tuple[None, None]] = {"what looks into disks": (None, None)} if disks else {}
    ordered = {name: missing[name] for name in (*disks, *(name for name in missing if name not in disks))}
    needed = [name for name, candidate in candidates.items() if candidate.needed]
    return build_ahead({**ordered, **looks}, needed, say) if len(missing) > 1 else {}


def refuse_others(guests: Sequence[model.Guest], request: Request, folder: Path) -> None:
    """Refuse guests that are not those of the run in a folder.

    Raises:
        ImageError: an image is another file, or that run had no such system.
        StoreError: the run cannot be read.
    """
    header, _ = read_store(folder)
    known = {guest.system.name: guest for guest in header.guests}
    for guest in guests:
        name = guest.system.name
        before = known[name].pristine if name in known else {}
        for role, image in guest.pristine.items():
            was = before[role].sha256 if role in before else "none"
            if was != image.sha256:
                words = iter(request.command)
                rest = [word for word in words if word != "--images-of" or not next(words, "")]
                rest = [word for word in rest if not word.startswith("--images-of=")]
                raise ImageError(
                    f"system {name} is not as it was in run {header.run}: its {role.value} has the digest "
                    f"{image.sha256}, and had {was}",
                    f"{shlex.join(['guestbench', *rest])}  # measures it, which is another experiment",
                )


def _rename(guest: model.Guest, name: str, told: str) -> model.Guest:
    """The guest as the run calls it. A version of the null guest is a guest to be compared, and no floor."""
    system, origin = guest.system, guest.origin
    if name != system.name:
        family = model.GuestFamily.UNIKERNEL if system.family is model.GuestFamily.FLOOR else system.family
        system = msgspec.structs.replace(system, name=name, family=family)
    if told:
        origin = msgspec.structs.replace(origin, detail=told)
    return msgspec.structs.replace(guest, system=system, origin=origin)
