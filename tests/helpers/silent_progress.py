"""Shows nothing of how a run goes on."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.model import Record, State, Trial


class SilentProgress:
    """Shows nothing."""

    def begin(self, trials: Sequence[Trial], done: Sequence[Record]) -> None:
        """Show nothing."""

    def state_started(self, state: State) -> None:
        """Say nothing."""

    def trial_started(self, trial: Trial) -> None:
        """Show nothing."""

    def tick(self) -> None:
        """Show nothing."""

    def trial_finished(self, record: Record) -> None:
        """Show nothing."""
