"""Makes two versions of a guest the two systems of one run; it measures nothing and judges nothing.

They are called `old` and `new`, differ in nothing but what the user gave, and stand beside the null guest in
shuffled blocks: what the host does meanwhile hits both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from guestbench import provision
from guestbench.definition.systems import SYSTEM_FILE, find_system, load_catalogue
from guestbench.errors import ImageError, UsageError
from guestbench.families import list_families
from guestbench.images.check import check_bootable
from guestbench.model import Accel, Experiment, GuestFamily, Header, System
from guestbench.model.system import Provision
from guestbench.run.request import Request, Version
from guestbench.text import visible

OLD, NEW = "old", "new"
CYCLES = 20
"""Blocks where the user asks for no other number."""


def find_version(text: str, reference: str | None, told: str = "") -> Version:
    """The version that `text` names: an image, a folder with a definition, or a system of the catalogue.

    An image is booted as the system that `reference` names, else as the one whose kind of image it is.

    Raises:
        UsageError: there is no such thing, or it is not told which system an image is of.
        DefinitionError: its definition has mistakes.
    """
    path, catalogue = Path(text).expanduser(), load_catalogue()
    if (path / SYSTEM_FILE).is_file():
        folder = path.resolve()
        # A file that the definition looks for is this version's own, wherever the user stands.
        own = folder / (find_system(str(folder), catalogue, Path()).provision.path or SYSTEM_FILE)
        given = own if own.is_file() and own.name != SYSTEM_FILE else None
        return Version(reference=str(folder), image=given, told=told)
    if path.exists():
        return Version(reference=reference or _guess(path, catalogue), image=path, told=told)
    if text in catalogue:
        return Version(reference=text, told=told)
    raise UsageError(
        f"{visible(text)!r} is neither a file, nor a folder, nor a system of the catalogue",
        "guestbench systems list",
    )


def _guess(image: Path, catalogue: Mapping[str, System]) -> str:
    """The one system of the catalogue that such an image is of, or the one of them that is distributed.

    Of several releases that differ in their image alone it is the first: whichever it is, all goes alike.
    """
    fits: list[str] = []
    refused = ""
    for name in catalogue:
        with contextlib.suppress(UsageError):
            system = catalogue[name]
            if system.family is GuestFamily.FLOOR or system.provision.share:
                continue
            try:
                guest = provision.locate(system, {name: image}, catalogue)
                for role, found in guest.pristine.items():
                    check_bootable(guest.system, role, Path(found.path))
                fits.append(name)
            except ImageError as error:
                refused = error.message if len(system.boot.roles) == 1 else refused
    distributed = [name for name in fits if catalogue[name].provision.fetch]
    if len(fits) == 1 or len({_watched(catalogue[name]) for name in distributed}) == 1:
        return [*distributed, *fits][0]
    shown = visible(image)
    if fits:
        hint = f"guestbench ab OLD NEW --as {fits[0]}"
        raise UsageError(f"{shown} may be an image of {' or '.join(fits)}", hint)
    raise UsageError(
        f"{shown} is an image of no system of the catalogue: {refused}", "guestbench systems list"
    )


def _watched(system: System) -> bytes:
    """All that a system's definition says of how its image is booted and what is waited for there."""
    same = msgspec.structs.replace(system, name="", title="", help="", wait=None, provision=Provision())
    return msgspec.json.encode(same)


def make_request(
    title: str, old: Version, new: Version, *, accel: str | None = None, **chosen: Any
) -> Request:
    """What is asked of a run of both versions with the null guest beside them; `chosen` is more of it."""
    floors = (s.name for s in load_catalogue().values() if s.family is GuestFamily.FLOOR)
    families = tuple(family.name for family in list_families())
    experiment = Experiment(
        name="ab", title=title, systems=(*floors, OLD, NEW), baseline=OLD, metrics=families, cycles=CYCLES
    )
    versions = {OLD: old, NEW: new}
    return Request(experiment=experiment, versions=versions, accel=Accel(accel) if accel else None, **chosen)


def tell_alike(header: Header) -> str:
    """What is to be known of how far the versions differ, in a sentence; empty if in their images alone."""
    old, new = (header.find_guest(name) for name in (OLD, NEW))
    files = [{role: image.sha256 for role, image in each.pristine.items()} for each in (old, new)]
    same_files = files[0] == files[1]
    renamed = msgspec.structs.replace(old.system, name=NEW)
    fields = [
        field
        for field in renamed.__struct_fields__
        if field not in ("title", "help") and getattr(renamed, field) != getattr(new.system, field)
    ]
    if same_files and not fields:
        return "OLD and NEW are the same file: this is an A/A run, and all that differs is the host's doing"
    if same_files:
        return f"OLD and NEW are the same file; their definitions differ in: {', '.join(fields)}"
    if fields:
        return f"beside their images, the definitions of OLD and NEW differ in: {', '.join(fields)}"
    return ""
