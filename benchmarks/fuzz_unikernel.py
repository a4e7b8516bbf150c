"""Fuzzes what of the reference unikernel reads foreign bytes; what crashes it or breaks a promise is kept.

    .venv/bin/python benchmarks/fuzz_unikernel.py [--minutes 10] [--engine own] [--keep FOLDER] [TARGET ...]

Each target is a harness in `tests/fuzz/`, compiled for this host together with the kernel's own files, with
the address and undefined-behaviour sanitizers. With `clang` on the PATH, libFuzzer makes the inputs;
else, or with `--engine own`, `tests/fuzz/engine.c` with gcc. Both begin with the seeds below and are
guided by coverage. Printed are inputs tried, coverage (edges, as each engine counts them) and what failed;
the status is 1 if anything did. An input that fails is left in FOLDER (`fuzz-crashes` here if not told).
"""

from __future__ import annotations

import argparse
import re
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from guestbench.host import process
from guestbench.provision.packages import SUITE, fetch_source
from guestbench.provision.recipes.library_os import KERNEL_SOURCES, NETWORK, STACK_PACKAGE, STACK_SOURCES

KERNEL = KERNEL_SOURCES
HARNESSES = Path(__file__).parents[1] / "tests" / "fuzz"
LONGEST = 4096
"""Bytes of an input."""


class Target(NamedTuple):
    """A harness of that name: the kernel's files that are compiled beside it, and inputs to begin with.

    `stack` says that lwIP is needed too.
    """

    sources: tuple[str, ...]
    seeds: tuple[bytes, ...]
    stack: bool = False


class Result(NamedTuple):
    """What came of fuzzing: `crash` is the end of what the engine said where an input failed, else empty."""

    runs: int
    edges: int
    crash: str


# --- seeds --------------------------------------------------------------------------------------------


def make_elf(*headers: tuple[int, int, int, int, int, int], kind: int = 2, size: int = 400) -> bytes:
    """A 64-bit ELF file; of each program header type, flags, offset, address, size in file and in memory."""
    entry = headers[0][3] if headers else 0
    begin = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    begin += struct.pack("<HHIQQQIHHHHHH", kind, 62, 1, entry, 64, 0, 0, 64, 56, len(headers), 64, 0, 0)
    for type_, flags, offset, address, in_file, in_memory in headers:
        begin += struct.pack("<IIQQQQQQ", type_, flags, offset, address, address, in_file, in_memory, 4096)
    return begin.ljust(size, b"\x90")


