"""Compiles the workload programs, static and once for all guests; it runs none of them.

The sources lie in `workloads/programs`, a folder for each program. A program without a folder is left by the
recipe of a system, beside that system's image. SQLite itself is a library of Debian's.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from guestbench.definition.systems import load_catalogue
from guestbench.definition.workloads import WORKLOADS, find_own_source
from guestbench.errors import HostError
from guestbench.host import process
from guestbench.model import SERVER, Image, Say
from guestbench.provision import cache
from guestbench.provision.packages import SUITE, Unpacked, fetch_library
from guestbench.provision.versions import find_versions

Sources = Mapping[str, Path]

MERKLE, SQLITE = "merkle", "sqlite"
"""The programs beside `SERVER` that are compiled here."""
PROGRAMS = WORKLOADS / "programs"
C_FLAGS = (
    *("-std=c11", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-march=x86-64"),
    *("-fno-pie", "-no-pie", "-Wl,--build-id=none", "-Wall", "-Wextra"),
)
OWN_FLAGS = ("-std=gnu11", "-O2", "-static", "-fno-pie", "-no-pie", "-march=x86-64", "-Wl,--build-id=none")
"""For a program of another package, which may use the C library."""
OCAML_FLAGS = ("-ccopt", "-static")
OCAML_PARTS = ("bench.ml", "merkle_store.ml", "linux.ml", "main.ml")
"""The parts of the OCaml program in the order in which they depend on one another."""
SQLITE_PACKAGE = "libsqlite3-dev"
SQLITE_FLAGS = ("-std=c11", "-O2", "-static", "-fno-pie", "-no-pie", "-march=x86-64", "-Wl,--build-id=none")
SQLITE_SHARED = ("guestwork.h", "sha256.c", "syscalls.h", "text.c", "work.c")
"""What the SQLite program has of guestwork's sources; one of them it includes rather than links."""
SQLITE_UNITS = ("main.c", "lines.c", "work.c", "sha256.c")
SQLITE_LINKED = ("-lm", "-lpthread", "-ldl")

_TOLD_FLAGS = ("-O", "-march", "-static")
"""The flags that matter to how fast a program is."""
_KINDS = (".c", ".h", ".S", ".ml")


def program_sources(name: str) -> dict[str, Path]:
    """The source files of a program by their names; none for one that is built elsewhere."""
    sources = {path.name: path for path in sorted((PROGRAMS / name).glob("*")) if path.suffix in _KINDS}
    if name == SQLITE:
        sources |= {shared: PROGRAMS / SERVER / shared for shared in SQLITE_SHARED}
    return sources


def describe_build(name: str) -> object:
    """What a program depends on besides its sources, for the key of an image that it is in."""
    flags, tools = {
        SERVER: (C_FLAGS, ("gcc", "ld")),
        MERKLE: (OCAML_FLAGS, ("ocamlopt", "gcc", "ld")),
        SQLITE: ((*SQLITE_FLAGS, *SQLITE_LINKED), ("gcc", "ld")),
    }.get(name, (OWN_FLAGS, ("gcc", "ld")) if find_own_source(name) else ((), ()))
    return [name, flags, find_versions(*tools)]


def build_program(name: str, say: Say) -> Image:
    """The program of that name, from the cache where it is there.

    Raises:
        HostError: this host cannot build it: its compiler is missing or fails, or it has to be built first.
    """
    if name == SERVER:
        sources = program_sources(SERVER)
        parts = [path for path in sources.values() if path.suffix != ".h"]
        plan = _plan_c(SERVER, C_FLAGS, sources, parts)
    elif name == MERKLE:
        plan = _plan_merkle()
    elif name == SQLITE:
        plan = _plan_sqlite(say)
    elif source := find_own_source(name):
        plan = _plan_c(name, OWN_FLAGS, {source.name: source}, [source])
    else:
        return _find_left(name)
    return cache.read_image(cache.make(plan, say).folder / name)


