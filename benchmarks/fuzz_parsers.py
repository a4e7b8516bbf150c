"""Fuzzes what guestbench reads of strangers: images, guests and stores; what breaks a promise is kept.

    PYTHONPATH=tests/helpers .venv/bin/python benchmarks/fuzz_parsers.py [--minutes 10] [--seed 1]
        [--engine own] [--keep FOLDER] [TARGET ...]

Each target is a check of `tests/helpers/parser_targets.py` or `guest_targets.py`. Where `atheris` can be
imported (pip install atheris), libFuzzer makes the inputs, guided by the lines that they reach; else, or with
`--engine own`, they are made here from the seeds alone, the same ones for the same `--seed`. Each target runs
in a process of its own. An input has failed that raises what its parser may not raise, breaks a promise of
its check, takes 10 seconds, or asks for 1 GiB; times are of the CPU. It is left in FOLDER (`fuzz-crashes`
here if not told); the status is then 1. `--replay FILE TARGET` runs one input again.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any, NamedTuple

import guest_targets
import parser_targets
from fuzz_unikernel import DONE, LONGEST, write_seeds
from guest_targets import NONCE
from parser_targets import Others, Target

from guestbench.host import process

SLOW_S = 10.0
"""CPU time after which an input has failed. Real ones take milliseconds."""
PATIENCE = 20
"""How many times its CPU time a target may take on a busy host."""
MEMORY_BYTES = 1 << 30
"""What an input may make its parser ask for; the largest image here has some KiB."""

_NUMBERS = tuple(
    number.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for order in ("little", "big")
    for number in (0, 1, 0x7F, (1 << 8 * size) - 1, (1 << 8 * size) - 2, 1 << 8 * size - 1, 1 << 4 * size)
    if number < 1 << 8 * size
)
_TEXTS = (b"\0", b"\n", b"\r", b"\x1b[", b"\xff", b"-1", b"+1", b"0x1", b"1_0", b"1e999", b"9" * 5000, b"NaN")
TARGETS: Mapping[str, Target] = {
    "elf": Target(parser_targets.check_elf, parser_targets.seed_elf, (b"\x7fELF\x02\x01",)),
    "kernel": Target(parser_targets.check_kernel, parser_targets.seed_kernel, (b"HdrS", b".initrd\0")),
    "ramdisk": Target(
        parser_targets.check_ramdisk,
        parser_targets.seed_ramdisk,
        (b"070701", b"070702", b"TRAILER!!!\0", b"\x28\xb5\x2f\xfd", b"../", b"FFFFFFFF", b"0000A1FF"),
    ),
    "inventory": Target(
        parser_targets.check_inventory,
        parser_targets.seed_inventory,
        (b"root:x:0:0::/:/bin/sh\n", b"::", b"#", b"CONFIG_", b"=y\n", b"\n\n", b"\0\0\xff", b"\\040"),
        short=100,
    ),
    "packages": Target(
        parser_targets.check_packages,
        parser_targets.seed_packages,
        (b"\nPackage: ", b"\nStatus: ", b"install ok installed", b"\n\n", b"\n ", b" installed"),
        short=60,
    ),
    "archive": Target(
        parser_targets.check_archive, parser_targets.seed_archive, (b"ustar", b"../", b"./"), short=200
    ),
    "artifact": Target(
        parser_targets.check_artifact, parser_targets.seed_artifact, (b"ustar", b"../", b"0000644"), short=200
    ),
    "symbols": Target(
        parser_targets.check_symbols, parser_targets.seed_symbols, (b" T ", b"\t[", b"]\n"), short=2000
    ),
    "profile": Target(
        guest_targets.check_profile, guest_targets.seed_profile, (b"null", b"[]", b'"', b"9" * 400), short=200
    ),
    "definition": Target(
        guest_targets.check_definition, guest_targets.seed_definition, (b"[boot]", b"true", b"nan"), short=60
    ),
    "qcow2": Target(
        parser_targets.check_qcow2, parser_targets.seed_qcow2, (b"QFI\xfb", b"/etc/passwd"), short=40
    ),
    "table": Target(
        parser_targets.check_table, parser_targets.seed_table, (b"EFI PART", b"\x55\xaa"), short=1500
    ),
    "lvm": Target(
        parser_targets.check_lvm,
        parser_targets.seed_lvm,
        (b"segment1 {", b'"striped"', b"[", b"}", b'"', b"-"),
        short=2500,
    ),
    "inspector": Target(guest_targets.check_inspector, guest_targets.seed_inspector, (bytes(8),), short=150),
    "qmp": Target(guest_targets.check_qmp, guest_targets.seed_qmp, (b'{"return": ', b"}\n", b"[" * 2000)),
    "monitor": Target(
        guest_targets.check_monitor, guest_targets.seed_monitor, (b"dev: ", b"bus: ", b"CR3="), short=1500
    ),
    "link": Target(guest_targets.check_link, guest_targets.seed_link, (b"\x08\x06", b"\x08\0", b"\x86\xdd")),
    "console": Target(
        guest_targets.check_console,
        guest_targets.seed_console,
        (b"login: ", b"Command line: ", b"\x1b]", b"\x1b[6n", b"[work begin ", b"done=", b"]\n", b"commits:"),
    ),
    "shell": Target(
        guest_targets.check_shell,
        guest_targets.seed_shell,
        (NONCE, b"{", b"}", b"|", b"r,", b"="),
        short=3000,
    ),
    "store-bytes": Target(
        guest_targets.check_store, guest_targets.seed_store, (b"null", b"[]", b'"', b"-"), short=60
    ),
    "store": Target(
        guest_targets.check_store, guest_targets.seed_store, mutate=guest_targets.change_store, short=60
    ),
}


class Result(NamedTuple):
    """What came of fuzzing a target; `crash` is what was said of the input that failed, else empty."""

    runs: int
    crash: str


class Slow(BaseException):
    """An input takes too long; no parser catches it."""


# --- inputs -------------------------------------------------------------------------------------------


def mutate(choose: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of the seeds with a few changes."""
    data = bytearray(choose.choice(seeds))
    for _ in range(choose.choice((1, 1, 1, 2, 2, 3, 5, 9))):
        _change(choose, data, seeds, words)
    return bytes(data)


