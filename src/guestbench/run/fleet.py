"""Makes trials on the hosts of a Dask cluster. The only module that knows Dask.

Dask brings a question to a worker and its answer back, and keeps what a worker's cores are taken for. Which
host makes what is decided here: a round of trials belongs on one host, and a timed one has it to itself.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import queue
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
import msgspec
from distributed import Client, LocalCluster, get_worker
from distributed.worker import thread_state

from guestbench.errors import GuestbenchError, HostError, UsageError
from guestbench.host.doctor import Check, Status
from guestbench.model import GuestFamily, Header, Host, Image, Ok, Platform, Record, Say
from guestbench.run import remote
from guestbench.run.dispatch import LOST, Attempt, Dispatch, Worker
from guestbench.run.plan import Task
from guestbench.run.pool import Ask, Made, ReadyMade
from guestbench.run.worker import Failure
from guestbench.version import __version__

CORE = "core"
"""The resource of a worker that says how many cores it has."""
QUIET: dict[str, Any] = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
"""Settings of Dask by which a worker that waits for a trial does nearly nothing."""
CONNECT_S = 10.0


# --- what a worker runs --------------------------------------------------------------------------------


def serve(question: str) -> str:
    """Answer a question, as JSON: the one function that a worker is asked to call."""
    worker, key = get_worker(), thread_state.key
    asked: remote.Question = msgspec.json.decode(question, type=remote.Question)

    def tell(record: Record) -> None:
        worker.log_event(_topic(key), {"key": key, "record": msgspec.json.encode(record).decode()})

    def tick() -> None:
        state = worker.state.tasks.get(key)
        if state is None or state.state == "cancelled":
            raise remote.Cancelled

    profiled = bool(dask.config.get("distributed.worker.profile.enabled", True))
    return msgspec.json.encode(remote.answer(asked, profiled=profiled, tell=tell, tick=tick)).decode()


def _topic(key: str) -> str:
    """Where the workers tell of what is made for one client."""
    return key.rpartition("/")[0]


# --- where the cluster is ------------------------------------------------------------------------------


def _check_address(address: str, insecure: bool) -> None:
    """Refuse what others could talk to.

    Raises:
        UsageError: it is neither encrypted nor of this machine alone.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname:
        raise UsageError(
            f"{address!r} is no address of a scheduler", "guestbench run --on tcp://127.0.0.1:8786"
        )
    if parts.scheme == "tls" or insecure or _is_loopback(parts.hostname):
        return
    raise UsageError(
        f"{address} is not encrypted, and whoever reaches it may run anything as you",
        f"guestbench run --on tls://{parts.netloc}  # see docs/fleet.md; --insecure on a network of your own",
    )


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _read_scheduler_file(path: Path) -> str:
    try:
        return str(msgspec.json.decode(path.read_bytes())["address"])
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", f"dask scheduler --scheduler-file {path}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path} is no scheduler file of Dask", f"dask scheduler --scheduler-file {path}"
        ) from error


@contextmanager
def open_fleet(on: str, say: Say, *, insecure: bool = False) -> Iterator[Fleet]:
    """Connect to a scheduler: `tcp://…`, `tls://…`, a scheduler file, or `local:N` for N workers made here.

    Raises:
        UsageError: it is none of these, or others could talk to it.
        HostError: nobody answers there.
    """
    # What becomes of workers and the scheduler is ours to tell.
    logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)
    with ExitStack() as stack:
        stack.enter_context(
            dask.config.set({**QUIET, "distributed.comm.timeouts.connect": f"{CONNECT_S:g}s"})
        )
        if on.startswith("local:"):
            address: Any = stack.enter_context(_start_local(on))
        else:
            address = on if "://" in on else _read_scheduler_file(Path(on))
            _check_address(address, insecure)
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_S, set_as_default=False))
            workers = client.scheduler_info(n_workers=-1)
        except (*LOST, TypeError, ValueError, RuntimeError) as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise HostError(
                f"no scheduler answers at {on}: {words}", "dask scheduler --host 127.0.0.1"
            ) from error
        for each in (workers["address"], *workers["workers"]):
            _check_address(each, insecure)
        yield Fleet(client, on, say)