ELF_SEEDS = (
    make_elf((1, 5, 0, 0x400000, 400, 400)),
    make_elf(
        (1, 4, 0, 0x400000, 288, 288),
        (1, 5, 288, 0x401120, 50, 50),
        (1, 6, 338, 0x402152, 30, 20000),
        (7, 4, 338, 0x402152, 16, 64),
    ),
    make_elf((1, 4, 0, 0, 232, 232), (1, 5, 232, 0x10E8, 100, 100), (1, 6, 0, 0x3000, 0, 4096), kind=3),
    # Refused: an interpreter, both writable and executable, two segments in one page, too many of them.
    make_elf((3, 4, 300, 0x40012C, 28, 28), (1, 5, 0, 0x400000, 400, 400)),
    make_elf((1, 7, 0, 0x400000, 400, 400)),
    make_elf((1, 5, 0, 0x400000, 200, 200), (1, 6, 200, 0x4000C8, 100, 100)),
    make_elf(*((1, 4, 0, 0x400000 + 0x1000 * i, 64, 64) for i in range(17)), size=1100),
)
COMMAND_LINE_SEEDS = (
    b"refuk.timer=1000 HOME=/ LANG='C UTF-8' guestwork cpu limit=1000 events=3",
    b'A=1 B="two words" program "a b" c\'d e\'f "" x=y refuk.timer=1',
    b"refuk.ready-after-ms=20 refuk.ready-after-instructions=1000000 refuk.touch-mib=16",
    b"refuk.write-bytes=1000 refuk.net=10.0.2.15/24,10.0.2.2 refuk.net=dhcp program",
    b"refuk.hostile refuk.hang refuk.halt refuk.fault=null refuk.fault=stack-exec refuk.fault=guard",
    b"refuk.timer=12345678901234567890 program",
    b"refuk.touch-mib=99999999999 program",
    b"program 'no end",
    b"refuk.unknown=1 program",
    b" ".join(b"V%d=%d" % (i, i) for i in range(33)) + b" program",
    b"program " + b"a " * 130,
    b"refuk.hostile " * 33,
)
ADDRESS_SPACE_SEEDS = (
    # Frames, room in the table, then mmap of 8 pages, accesses, mprotect, mremap, munmap, brk.
    bytes((99, 63, 0, 10, 7, 11, 0, 8, 1, 12, 8, 0, 12, 1, 11, 2, 1, 4, 10, 7, 20, 1, 2, 12, 2, 5, 9, 0)),
    bytes((30, 63, *(each for page in range(24) for each in (0, page * 4, 3, 11, 0, 8, 1, page * 4)))),
    # A file that is read, then written.
    bytes((99, 63, 0, 10, 3, 43, 0, 8, 0, 10, 8, 1, 10)),
    bytes((127, 5, *(each for page in range(40) for each in (0, page * 2, 0, 9, 0)))),
)
SYN_ACK_DATA = bytes((0, 0, 2, 0, 0, 0, 16, 1, 0, 0, 16, 1 + 16, 50))
"""Of client 0: a SYN, an acknowledgement, 50 bytes."""
IP_HEADER = (*bytes(12), 8, 0, 0x45, 0)
"""The beginning of a frame, and of the IP packet in it."""
NETWORK_SEEDS = (
    # Accept, receive, send, acknowledge; then both ends close.
    bytes((2,))
    + SYN_ACK_DATA
    + bytes((12, 40, 0, 12, 1, 49, 12, 25, 150, 0, 0, 16, 1, 0, 0, 17, 1, 12, 57, 0)),
    # More bytes than a buffer has, a slow reader, a closed window, a reset.
    bytes((2,))
    + SYN_ACK_DATA
    + bytes((0, 0, 24, 1 + 16 + 32)) * 50
    + bytes((12, 40, 0, 12, 1, 255)) * 3
    + bytes((0, 0, 4, 1)),
    # A connection to the outside: what answers is a SYN with an acknowledgement.
    bytes((2, 12, 1, 1, 0, 3, 18, 0, 12, 25, 255, 0, 3, 16, 1 + 16, 9, 12, 1, 100, 28, 255, 28, 255)),
    # An address by DHCP: an offer, an acknowledgement.
    bytes((3, 22, 18, 53, 1, 2, 54, 4, 10, 0, 2, 2, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 255, 0, 0))
    + bytes((22, 18, 53, 1, 5, 54, 4, 10, 0, 2, 2, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 255, 0, 0)),
    # Half of what has come is read before more comes.
    bytes((2, *SYN_ACK_DATA, 12, 40, 0, 12, 1, 30, 0, 0, 16, 1 + 16, 50, 12, 1, 150)),
    # An echo, UDP to nobody, raw ARP; UDP for another host that ends with its IP header, an echo that ends
    # before its packet should; a device that errs.
    bytes((2, 20, 2, 60, *bytes(60), 20, 0, 9, *bytes(9), 24, 16, 60, *bytes(60))),
    bytes((2, 24, 24, 34, *IP_HEADER, 0, 20, *bytes(4), 64, 17, 0, 0, 10, 0, 2, 2, 10, 0, 2, 99)),
    bytes(
        (2, 24, 24, 42, *IP_HEADER, 0, 48, *bytes(4), 64, 1, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15, 8, *bytes(7))
    ),
    bytes((2, *SYN_ACK_DATA, 30, 77, 0, 1, 9, 0, 1, 30, 77, 1, 1, 9, 0, 1)),
    bytes((2, *SYN_ACK_DATA, 30, 77, 0, 0, 9, 1)),
)
NETWORK_FILES = ("network/sockets.c", "network/checksum.c", "network/network_options.c")
TARGETS: Mapping[str, Target] = {
    "elf": Target(("elf.c",), ELF_SEEDS),
    "command_line": Target(("command_line.c",), COMMAND_LINE_SEEDS),
    # This harness includes the kernel's files, to look at their tables.
    "address_space": Target((), ADDRESS_SPACE_SEEDS),
    # So does this one, for some of them.
    "network": Target(NETWORK_FILES, NETWORK_SEEDS, stack=True),
}

# --- engines ------------------------------------------------------------------------------------------

SANITIZED = ("-std=gnu11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
WARNED = ("-Wall", "-Wextra", "-Werror")
COMPILERS = {
    "own": ("gcc", "-fsanitize-coverage=trace-pc,trace-cmp"),
    "libfuzzer": ("clang", "-fsanitize=fuzzer-no-link"),
}
"""Of each engine, the compiler, and its option that tells the engine where the code goes."""
DONE = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+)")


