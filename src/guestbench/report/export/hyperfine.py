"""Writes boot times in the JSON that hyperfine 1 exports, for scripts that read it; it invents no figure.

hyperfine knows only programs that ran to their end. So there is no place in it for failed boots, which are
left out (a system none of whose boots succeeded is left out entirely). `user` and `system` are null: of
QEMU's CPU time the sum is measured (`boot.cpu`), not its parts. `exit_codes` are null, which stands for
programs that a signal ended: guests are ended once they are ready.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guestbench.analysis.summary import summarise
from guestbench.families.boot import BOOT, READY
from guestbench.model import Header, Ok, Record


def render(header: Header, records: Sequence[Record]) -> bytes:
    """An object whose `results` has one entry a system, in the run's order; times are in seconds."""
    results = [
        {
            "command": summary.system,
            "mean": summary.mean,
            "stddev": summary.sd,
            "median": summary.median,
            "user": None,
            "system": None,
            "min": summary.minimum,
            "max": summary.maximum,
            "times": list(summary.values),
            "exit_codes": [None] * summary.n,
        }
        for summary in summarise(header, records)
        if summary.metric == READY and not summary.labels and summary.n
    ]
    return msgspec.json.format(msgspec.json.encode({"results": results}), indent=2) + b"\n"


def tell_lost(records: Sequence[Record]) -> str:
    """How many failed boots are left out."""
    failed = sum(r.trial.purpose == BOOT and not isinstance(r.outcome, Ok) for r in records)
    return f"{failed} failed boots have no place in this format" if failed else ""