@contextmanager
def _start_local(on: str) -> Iterator[LocalCluster]:
    count = on.removeprefix("local:")
    if not (count.isascii() and count.isdigit() and 1 <= int(count) <= 256):
        raise UsageError(f"{on!r} does not say how many workers", "guestbench run --on local:2")
    cores = max(1, len(os.sched_getaffinity(0)) // int(count))
    with LocalCluster(
        n_workers=int(count),
        threads_per_worker=cores,
        resources={CORE: cores},
        host="127.0.0.1",
        dashboard_address=None,
        memory_limit=0,
        silence_logs=50,
    ) as cluster:
        yield cluster


# --- the pool ------------------------------------------------------------------------------------------


class Fleet:
    """Makes trials on the hosts of a cluster. See `pool.Pool`. `admit` says which hosts these are."""

    at_once = True

    def __init__(self, client: Client, on: str, say: Say) -> None:
        self._client, self.on, self._say = client, on, say
        self._topic = f"guestbench-{uuid.uuid4().hex}"
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.workers: dict[str, Worker] = {}
        self._left_out: set[str] = set()
        self._told: set[str] = set()
        self._hosts: dict[str, Host] = {}
        self.header: Header | None = None
        self.attempts: dict[str, Attempt] = {}
        self.tries: dict[tuple[str, ...], int] = defaultdict(int)
        self.looked = time.monotonic()
        client.subscribe_topic(self._topic, self._hear)

    def _hear(self, event: tuple[float, Any]) -> None:
        _, told = event
        if isinstance(told, dict) and (attempt := self.attempts.get(told.get("key", ""))):
            attempt.records.append(msgspec.json.decode(told["record"], type=Record))

    def _lost(self, error: BaseException | None = None) -> HostError:
        why = " ".join(str(error).split()) if error and str(error) else "it is gone"
        return HostError(f"the scheduler of {self.on} does not answer: {why}", "dask scheduler")

    # --- questions

    def submit(self, address: str, question: remote.Question, cores: float = 0) -> Any:
        """Ask the worker at that address, and take so many of its cores; a future of the answer."""
        return self._client.submit(
            serve,
            msgspec.json.encode(question).decode(),
            key=f"{self._topic}/{uuid.uuid4().hex}",
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
            resources={CORE: cores} if cores else None,
            priority=10 if cores else 20,
        )

    def read(self, future: Any, where: str) -> remote.Answer:
        """The answer. Raises what the worker raised, and what is in `LOST` where it cannot be had."""
        # Of one that has ended the status is known here; to ask for more takes a way to the scheduler.
        error = future.exception(timeout=CONNECT_S) if future.status != "finished" else None
        if future.cancelled():
            raise self._lost()
        if error is not None:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise HostError(f"the worker at {where} failed: {words}", f"guestbench doctor --on {self.on}")
        found: remote.Answer = msgspec.json.decode(future.result(timeout=CONNECT_S), type=remote.Answer)
        if isinstance(found, remote.Failed):
            message = f"{found.message} (on the worker at {where})"
            raise ReadyMade(Failure(message=message, hint=found.hint, exit_code=found.exit_code))
        return found

    def _ask(self, address: str, question: remote.Question, cores: float = 0) -> remote.Answer:
        """The answer, for which it is waited as long as the worker is there."""
        future = self.submit(address, question, cores)
        while True:
            try:
                return self.read(future, address)
            except TimeoutError:
                if address not in self._list_workers():
                    raise

    def examine(self) -> dict[str, tuple[Check, ...]]:
        """What the doctor finds at each worker, by its address; first, what a fleet asks of a worker."""
        found = {}
        for address, known in self._list_workers().items():
            said = self._ask(address, remote.Examine())
            checks = said.checks if isinstance(said, remote.Examined) else ()
            cores = float(known.get("resources", {}).get(CORE, 0))
            line = f"dask worker {self.on} --nthreads 1 --resources core=1"
            status = Status.OK if cores >= 1 else Status.FAIL
            core = Check("resource core", status, f"{cores:g}", "" if cores >= 1 else line)
            quiet = isinstance(said, remote.Examined) and not said.profiled
            export = "export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False  # before dask worker"
            profile = Check(
                "Dask's profile",
                Status.OK if quiet else Status.WARN,
                "off" if quiet else "on: it looks at the worker's threads all the time",
                "" if quiet else export,
            )
            found[address] = (core, profile, *checks)
        return found

    # --- hosts

    def _list_workers(self) -> dict[str, Any]:
        try:
            workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        except LOST as error:
            raise self._lost(error) from error
        if self._client.status != "running":
            raise self._lost()
        return workers

    def admit(self, header: Header) -> Header:
        """The header with the hosts that can make its trials; those that cannot are named, and left out.

        A run that has hosts already goes on with those of them that are there.

        Raises:
            HostError: no host is left.
        """
        self.header = msgspec.structs.replace(header, trials=())
        self._hosts = {host.digest: host for host in header.hosts}
        self.look(header)
        if not self.workers:
            raise HostError(f"no worker of {self.on} can make trials", f"guestbench doctor --on {self.on}")
        if not header.hosts:
            hosts = tuple(sorted(self._hosts.values(), key=lambda host: host.digest))
            header = msgspec.structs.replace(header, host=hosts[0], hosts=hosts)
        if len(header.hosts) > 1 and (header.until or header.budget):
            option = "--until" if header.until else "a budget"
            raise UsageError(
                f"{option} looks at the blocks of one host, and this fleet has several",
                f"guestbench run --on {self.on}",
            )
        self.header = msgspec.structs.replace(header, trials=())
        return header

    def look(self, header: Header | None = None) -> None:
        """See which workers there are. New ones of the run's hosts take part; with a header, of any host."""
        self.looked = time.monotonic()
        there = self._list_workers()
        for address in self.workers.keys() - there.keys():
            del self.workers[address]
        for address, known in there.items():
            if address in self.workers or address in self._left_out:
                continue
            try:
                self._admit_worker(address, known, header)
            except GuestbenchError as error:
                self._left_out.add(address)
                # A worker that is started again and again has another address each time.
                if header is not None or error.message not in self._told:
                    self._say(
                        f"leaving out the worker at {address}: {error.message} (mended by: {error.hint})"
                    )
                self._told.add(error.message)
            except LOST:
                pass  # it is gone already; if it is not, the next look finds it again

    def _admit_worker(self, address: str, known: dict[str, Any], header: Header | None) -> None:
        if self.header is None:
            raise RuntimeError("a fleet makes trials of a run that it was told of")
        cores = float(known.get("resources", {}).get(CORE, 0))
        platform = self.header.platform
        if cores < platform.cpus:
            line = f"dask worker {self.on} --nthreads {platform.cpus} --resources core={platform.cpus}"
            raise HostError(
                f"it has {cores:g} of the resource 'core', and a guest needs {platform.cpus}", line
            )
        said = self._ask(address, remote.Describe(platform=platform))
        if not isinstance(said, remote.Described):
            raise HostError("it did not say what it is", f"guestbench doctor --on {self.on}")
        if said.version != __version__:
            raise HostError(
                f"it has guestbench {said.version}, and this is {__version__}",
                f"pip install guestbench=={__version__}",
            )
        host, vmm = said.host, self.header.host.vmm_version
        if host.vmm_version != vmm:
            told = f"it has {self.header.vmm} {host.vmm_version}, and the run {vmm}"
            raise HostError(told, "guestbench doctor")
        if (header is None or header.hosts) and host.digest not in self._hosts:
            told = f"its host ({host.digest[:16]}) is none of those that the run began with"
            raise HostError(told, "guestbench run -o DIR")
        if said.profiled:
            self._say(f"note: Dask profiles the worker at {address}, which delays what is measured there")
        if all(worker.host != host.digest for worker in self.workers.values()):
            self._send_files(address)
            if header is not None:
                self._try_boot(address, header, cores)
        self._hosts[host.digest] = host
        slots = max(1, min(said.slots, int(known["nthreads"]), int(cores / platform.cpus)))
        self.workers[address] = Worker(address=address, host=host.digest, cores=cores, slots=slots)

    def _send_files(self, address: str) -> None:
        if self.header is None:
            return
        said = self._ask(address, remote.Want(header=self.header))
        for image in said.images if isinstance(said, remote.Wanted) else ():
            self._say(f"sending {Path(image.path).name} ({image.size_bytes >> 20} MiB) to {address}")
            self._send(address, image)

    def _send(self, address: str, image: Image) -> None:
        with Path(image.path).open("rb") as file:
            while data := file.read(remote.PIECE_BYTES):
                offset = file.tell() - len(data)
                self._ask(address, remote.Piece(image=image, offset=offset, data=data, token=self._topic))

    def _try_boot(self, address: str, header: Header, cores: float) -> None:
        """Boot the null guest there, if the run has one. Raises HostError if it does not get ready."""
        floors = {s.name for s in header.systems if s.family is GuestFamily.FLOOR}
        boots = {purpose.name for purpose in header.purposes if purpose.boots and not purpose.works}
        trial = next((t for t in header.trials if t.system in floors and t.purpose in boots), None)
        if trial is None or self.header is None:
            return
        trial = msgspec.structs.replace(trial, id="admission")
        asked = remote.Make(header=self.header, trials=(trial,), briefs={}, timed=True)
        said = self._ask(address, asked, cores)
        outcome = said.records[0].outcome if isinstance(said, remote.Trials) else None
        if not isinstance(outcome, Ok):
            reason = outcome.reason if outcome else "nothing came of it"
            raise HostError(f"{trial.system} does not get ready there: {reason}", "guestbench doctor")

    # --- trials

    def count_slots(self, platform: Platform) -> int:
        """As many as all its workers have cores and memory for."""
        return sum(worker.slots for worker in self.workers.values())

    def make(self, tasks: Iterable[Task], run: Made) -> Iterator[tuple[Record, ...]]:
        """Make the trials of tasks, each task on one host; the records of each task together.

        Raises:
            HostError: the scheduler, or every host, is gone.
            TrialError: the workers of one task are lost again and again.
        """
        # What need not be alone is made first, on all hosts.
        known = tuple(tasks)
        parts = ([task for task in known if task.timed is timed] for timed in (False, True))
        for part in parts:
            yield from Dispatch(self, part, run).go()

    def search(self, ask: Ask, run: Made) -> Iterator[tuple[Record, ...]]:
        """Make what is asked for, all of it, before it is asked what comes next."""
        while tasks := ask(()):
            yield from self.make(tasks, run)
