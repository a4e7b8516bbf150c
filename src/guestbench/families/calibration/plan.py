"""The trials of calibration: blocks that plant each amount once in the reference unikernel."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.families import calibration
from guestbench.model import Batch, GuestFamily, Header, Record, System, Wanted


def plan(header: Header) -> Iterator[Batch]:
    """As many blocks as of boots, of the guests that do as they are told; none where the run has no such.

    Where it is not known how many boots there will be, as many as there are at least.
    """
    rounds = header.until.looks[0] if header.until else header.experiment.cycles
    for system in (guest.system for guest in header.guests):
        if does_as_told(system):
            delays = [(calibration.DELAY, amount) for amount in calibration.DELAYS_MS]
            yield _batch(system, [*delays, (calibration.AGAIN, 0)], rounds)
            most = header.platform.memory_mib // 2
            amounts = [(calibration.MEMORY, amount) for amount in calibration.MEMORY_MIB if amount <= most]
            yield _batch(system, amounts, min(rounds, calibration.MEMORY_ROUNDS))
        if does_as_told(system) or system.family is GuestFamily.FLOOR:
            yield _batch(system, [(calibration.STAMPS, 0)], rounds)


def does_as_told(system: System) -> bool:
    """Whether it is the kernel that plants on request."""
    return (system.provision.build or {}).get("method") == "library-os"


def _batch(system: System, plants: list[tuple[str, int]], rounds: int) -> Batch:
    wanted = (
        Wanted(purpose=calibration.CALIBRATION, system=system.name, workload=calibration.name_plant(*each))
        for each in plants
    )
    return Batch(trials=tuple(wanted), rounds=rounds, shuffle=calibration.CALIBRATION, blocks=True)


def describe(record: Record) -> str:
    """What was measured of what was planted."""
    kind, amount = calibration.read_plant(record.trial.workload)
    values = {sample.metric: sample.value for sample in record.samples}
    if calibration.STAMP in values:
        return f"stamped {values[calibration.STAMP] * 1e6:+.0f} µs late"
    if calibration.TOUCHED in values:
        return f"planted {amount} MiB; touched {values[calibration.TOUCHED] / 1024:.2f} MiB"
    return (
        f"planted {amount} ms; ready after {values[calibration.READY] * 1e3:.2f} ms"
        if calibration.READY in values
        else kind
    )
