"""Runs real experiments, does harm to them as a recorded seed says, and counts what was lost or left behind.

    python benchmarks/faults.py [--faults N] [--seed SEED]

Each round measures `floor` and `reference-unikernel`. Faults strike while it runs; a run that a fault has
ended is resumed until it is whole. Then every finished trial must be there once, as it was first written,
and no process, temporary file or traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SYSTEMS = ("floor", "reference-unikernel")
CYCLES = 4
ROUND = 5
"""Faults in one run."""
RESUMES = 3
"""A run that nothing happens to is whole after one."""
TIMEOUT_S = 180.0
"""A whole run takes 6 s on a quiet host."""
LONGEST_DELAY_S = 0.25
"""A trial takes 0.3 to 0.6 s, so a fault may strike anywhere in it."""
FROZEN_S = 0.3
PAGE_BYTES = 4096
MARK = "GUESTBENCH_FAULTS"
"""The variable by which every process of a run is found, whoever its parent is by then."""
WORKER, VMM = b"guestbench.run.worker", b"qemu-system-x86_64"
Find = Callable[["Run"], int | None]


class Fault(NamedTuple):
    """Something that happens to a run. `strike` returns whether it found what it strikes."""

    name: str
    strike: Callable[[Run], bool]
    ends: bool
    """Whether the run ends by it, and is to be resumed."""


class Broken(AssertionError):
    """A guarantee that did not hold."""


class Run:
    """One run's folder, and its tool while that is running."""

    def __init__(self, base: Path) -> None:
        self.folder, self.temporary = base / "run", base / "tmp"
        self.temporary.mkdir(parents=True)
        self.token = secrets.token_hex(8)
        self.stderr = base / "stderr"
        self.tool: subprocess.Popen[bytes] | None = None
        self.reader: subprocess.Popen[bytes] | None = None
        self.kept: list[bytes] = []

    def start(self) -> None:
        """Begin the run, or go on with it."""
        argv = [sys.executable, "-m", "guestbench", "run"]
        if self.lines():
            argv += ["--resume", str(self.folder)]
        else:
            argv += ["seed", "--metrics", "boot", "--accel", "tcg", "--cycles", str(CYCLES), "--warmups", "0"]
            argv += ["-o", str(self.folder), "--set", "platform.memory_mib=64"]
            argv += [word for name in SYSTEMS for word in ("--only-system", name)]
        environment = {**os.environ, MARK: self.token, "TMPDIR": str(self.temporary)}
        if self.reader is not None:
            self.reader.kill()
            self.reader.wait()
        with self.stderr.open("wb") as complaints:
            self.reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=complaints)
        assert self.reader.stdin is not None
        with self.reader.stdin as said:
            self.tool = subprocess.Popen(
                argv, env=environment, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )

    def lines(self) -> list[bytes]:
        """The whole lines of its store."""
        try:
            return (self.folder / "store.jsonl").read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []

    def processes(self) -> Iterator[tuple[int, bytes]]:
        """Ids and command lines of all its processes that live."""
        wanted = f"{MARK}={self.token}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    if wanted in (folder / "environ").read_bytes().split(b"\0"):
                        yield int(folder.name), (folder / "cmdline").read_bytes()
                except OSError:
                    pass

    def count_missing(self) -> int:
        """How many trials that were planned have no record; one where there is no store yet."""
        lines = self.lines()
        return len(json.loads(lines[0])["trials"]) - len(lines) + 1 if lines else 1

    def is_whole(self) -> bool:
        """Whether every trial that was planned has its record."""
        return self.count_missing() == 0

    def find(self, program: bytes) -> int | None:
        """The process of this run that runs such a program, if there is one."""
        for pid, line in self.processes():
            if any(word.endswith(program) for word in line.split(b"\0", 3)[:3]):
                return pid
        return None

    def is_over(self) -> bool:
        """Whether the tool has ended."""
        return self.tool is None or self.tool.poll() is not None

    def check(self) -> None:
        """What holds after each end of the tool, however it came."""
        if self.tool is None:
            return
        try:
            self.tool.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.tool.kill()
            raise Broken("hang: the tool did not end") from None
        if self.reader is not None:
            self.reader.wait(TIMEOUT_S)
        told = self.stderr.read_bytes()
        if b"Traceback" in told or b"Exception ignored" in told:
            raise Broken(f"traceback: {told.decode('utf-8', 'replace')[-1500:]}")
        deadline = time.monotonic() + 5
        while left := list(self.processes()):
            if time.monotonic() > deadline:
                raise Broken(f"leftover: {left}")
            time.sleep(0.02)
        lines = self.lines()
        if lines[: len(self.kept)] != self.kept:
            raise Broken("lost: lines of the store are gone, or others")
        self.kept = lines
        trials = [json.loads(line)["trial"]["id"] for line in lines[1:]]
        if len(set(trials)) != len(trials):
            raise Broken(f"repeated: {trials}")

    def check_whole(self) -> None:
        """What holds once the run is whole."""
        header, *records = map(json.loads, self.kept)
        planned = {trial["id"] for trial in header["trials"]}
        if {record["trial"]["id"] for record in records} != planned or len(planned) < len(SYSTEMS) * CYCLES:
            raise Broken(f"lost: {len(records)} of {len(planned)} trials")
        if not (self.folder / "comparison_results.md").is_file():
            raise Broken("lost: the report")
        if temporary := list(self.temporary.rglob("*")):
            raise Broken(f"leftover: {temporary[:5]}")


