"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import settings

# A noisy host can stop any example for a while; that is no fault of the code under test.
settings.register_profile("guestbench", deadline=None)
settings.load_profile("guestbench")
