"""How much a guest prints on its console until it is ready, and for a while after that."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from guestbench.families import read_metrics
from guestbench.model import Family, Frozen, Purpose
from guestbench.model.kinds import Seconds, within

BYTES, LINES = "chatter.bytes", "chatter.lines"


class Settings(Frozen):
    """How long guests are listened to, and how often."""

    boots: Annotated[int, within(1, 1000, "Boots of each system.")] = 3
    after_s: Annotated[Seconds, Meta(description="How long after ready it is listened to.")] = 1.0


FAMILY = Family(
    name="chatter",
    title="Chatter",
    metrics=read_metrics(__file__),
    settings=Settings,
    # Nothing in it is a time, so that boots can be made side by side.
    purposes=(Purpose(name="listen", timed=False, main=BYTES),),
)
