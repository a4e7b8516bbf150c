"""The section of a run's report on where the instructions of boots go, from profiles in its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from guestbench.errors import UsageError
from guestbench.model import Header
from guestbench.model.profile import Profile
from guestbench.page.blocks import Bullets, Code, Paragraph, Section, read_words
from guestbench.report.profile import HTML_NAME, JSON_NAME, read_json
from guestbench.report.profile.describe import describe_profile
from guestbench.text import visible

tell = read_words(__file__)

FOLDER = "profiles"
"""Below the folder of a run; in it there is a folder for each system."""
AGAIN = "guestbench profile SYSTEM --into RUN"
LISTED = 12
"""Places of each profile; its own page has more."""


class Profiles(msgspec.Struct, frozen=True):
    """The profiles in a run's folder, and of those that cannot be read why."""

    read: tuple[Profile, ...] = ()
    problems: tuple[str, ...] = ()


def find_place(run: Path, profile: Profile) -> Path:
    """The folder of a profile in that of a run.

    Raises:
        UsageError: its system's name, which may come from a file, cannot be that of a folder.
    """
    if profile.system in ("", ".", "..") or re.search("[/\0]", profile.system):
        raise UsageError(f"{visible(profile.system)} cannot be the name of a folder", AGAIN)
    return run / FOLDER / profile.system


def read_profiles(folder: Path) -> Profiles:
    """The profiles that were added to the run in this folder, by their systems' names."""
    read, problems = [], []
    for file in sorted((folder / FOLDER).glob(f"*/{JSON_NAME}")):
        try:
            read.append(read_json(file.read_bytes(), visible(file.relative_to(folder))))
        except UsageError as error:
            problems.append(error.message)
        except OSError as error:
            problems.append(f"{visible(file.relative_to(folder))} cannot be read: {error.strerror}")
    return Profiles(tuple(read), tuple(problems))


def find_sections(header: Header, profiles: Profiles) -> Iterator[Section]:
    """The section, where there are any."""
    if profiles.read or profiles.problems:
        blocks = (tell("profiles"), *((Bullets(profiles.problems),) if profiles.problems else ()))
        parts = (_describe(header, number, each) for number, each in enumerate(profiles.read))
        yield Section("profiles", "Where the instructions of a boot go", blocks, tuple(parts))


def _describe(header: Header, number: int, profile: Profile) -> Section:
    whole, phases, places, _ = describe_profile(profile, LISTED)
    page = Code(f"{FOLDER}/{profile.system}/{HTML_NAME}")
    lines = [("All of it, and an icicle to look around in: ", page, ".")]
    told = Paragraph((*_find_difference(header, profile), *lines))
    return Section(f"profile-{number}", Code(profile.system), (whole, told, phases, places))


def _find_difference(header: Header, profile: Profile) -> Sequence[str]:
    """A warning where another image was profiled than the run has measured."""
    measured = {guest.system.name: guest for guest in header.guests}.get(profile.system)
    if measured is None:
        return ("This run did not measure it.",)
    images = {role: image.sha256 for role, image in measured.pristine.items()}
    if images != profile.images:
        return ("It is of another image than the one that this run measured.",)
    return ()
