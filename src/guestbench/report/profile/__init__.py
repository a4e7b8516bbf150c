"""Shows where the instructions of a boot went: tables, an icicle, and files that other tools read."""

from __future__ import annotations

import msgspec

from guestbench.analysis.profile.growth import ProfileDiff
from guestbench.errors import UsageError
from guestbench.model.decoding import NOT_JSON, decode_as
from guestbench.model.profile import PROFILE_VERSION, Profile
from guestbench.report.html import render_html
from guestbench.report.profile.describe import describe_growth, describe_page, describe_profile
from guestbench.report.profile.folded import render_folded
from guestbench.report.profile.speedscope import render_speedscope
from guestbench.text import visible

JSON_NAME = "profile.json"
HTML_NAME = "profile.html"
FOLDED_NAME = "profile.folded"
SPEEDSCOPE_NAME = "profile.speedscope.json"
__all__ = [
    "describe_growth",
    "describe_profile",
    "read_json",
    "render_files",
    "render_growth_json",
    "render_json",
]

AGAIN = "guestbench profile SYSTEM -o DIR"


def render_json(profile: Profile) -> bytes:
    """The profile, indented, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(profile, order="deterministic"), indent=1) + b"\n"


def render_growth_json(diff: ProfileDiff) -> bytes:
    """Two profiles compared, likewise."""
    return msgspec.json.format(msgspec.json.encode(diff, order="deterministic"), indent=1) + b"\n"


def read_json(data: bytes, shown: str) -> Profile:
    """A profile as `render_json` writes it; `shown` names it.

    Raises:
        UsageError: it is none, or of a version that this one does not read.
    """
    try:
        profile = decode_as(data, Profile)
    except NOT_JSON as error:
        raise UsageError(f"{shown} is no profile: {visible(str(error))}", AGAIN) from None
    if profile.version != PROFILE_VERSION:
        raise UsageError(
            f"{shown} is a profile of version {profile.version}; this guestbench reads {PROFILE_VERSION}",
            AGAIN,
        )
    return profile


def render_files(profile: Profile) -> dict[str, bytes]:
    """Every file of a profile, by its name."""
    return {
        JSON_NAME: render_json(profile),
        HTML_NAME: render_html(describe_page(profile)).encode(),
        FOLDED_NAME: render_folded(profile),
        SPEEDSCOPE_NAME: render_speedscope(profile),
    }
