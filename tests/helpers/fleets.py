"""Fleets on this machine: workers that take themselves for those of several hosts, and guests that sleep."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from other_package import installed
from replay import make_guest, make_header, make_system, write_recording

from guestbench.model import Experiment, GuestFamily, Header, Kit, Record
from guestbench.run.prepare import complete
from guestbench.run.remote import HOST_NAME
from guestbench.version import __version__
from guestbench.vmm import fake

ENTRY_POINTS = "[guestbench.vmms]\nsleeper = sleeper\n"
SLEEPER = '''"""Replays a recording as the fake VMM does, and sleeps as long as its machine is called."""

import sys
import time
from contextlib import contextmanager

from guestbench.vmm import fake
from guestbench.vmm.fake import TRAITS, check, describe, describe_interactive, identify


@contextmanager
def start(spec):
    if {"dask", "distributed", "tornado"} & set(sys.modules):
        raise RuntimeError("Dask is in the process that measures")
    time.sleep(float(spec.platform.machine))
    with fake.start(spec) as machine:
        yield machine
'''


class Cluster(NamedTuple):
    """A scheduler's address, and the nannies of its workers."""

    address: str
    nannies: list[Any]

    def pids(self) -> list[int]:
        """The processes of the workers that run now."""
        return [nanny.pid for nanny in self.nannies if nanny.pid is not None]


@contextmanager
def sleeping(folder: Path) -> Iterator[None]:
    """The VMM whose machines sleep, for us and for the processes that we start."""
    path = os.environ.get("PYTHONPATH", "")
    with installed(folder / "site", "sleeper", ENTRY_POINTS, {"__init__.py": SLEEPER}):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder / "site"), path)))
        try:
            yield
        finally:
            os.environ["PYTHONPATH"] = path


def make_sleeping(
    folder: Path, sleep_s: float, systems: Sequence[str] = ("floor", "a", "b"), **fields: Any
) -> Header:
    """The header of a run of guests that take so long each; the first is the null guest."""
    guests = []
    for name in systems:
        recording = write_recording(
            folder / name, [(1.0, b"Powered by"), (5.0, f"{name}[init done]".encode())]
        )
        family = GuestFamily.FLOOR if name == systems[0] else GuestFamily.UNIKERNEL
        guests.append(make_guest(make_system(name, family=family), recording))
    given: dict[str, Any] = {
        "cycles": 4,
        "warmups": 0,
        "metrics": ("boot",),
        "baseline": systems[-1],
    } | fields
    experiment = Experiment(name="sleep", title="Sleep", systems=tuple(systems), **given)
    header = make_header(tuple(guests), experiment)
    platform = msgspec.structs.replace(header.platform, vmm="sleeper", machine=str(sleep_s))
    changed = msgspec.structs.replace(
        header,
        platform=platform,
        trials=(),
        tool=__version__,
        kit=Kit(works=()),
        host=msgspec.structs.replace(header.host, vmm_version=fake.identify().version),
    )
    return complete(changed)


@contextmanager
def cluster(
    hosts: Mapping[str, int], cores: int = 1, security: Any = None, **options: Any
) -> Iterator[Cluster]:
    """A scheduler here, and so many workers of each host, each with so many cores."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    from guestbench.run.fleet import QUIET

    if security is not None:
        options |= {"security": security, "protocol": "tls://"}
    workers = {}
    for name, count in hosts.items():
        for number in range(count):
            worker = {
                "nthreads": cores,
                "resources": {"core": cores},
                "host": "127.0.0.1",
                "dashboard": False,
                "memory_limit": 0,
                "env": {HOST_NAME: name},
                **options,
            }
            workers[f"{name}-{number}"] = {"cls": Nanny, "options": worker}
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "port": 0, **options},
    }
    with (
        dask.config.set(QUIET),
        SpecCluster(workers=workers, scheduler=scheduler, security=security, silence_logs=50) as made,
    ):
        made.wait_for_workers(len(workers), timeout=120)
        yield Cluster(address=made.scheduler_address, nannies=list(made.workers.values()))


def span(record: Record) -> tuple[float, float]:
    """When a trial began and ended, in seconds since 1970."""
    began = datetime.fromisoformat(record.started).timestamp()
    return began, began + record.wall_ns / 1e9
