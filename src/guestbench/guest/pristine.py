"""Looks into the image files of a guest, as they were provisioned, for the families that measure them."""

from __future__ import annotations

from pathlib import Path

from guestbench.errors import HostError
from guestbench.images.inspection import Inspection
from guestbench.inspect import inspect_image
from guestbench.model import Guest, Header, Inspector, Kit, Needs, Role

NO_KIT = "the run has nothing to look into disks with\nguestbench run --metrics image,surface"


def find_needs(header: Header) -> Needs | None:
    """What looks into disks, where any guest has one."""
    if not any(Role.DISK in guest.pristine for guest in header.guests):
        return None
    return Needs(inspector=True, programs=False)


def inspect_pristine(guest: Guest, role: Role, kit: Kit | None, scratch: Path) -> Inspection:
    """What is in one of a guest's images. `scratch` has room for the contents of a ramdisk.

    Raises:
        ImageError: it cannot be inspected.
        HostError: the kit has nothing to look into a disk with; or a program is missing or fails.
    """
    image = guest.pristine[role]

    def prepare() -> tuple[Inspector, str]:
        if kit is None or kit.inspector is None:
            message, _, hint = (kit.no_inspector if kit and kit.no_inspector else NO_KIT).partition("\n")
            raise HostError(f"disks cannot be looked into: {message}", hint)
        return kit.inspector, image.sha256

    return inspect_image(Path(image.path), scratch, prepare)
