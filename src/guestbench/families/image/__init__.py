"""Image size: what the files take that a guest boots from."""

from __future__ import annotations

from guestbench.families import read_metrics
from guestbench.model import Family, Purpose

FILE = "image.file"


FAMILY = Family(
    name="image",
    title="Image size",
    order=1,
    metrics=read_metrics(__file__),
    purposes=(Purpose(name="image", timed=False, boots=False, pristine=True),),
)