def _signal(number: signal.Signals, find: Find) -> Callable[[Run], bool]:
    def strike(run: Run) -> bool:
        pid = find(run)
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    return strike


def _freeze(find: Find) -> Callable[[Run], bool]:
    def strike(run: Run) -> bool:
        pid = find(run)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(FROZEN_S)
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return False
        return True

    return strike


def _starve(find: Find) -> Callable[[Run], bool]:
    """The process gets no more memory: what a full host, or a control group, tells it."""

    def strike(run: Run) -> bool:
        pid = find(run)
        if pid is None:
            return False
        try:
            resource.prlimit(pid, resource.RLIMIT_AS, (PAGE_BYTES, PAGE_BYTES))
        except ProcessLookupError:
            return False
        return True

    return strike


def _suspend(run: Run) -> bool:
    """All of it stands still for a while, as on a host that sleeps."""
    if run.is_over() or run.find(VMM) is None:
        return False
    stopped = [pid for pid, _ in run.processes()]
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(FROZEN_S)
    return True


def _find_tool(run: Run) -> int | None:
    return run.tool.pid if run.tool is not None and not run.is_over() else None


def _find_worker(run: Run) -> int | None:
    return run.find(WORKER)


def _find_vmm(run: Run) -> int | None:
    return run.find(VMM)


def _run_twice(run: Run) -> bool:
    """A second guestbench goes on with the folder while the first is at it."""
    if run.is_over():
        return False
    argv = [sys.executable, "-m", "guestbench", "run", "--resume", str(run.folder)]
    second = subprocess.run(argv, capture_output=True, timeout=TIMEOUT_S, check=False)
    if run.is_over():
        return False  # it may have found the folder free
    if b"another run is writing" not in second.stderr or second.returncode == 0:
        raise Broken(f"two runs in a folder: {second.stderr.decode()[-500:]}")
    return True


def _tear(run: Run) -> bool:
    """The tool is killed, and the line that it was writing is there by half."""
    if not _signal(signal.SIGKILL, _find_tool)(run):
        return False
    assert run.tool is not None
    run.tool.wait()
    with (run.folder / "store.jsonl").open("ab") as store:
        store.write(b'{"kind":"record","version":5,"tri')
    return True


def _remove(run: Run) -> bool:
    """Somebody tidies the results away while the run goes on."""
    # While its last trial is under way, the run may be over before it can tell.
    if run.is_over() or run.find(VMM) is None or run.count_missing() < 2:
        return False
    run.kept = run.lines()
    shutil.rmtree(run.folder, ignore_errors=True)
    return True


