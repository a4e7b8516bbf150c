"""Attack surface: what can be reached, what is inside, what is lacking, what lies towards the host."""

from __future__ import annotations

from guestbench.families.surface.metrics import METRICS
from guestbench.model import Family, Purpose, SurfacePlan

FAMILY = Family(
    name="surface",
    title="Attack surface",
    order=4,
    metrics=METRICS,
    settings=SurfacePlan,
    purposes=(
        Purpose(name="surface-image", counted=False, timed=False, boots=False, pristine=True, facts=True),
        Purpose(name="surface", counted=False, facts=True),
        Purpose(name="surface-boot", counted=False, timed=False),
    ),
)