def build(
    name: str, folder: Path, engine: str = "own", *, kernel: Path = KERNEL, shared: Path | None = None
) -> Path:
    """Compile a target in `folder`, with the engine `own` or `libfuzzer`; returns the program.

    `kernel` is the folder of the kernel's sources. What is made of other files is kept in `shared`, if that
    is given, for builds whose kernel differs in no header.

    Raises:
        HostError: the target is the network, and the sources of lwIP cannot be fetched.
    """
    target = TARGETS[name]
    sources = [HARNESSES / f"{name}.c", *(kernel / source for source in target.sources)]
    includes: list[str | Path] = ["-I", HARNESSES, "-I", kernel]
    foreign: list[Path] = []
    if target.stack:
        lwip = fetch_source(STACK_PACKAGE, SUITE, lambda _: None).folder / "src"
        foreign = [lwip / source for source in STACK_SOURCES]
        network = kernel / NETWORK
        includes += ["-DNETWORK", "-DLWIP_TESTMODE=1"]
        includes += ["-I", network, "-I", network / "lwip", "-I", lwip / "include"]
    compiler, coverage = COMPILERS[engine]

    def compile_all(files: Iterable[Path], place: Path) -> list[Path]:
        made = {file: place / f"{name}-{engine}-{file.parent.name}-{file.stem}.o" for file in files}
        for file, there in made.items():
            if place == folder or not there.exists():
                process.run([compiler, *SANITIZED, *WARNED, *includes, coverage, "-c", file, "-o", there])
        return list(made.values())

    objects = [*compile_all(sources, folder), *compile_all(foreign, shared or folder)]
    program = folder / f"{name}-{engine}"
    argv: list[str | Path] = [compiler, *SANITIZED, *objects, HARNESSES / "host.c", "-o", program]
    if engine == "own":
        made = (shared or folder) / "engine.o"
        if not made.exists():
            process.run([compiler, "-std=gnu11", "-O2", *WARNED, "-c", HARNESSES / "engine.c", "-o", made])
        process.run([*argv, made])
    else:
        process.run([*argv, "-fsanitize=fuzzer"])
    return program


def write_seeds(seeds: Iterable[bytes], folder: Path) -> Path:
    """Write inputs to begin with, a file each; returns the new folder `seeds` in `folder`."""
    inside = folder / "seeds"
    inside.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds):
        (inside / f"{number:02}").write_bytes(seed)
    return inside


def fuzz(program: Path, seeds: Path, *, keep: Path, seconds: float, runs: int = 0, seed: int = 1) -> Result:
    """Run a harness for so many seconds, or `runs` inputs if that is not 0. Failing inputs go into `keep`.

    One that takes 10 s has failed: the own engine has that limit built in.
    """
    limits = [f"-max_total_time={round(seconds)}", *([f"-runs={runs}"] if runs else [])]
    argv: list[str | Path] = [
        program,
        "-timeout=10",
        *limits,
        f"-seed={seed}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={keep}/",
        seeds,
    ]
    done = process.run(argv, check=False, timeout_s=seconds + 300)
    text = done.stderr.decode("utf-8", "replace")
    end = DONE.search(text)
    if done.status != 0 or end is None:
        return Result(0, 0, text[-3000:] or f"status {done.status}")
    return Result(int(end[1]), int(end[2]), "")


def replay(program: Path, file: Path) -> str:
    """Run one input; what the harness said where it fails, else empty."""
    done = process.run([program, file], check=False, timeout_s=60)
    return done.stderr.decode("utf-8", "replace") if done.status != 0 else ""


def main() -> None:
    """Fuzz the named targets, or all, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long each target is fuzzed")
    parser.add_argument("--engine", choices=("own", "libfuzzer"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-crashes"), metavar="FOLDER")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}: there are {', '.join(TARGETS)}")
    engine = asked.engine or ("libfuzzer" if shutil.which("clang") else "own")
    asked.keep.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in asked.targets or TARGETS:
        with tempfile.TemporaryDirectory(prefix="guestbench-fuzz-") as folder:
            program = build(name, Path(folder), engine)
            seeds = write_seeds(TARGETS[name].seeds, Path(folder))
            result = fuzz(program, seeds, keep=asked.keep, seconds=asked.minutes * 60, seed=asked.seed)
        failed = failed or bool(result.crash)
        said = result.crash or f"{result.runs:,} inputs, {result.edges} edges, no crash"
        print(f"{name} ({engine}, {asked.minutes:g} min): {said}", flush=True)
    if not any(asked.keep.iterdir()):
        asked.keep.rmdir()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