def _plan(
    name: str,
    compiler: str,
    sources: Mapping[str, Path],
    compile_in: Callable[[Path], object],
    library: str = "",
) -> cache.Plan:
    """The plan of a program, which `compile_in` leaves in the folder that it is given."""

    def build(work: Path, say: Say) -> cache.Made:
        compile_in(work)
        return cache.Made(files=(name,))

    doing = f"compiling the workload program {name} with {compiler}"
    return cache.Plan(f"program-{name}", doing, build, [describe_build(name), library], sources)


def _plan_c(
    name: str,
    flags: Iterable[str],
    sources: Sources,
    parts: Iterable[str | Path],
    library: Unpacked | None = None,
) -> cache.Plan:
    """The plan of a program in C, which finds what it says of itself in macros; `parts` ends its command."""
    compiler = f"gcc-{process.run(['gcc', '-dumpfullversion']).stdout.decode().strip()}"
    shown = [flag for flag in flags if flag.startswith(_TOLD_FLAGS)]
    if library:
        shown.append(f"{SQLITE}-{library.upstream}")
    told = {"SOURCE": source_digest(sources.values()), "COMPILER": compiler, "FLAGS": ",".join(shown)}
    defines = [f'-D{macro}="{value}"' for macro, value in told.items()]
    argv: list[str | Path] = ["gcc", *flags, *defines, "-s", "-o", name, *parts]
    # The linker warns that SQLite could load extensions; they are not asked for, so nobody is shown it.
    version = library.version if library else ""
    return _plan(name, compiler, sources, lambda work: process.run(argv, cwd=work), version)


def _plan_sqlite(say: Say) -> cache.Plan:
    """The program that has SQLite work, linked with Debian's library."""
    library = fetch_library(SQLITE_PACKAGE, SUITE, say)
    folder = library.folder / "usr"
    archive, header = folder / "lib/x86_64-linux-gnu/libsqlite3.a", folder / "include/sqlite3.h"
    if not (archive.is_file() and header.is_file()):
        raise HostError(
            f"package {library.package} {library.version} has no {archive.name} or no {header.name}",
            f"rm -r {library.folder}",
        )
    sources = program_sources(SQLITE)
    parts: list[str | Path] = [
        *("-I", PROGRAMS / SERVER, "-isystem", header.parent),
        *(sources[name] for name in SQLITE_UNITS),
        *(archive, *SQLITE_LINKED),
    ]
    return _plan_c(SQLITE, SQLITE_FLAGS, sources, parts, library)


def _plan_merkle() -> cache.Plan:
    """The OCaml program over the Merkle tree of ours."""
    version = process.run(["ocamlopt", "-version"]).stdout.decode().strip()
    compiler, sources = f"ocaml-{version}", program_sources(MERKLE)

    def compile_in(work: Path) -> None:
        for name, path in sources.items():
            shutil.copyfile(path, work / name)
        digest = source_digest([sources["bench.ml"], sources["merkle_store.ml"]])
        write_build_info(work, source=digest, compiler=compiler, flags="-static")
        parts = ["build_info.ml", *OCAML_PARTS, "stubs.c"]
        process.run(["ocamlopt", *OCAML_FLAGS, "-o", MERKLE, *parts], cwd=work)
        process.run(["strip", MERKLE], cwd=work)

    return _plan(MERKLE, compiler, sources, compile_in)


def write_build_info(work: Path, **told: str) -> None:
    """Write the module in which a program in OCaml finds what it says of itself."""
    (work / "build_info.ml").write_text("".join(f'let {name} = "{value}"\n' for name, value in told.items()))


def _find_left(name: str) -> Image:
    """A program that the recipe of a system of the catalogue has left beside that system's image."""
    from guestbench.provision.system_images import plan_build, recipe_of  # whose recipes use this module

    for system in load_catalogue().values():
        if system.provision.build and name in recipe_of(system).leaves:
            kept = cache.find(plan_build(system))
            if kept is None:
                raise HostError(f"{name} has not been built", f"guestbench systems build {system.name}")
            return cache.read_image(kept.folder / name)
    raise HostError(f"nothing builds a program {name}", "guestbench workloads")


def source_digest(files: Iterable[Path]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the files' contents, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
