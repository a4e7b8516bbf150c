"""What a fleet costs and survives, with guests that sleep; each part prints a line or a table.

PYTHONPATH=tests/helpers .venv/bin/python benchmarks/fleet.py overhead [TRIALS]
    the fleet's own time for each trial, with workers that answer at once; at most 20 ms
PYTHONPATH=tests/helpers .venv/bin/python benchmarks/fleet.py speedup [SECONDS]
    how much faster eight workers are than one, with trials that sleep so long; at least 7 times
PYTHONPATH=tests/helpers .venv/bin/python benchmarks/fleet.py faults [TRIALS]
    a worker is killed every 10 s and the scheduler once: each trial once in the store, timed ones alone
PYTHONPATH=tests/helpers .venv/bin/python benchmarks/fleet.py harness
    what the harness takes from a guest on a fleet's worker and without one (real QEMU)
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from distributed import Client
from fleets import cluster, make_sleeping, sleeping, span
from silent_progress import SilentProgress

from guestbench.errors import GuestbenchError
from guestbench.families import find_purpose
from guestbench.host import process
from guestbench.model import Header, Ok, Record, TrialResult
from guestbench.run import fleet, remote
from guestbench.run.jobs import make_job
from guestbench.run.store import create_store, read_all, reopen_store
from guestbench.run.trials import make_trials
from guestbench.run.worker import begin, make_record

KILL_S = 10.0


def answer_at_once(question: str) -> str:
    """What a worker answers that makes no trials: all went well."""
    asked: remote.Question = msgspec.json.decode(question, type=remote.Question)
    if not isinstance(asked, remote.Make):
        return fleet.serve(question)
    header = msgspec.structs.replace(asked.header, host=remote.read_host(asked.header.platform.vmm))
    records = tuple(
        make_record(make_job(trial, header, Path(), brief={}), TrialResult(outcome=Ok()), begin(), 0)
        for trial in asked.trials
    )
    files: dict[str, dict[str, bytes]] = {record.trial.id: {} for record in records}
    return msgspec.json.encode(remote.Trials(records=records, files=files)).decode()


def run_on(address: str, header: Header, folder: Path) -> float:
    """Make a run, or go on with it; how long its trials took, in seconds."""
    with ExitStack() as stack:
        pool = stack.enter_context(fleet.open_fleet(address, lambda text: print(text, file=sys.stderr)))
        done: tuple[Record, ...] = ()
        if folder.exists():
            store, header, done = stack.enter_context(reopen_store(folder))
            header = pool.admit(header)
        else:
            header = pool.admit(header)
            store = stack.enter_context(create_store(folder, header))
        began = time.monotonic()
        make_trials(store, header, done, SilentProgress(), pool)
        return time.monotonic() - began


def measure_overhead(folder: Path, trials: int) -> None:
    """Print the time for each of so many trials that are made at once."""
    header = make_sleeping(
        folder, 0.0, ("floor", "a"), metrics=("cost",), settings={"cost": {"boots": trials // 2}}
    )
    real, fleet.serve = fleet.serve, answer_at_once
    try:
        with cluster({"x": 2, "y": 2}, cores=2) as found:
            busy = time.process_time()
            took = run_on(found.address, header, folder / "run")
            busy = time.process_time() - busy
    finally:
        fleet.serve = real
    made = len(read_all(folder / "run")[1])
    told = f"{made} trials in {took:.1f} s: {took / made * 1e3:.1f} ms for each"
    print(f"{told}, {busy / made * 1e3:.1f} ms of CPU time of the run and its scheduler")


def measure_speedup(folder: Path, sleep_s: float) -> None:
    """Print how long one worker takes for trials of so many seconds, and eight for eight times as many."""
    rates = {}
    for workers in (1, 8):
        boots = 4 * workers
        header = make_sleeping(
            folder / str(workers),
            sleep_s,
            ("floor", "a"),
            metrics=("cost",),
            settings={"cost": {"boots": boots}},
        )
        with cluster({f"host{number}": 1 for number in range(workers)}) as found:
            took = run_on(found.address, header, folder / f"run{workers}")
        rates[workers] = len(header.trials) / took
        print(f"{workers} workers: {len(header.trials)} trials in {took:.1f} s")
    print(f"8 workers are {rates[8] / rates[1]:.2f} times as fast as one")


class Site:
    """A scheduler and workers as processes of their own, which can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._stack = ExitStack()
        self._nannies: list[process.Child] = []

    @contextmanager
    def open(self) -> Iterator[Site]:
        """Start all of it, and end it."""
        port = self.address.rpartition(":")[2]
        log = self._stack.enter_context((self._folder / "dask.log").open("ab"))

        def start(*words: str, **env: str) -> process.Child:
            argv = [sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"]
            quiet = {
                f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": str(value)
                for name, value in fleet.QUIET.items()
            }
            return self._stack.enter_context(process.start(argv, stdout=log, stderr=log, env=quiet | env))

        with self._stack:
            self.scheduler = start("scheduler", "--port", port)
            worker = (
                "worker",
                self.address,
                "--nthreads",
                "2",
                "--resources",
                "core=2",
                "--memory-limit",
                "0",
            )
            self._nannies = [start(*worker, **{remote.HOST_NAME: name}) for name in "xyz"]
            yield self

    def wait(self) -> None:
        """Wait until all workers are there."""
        with Client(self.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(len(self._nannies), timeout=120)

    def kill_worker(self, number: int) -> None:
        """Kill a worker; its nanny starts another."""
        nanny = self._nannies[number % len(self._nannies)].pid
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                head, _, tail = path.read_text().rpartition(")")
                if int(tail.split()[1]) == nanny and b"spawn" in (path.parent / "cmdline").read_bytes():
                    os.kill(int(head.split()[0]), signal.SIGKILL)


def try_faults(folder: Path, trials: int) -> None:
    """Make a run whose workers and scheduler are killed, and check what is in its store."""
    blocks = trials // 8
    header = make_sleeping(
        folder,
        0.7,
        cycles=blocks,
        metrics=("boot", "cost"),
        settings={"cost": {"boots": blocks + blocks // 3}},
    )
    killed, ends, scheduler_killed = 0, 0, False
    while True:
        with Site(folder).open() as site:
            over = threading.Event()

            def harm(site: Site = site, over: threading.Event = over) -> None:
                nonlocal killed, scheduler_killed
                while not over.wait(KILL_S):
                    if killed >= 3 and not scheduler_killed:
                        scheduler_killed = True
                        site.scheduler.kill()
                        return
                    site.kill_worker(killed)
                    killed += 1

            site.wait()
            harmer = threading.Thread(target=harm)
            harmer.start()
            try:
                run_on(site.address, header, folder / "run")
                break
            except GuestbenchError as error:
                ends += 1
                print(f"ended: {error.message} (hint: {error.hint})")
            finally:
                over.set()
                harmer.join()
    check_store(folder / "run", header)
    tries = (folder / "run" / "tries.jsonl").read_text().splitlines()
    print(
        f"{killed} workers and {ends} schedulers killed; {len(tries)} tasks made again; "
        f"{len(header.trials)} trials, each once"
    )


def check_store(folder: Path, planned: Header) -> None:
    """Stop unless each planned trial is there once, and timed ones overlap nothing on their host."""
    _, records = read_all(folder)
    ids = sorted(record.trial.id for record in records)
    if ids != sorted(trial.id for trial in planned.trials):
        sys.exit(f"{len(ids)} records of {len(planned.trials)} trials")
    clashes = [
        (one.trial.id, other.trial.id)
        for one, other in itertools.permutations(records, 2)
        if one.host == other.host and find_purpose(one.trial.purpose).timed
        if span(one)[0] < span(other)[1] and span(other)[0] < span(one)[1]
    ]
    if clashes:
        sys.exit(f"timed trials were not alone: {clashes[:3]}")


def measure_harness(folder: Path) -> None:
    """Print what the harness costs with and without a fleet, from the calibration of this host."""
    rows: dict[str, dict[str, list[float]]] = {}
    for name, options in (("without", ()), ("on local:1", ("--on", "local:1"))):
        out = folder / name.replace(":", "-")
        argv = [sys.executable, "-m", "guestbench", "run", "calibrate", "--cycles", "5", "-o", out, *options]
        process.run(argv, check=False)
        for record in read_all(out)[1]:
            for sample in record.samples:
                if sample.metric.startswith("calibration.worker"):
                    key = f"{sample.metric} {' '.join(sample.labels.values())}".strip()
                    rows.setdefault(key, {}).setdefault(name, []).append(sample.value)
    for key, found in rows.items():
        told = ", ".join(f"{name} {median(values) * 1e3:.2f} ms" for name, values in found.items())
        print(f"{key}: {told} (medians)")


PARTS: dict[str, tuple[Any, Any]] = {
    "overhead": (measure_overhead, 10_000),
    "speedup": (measure_speedup, 8.0),
    "faults": (try_faults, 200),
}


def main() -> None:
    """Do the part that is named."""
    name, *rest = sys.argv[1:] or ["?"]
    with tempfile.TemporaryDirectory(prefix="guestbench-") as folder:
        if name == "harness":
            measure_harness(Path(folder))
            return
        if name not in PARTS:
            sys.exit(__doc__)
        part, default = PARTS[name]
        with sleeping(Path(folder)):
            part(Path(folder), type(default)(rest[0]) if rest else default)


if __name__ == "__main__":
    main()
