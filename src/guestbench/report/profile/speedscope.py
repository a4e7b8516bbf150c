"""Writes a profile as speedscope reads it (https://www.speedscope.app/file-format-schema.json)."""

from __future__ import annotations

import msgspec

from guestbench.model.profile import Profile
from guestbench.text import visible

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def render_speedscope(profile: Profile) -> bytes:
    """One sampled profile, in which a sample is a place of a phase and its weight the instructions there.

    Samples are in the order of the phases, so that the view in the order of time shows the boot's course.
    """
    numbers: dict[str, int] = {}
    samples = [
        [numbers.setdefault(visible(name), len(numbers)) for name in (row.phase, *row.place)]
        for row in profile.spent
    ]
    weights = [row.instructions for row in profile.spent]
    document = {
        "$schema": SCHEMA,
        "name": visible(f"boot of {profile.system}"),
        "exporter": f"guestbench {profile.tool}",
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": name} for name in numbers]},
        "profiles": [
            {
                "type": "sampled",
                "name": visible(f"instructions of a boot of {profile.system}"),
                "unit": "none",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }
    return msgspec.json.encode(document) + b"\n"