def _stop_reading(run: Run) -> bool:
    """Whoever read what the run says has gone, and with it the terminal."""
    if run.is_over() or run.reader is None:
        return False
    run.reader.kill()
    run.reader.wait()
    return True


def list_faults() -> list[Fault]:
    """All kinds."""
    ending = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    deadly = (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV)
    return [
        *(Fault(f"{number.name} to guestbench", _signal(number, _find_tool), ends=True) for number in ending),
        *(Fault(f"{each.name} to a worker", _signal(each, _find_worker), ends=False) for each in deadly),
        *(Fault(f"{number.name} to QEMU", _signal(number, _find_vmm), ends=False) for number in deadly),
        Fault("guestbench frozen for a while", _freeze(_find_tool), ends=False),
        Fault("a worker frozen for a while", _freeze(_find_worker), ends=False),
        Fault("QEMU frozen for a while", _freeze(_find_vmm), ends=False),
        Fault("the whole run frozen for a while", _suspend, ends=False),
        Fault("no memory left for guestbench", _starve(_find_tool), ends=False),
        Fault("no memory left for a worker", _starve(_find_worker), ends=False),
        Fault("two runs in one folder", _run_twice, ends=False),
        Fault("a torn last line", _tear, ends=True),
        Fault("the results folder removed", _remove, ends=True),
        Fault("nobody reads standard error", _stop_reading, ends=False),
    ]


def _play(run: Run, faults: list[Fault], chance: random.Random, struck: Counter[str]) -> None:
    """Let the faults strike one run, in turn, and have it made whole."""
    for fault in faults:
        if run.is_over():
            run.check()
            if run.is_whole():
                break
            run.start()
        deadline = time.monotonic() + TIMEOUT_S
        # Before there is a store there is nothing to be lost.
        while not run.is_over() and (len(run.lines()) < 2 or run.find(VMM) is None):
            if time.monotonic() > deadline:
                raise Broken("hang: no trial begins")
            time.sleep(0.01)
        time.sleep(chance.uniform(0, LONGEST_DELAY_S))
        while not run.is_over():
            if fault.strike(run):
                struck[fault.name] += 1
                break
            time.sleep(0.005)
        if fault.ends:
            run.check()
    run.check()
    for _ in range(RESUMES):
        if run.is_whole():
            break
        run.start()
        run.check()
    else:
        raise Broken(f"cannot be resumed: {run.stderr.read_bytes().decode('utf-8', 'replace')[-500:]}")
    if not (run.folder / "comparison_results.md").is_file():
        run.start()  # it was ended while it wrote its report
        run.check()
    run.check_whole()


def campaign(
    count: int, seed: int, base: Path, say: Callable[[str], None] = lambda _: None
) -> tuple[Counter[str], list[str]]:
    """Have so many faults strike; how often each kind did, and every guarantee that did not hold."""
    chance = random.Random(seed)
    kinds, struck, broken = list_faults(), Counter[str](), list[str]()
    number = 0
    while struck.total() < count:
        number += 1
        # Each kind equally often: those that struck least come first.
        order = sorted(kinds, key=lambda kind: (struck[kind.name], chance.random()))
        faults = order[: min(ROUND, count - struck.total())]
        run = Run(base / str(number))
        say(f"round {number}: {', '.join(fault.name for fault in faults)}")
        try:
            _play(run, faults, chance, struck)
        except Broken as wrong:
            broken.append(f"round {number} ({', '.join(fault.name for fault in faults)}): {wrong}")
            struck.update(fault.name for fault in faults)
        finally:
            for pid, _ in run.processes():
                os.kill(pid, signal.SIGKILL)
    return struck, broken


def main() -> int:
    """Print a table of the faults, and what did not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="guestbench-faults-") as folder:
        struck, broken = campaign(
            asked.faults, asked.seed, Path(folder), lambda line: print(line, file=sys.stderr, flush=True)
        )
    print("| fault | times |\n|---|---|")
    print("".join(f"| {fault.name} | {struck[fault.name]} |\n" for fault in list_faults()), end="")
    print(f"{struck.total()} faults; guarantees broken: {len(broken)}")
    print("\n".join(broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