def _change(choose: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = choose.randrange(len(data) + 1)
    length = min(choose.choice((1, 2, 4, 8, 16, 64, 512)), len(data) - at)
    match choose.randrange(9):
        case 0 if data:
            data[min(at, len(data) - 1)] ^= 1 << choose.randrange(8)
        case 1 if data:
            data[min(at, len(data) - 1)] = choose.randrange(256)
        case 2:
            number = choose.choice(_NUMBERS)
            data[at : at + len(number)] = number
        case 3:
            del data[at : at + length]
        case 4:
            data[at:at] = choose.choice((*words, *_TEXTS))
        case 5:
            word = choose.choice((*words, *_TEXTS))
            data[at : at + len(word)] = word
        case 6:
            data[at:at] = data[at : at + length] * choose.choice((1, 2, 10, 100))
        case 7:
            other = choose.choice(seeds)
            begin = choose.randrange(len(other) + 1)
            data[at : at + length] = other[begin : begin + choose.choice((8, 64, 512, 4096))]
        case _ if found := list(re.finditer(rb"\d+", data[at : at + 200])):
            # A number in a text becomes another one.
            begin, end = (at + each for each in choose.choice(found).span())
            data[begin:end] = choose.choice((b"0", b"-1", b"18446744073709551616", b"7" * 20, b"1.5", b"x"))


# --- one target, in this process ----------------------------------------------------------------------


def _stop(number: int, stack: FrameType | None) -> None:
    raise Slow(f"it takes more than {SLOW_S:g} s")


def confine() -> None:
    """Bound the memory of this process."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, resource.RLIM_INFINITY))


def check(target: Target, data: bytes, folder: Path) -> str:
    """What was wrong with one input; empty if nothing was."""
    before = signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, SLOW_S)
    try:
        target.check(data, folder)
    except (Exception, Slow):
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return ""


def run_own(name: str, *, seconds: float, runs: int, seed: int, keep: Path, folder: Path) -> Result:
    """Try the seeds and then what is made of them, for so many seconds of CPU time, or so many inputs."""
    target = TARGETS[name]
    seeds = target.seeds()
    choose = random.Random(f"{name} {seed}")
    end_s = _used_s() + seconds
    count = 0
    while _used_s() < end_s and not (runs and count >= runs):
        if count < len(seeds):
            data = seeds[count]
        elif target.mutate:
            data = target.mutate(choose, seeds)
        else:
            data = mutate(choose, seeds, target.words)
        count += 1
        if said := check(target, data, folder):
            file = keep / f"{name}-{seed}-{count}"
            file.write_bytes(data)
            return Result(count, f"{file}\n{said}")
    return Result(count, "")


def _used_s() -> float:
    """The CPU time of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def run_atheris(name: str, *, seconds: float, seed: int, keep: Path, folder: Path) -> None:
    """Let libFuzzer make the inputs; it ends this process."""
    import atheris

    target = TARGETS[name]
    seeds = write_seeds(target.seeds(), folder)

    def try_one(data: bytes) -> None:
        target.check(data, folder)

    for module in [module for key, module in sys.modules.items() if key.startswith("guestbench.")]:
        for value in list(vars(module).values()):
            if getattr(value, "__module__", "") == module.__name__:
                _instrument(atheris, value)
    options = [f"-max_total_time={round(seconds)}", f"-timeout={SLOW_S:g}", f"-rss_limit_mb={2048}"]
    options += [f"-seed={seed}", f"-max_len={16 * LONGEST}", f"-artifact_prefix={keep}/{name}-", str(seeds)]
    atheris.Setup([name, *options], try_one)
    atheris.Fuzz()


def _instrument(atheris: Any, value: object) -> None:
    """Let a function, or the methods of a class, tell which lines were reached."""
    if isinstance(value, type):
        for inner in list(vars(value).values()):
            if isinstance(inner, FunctionType):
                inner.__code__ = atheris.instrument_func(inner).__code__
    elif isinstance(value, FunctionType):
        value.__code__ = atheris.instrument_func(value).__code__


# --- all targets, each in a process of its own --------------------------------------------------------


def fuzz(name: str, *, seconds: float, keep: Path, seed: int = 1, engine: str = "own") -> Result:
    """Fuzz a target in a process of its own; what fails is left in `keep`."""
    said, status = _start(name, seconds=seconds, keep=keep, seed=seed, engine=engine)
    found = re.search(rf"(?m)^{name}: (\d+) inputs$", said) or DONE.search(said)
    if status != 0 or found is None:
        uncaught = said.find("=== Uncaught Python exception")
        told = said[uncaught : uncaught + 3000] if uncaught >= 0 else said[-3000:]
        return Result(0, told or f"status {status}")
    return Result(int(found[1]), "")


def fuzz_short(keep: Path, seed: int = 1) -> tuple[dict[str, int], str]:
    """Try as many inputs of every target as its `short` says, in one process: how many, and what failed."""
    said, status = _start(*TARGETS, seconds=600, keep=keep, seed=seed, engine="own", short=True)
    runs = {name: int(count) for name, count in re.findall(r"(?m)^([a-z0-9-]+): (\d+) inputs$", said)}
    return runs, said[-3000:] if status else ""


def _start(
    *names: str, seconds: float, keep: Path, seed: int, engine: str, short: bool = False
) -> tuple[str, int]:
    argv = [sys.executable, __file__, "--one", "--engine", engine, "--seconds", str(seconds)]
    argv += [*(["--short"] if short else []), "--seed", str(seed), "--keep", str(keep), *names]
    path = ":".join(dict.fromkeys(str(Path(each).resolve()) for each in sys.path if each))
    done = process.run(argv, check=False, timeout_s=PATIENCE * seconds + 300, env={"PYTHONPATH": path})
    return (done.stdout + done.stderr).decode("utf-8", "replace"), done.status


def _run_one(asked: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="guestbench-fuzz-") as scratch:
        folder = Path(scratch)
        if asked.engine == "atheris":
            (name,) = asked.targets
            run_atheris(name, seconds=asked.seconds, seed=asked.seed, keep=asked.keep, folder=folder)
        confine()
        for name in asked.targets:
            if asked.replay:
                print(check(TARGETS[name], asked.replay.read_bytes(), folder) or "no failure")
                continue
            runs = TARGETS[name].short if asked.short else 0
            result = run_own(
                name, seconds=asked.seconds, runs=runs, seed=asked.seed, keep=asked.keep, folder=folder
            )
            print(f"{name}: {result.crash or f'{result.runs} inputs'}", flush=True)
            if result.crash:
                return 1
    return 0


def _has_atheris() -> bool:
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def main() -> None:
    """Fuzz the named targets, or all, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU time that each target is given")
    parser.add_argument("--jobs", type=int, default=1, help="how many targets are fuzzed side by side")
    parser.add_argument("--engine", choices=("own", "atheris"))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-crashes"), metavar="FOLDER")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run this input again")
    # How each target is started.
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    parser.add_argument("--short", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}: there are {', '.join(TARGETS)}")
    Others.asked = True
    if asked.one or asked.replay:
        sys.exit(_run_one(asked))
    engine = asked.engine or ("atheris" if _has_atheris() else "own")
    asked.keep.mkdir(parents=True, exist_ok=True)
    failed = False

    def run(name: str) -> tuple[str, Result]:
        seconds = asked.minutes * 60
        return name, fuzz(name, seconds=seconds, keep=asked.keep, seed=asked.seed, engine=engine)

    with ThreadPoolExecutor(asked.jobs) as pool:
        for done in as_completed([pool.submit(run, name) for name in asked.targets or TARGETS]):
            name, result = done.result()
            failed = failed or bool(result.crash)
            said = result.crash or f"{result.runs:,} inputs, no failure"
            print(f"{name} ({engine}, seed {asked.seed}, {asked.minutes:g} min): {said}", flush=True)
    if not any(asked.keep.iterdir()):
        asked.keep.rmdir()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
