"""Compiles the workload programs, static and once for all guests; it runs none of them.

The sources lie in `workloads/programs`, a folder for each program; the benchmark that the OCaml programs
share with the MirageOS guest lies with that guest. SQLite itself is a library of Debian's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from guestbench.definition.load import SYSTEMS, WORKLOADS
from guestbench.errors import HostError
from guestbench.host import process
from guestbench.model import SERVER, Frozen, Image, Say
from guestbench.provision import cache
from guestbench.provision.digest import read_image
from guestbench.provision.libraries import SUITE, fetch_library

PROGRAMS = WORKLOADS / "programs"
C_FLAGS = (
    *("-std=c11", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-march=x86-64"),
    *("-fno-pie", "-no-pie", "-Wl,--build-id=none", "-Wall", "-Wextra"),
)
OCAML_FLAGS = ("-ccopt", "-static")
OCAML_PARTS = ("bench.ml", "merkle_store.ml", "linux.ml", "main.ml")
"""The parts of the OCaml program in the order in which they depend on one another."""
SQLITE_FLAGS = ("-std=c11", "-O2", "-static", "-fno-pie", "-no-pie", "-march=x86-64")
SQLITE_SHARED = ("guestwork.h", "sha256.c", "syscalls.h", "text.c", "work.c")
"""What the SQLite program has of guestwork's sources; one of them it includes rather than links."""
SQLITE_UNITS = ("main.c", "lines.c", "work.c", "sha256.c")

_TOLD_FLAGS = ("-O", "-march", "-static", "sqlite-")
"""The flags that matter to how fast a program is, and the version of a library."""


class _Program(Frozen):
    """What a compiled program depends on besides its sources."""

    name: str
    compiler: str
    flags: tuple[str, ...]


def program_sources(name: str) -> dict[str, Path]:
    """The source files of a program by their names; none for one that is built elsewhere."""
    folder = PROGRAMS / name
    kinds = (".c", ".h", ".S", ".ml")
    sources = {path.name: path for path in sorted(folder.glob("*")) if path.suffix in kinds}
    if name == "merkle":
        sources["bench.ml"] = SYSTEMS / "mirage-unikraft" / "bench.ml"
    if name == "sqlite":
        sources |= {shared: PROGRAMS / SERVER / shared for shared in SQLITE_SHARED}
    return sources


def build_program(name: str, say: Say) -> Image:
    """The program of that name, from the cache where it is there.

    Raises:
        HostError: this host cannot build it: its compiler is missing or fails, or it has to be built first.
    """
    if name not in _BUILDERS:
        raise HostError(f"nothing builds a program {name}", "guestbench workloads")
    return _BUILDERS[name](say)


def _build_c_program(say: Say) -> Image:
    """The C program, for several workloads and as a TCP server."""
    sources = program_sources(SERVER)
    recipe = _Program(name=SERVER, compiler=_find_gcc(), flags=C_FLAGS)

    def compile_into(work: Path) -> None:
        files = [path for path in sources.values() if path.suffix != ".h"]
        process.run(["gcc", *C_FLAGS, *_defines(recipe, sources), "-s", "-o", work / SERVER, *files])

    return _build_program(recipe, sources, compile_into, say)


def _find_gcc() -> str:
    """The C compiler with its version."""
    return f"gcc-{process.run(['gcc', '-dumpfullversion']).stdout.decode().strip()}"


def _defines(recipe: _Program, sources: dict[str, Path]) -> list[str]:
    """What a program in C says of itself, as options of the compiler."""
    told = {
        "SOURCE": source_digest(sources.values()),
        "COMPILER": recipe.compiler,
        "FLAGS": ",".join(flag for flag in recipe.flags if flag.startswith(_TOLD_FLAGS)),
    }
    return [f'-D{name}="{value}"' for name, value in told.items()]


def _build_sqlite(say: Say) -> Image:
    """The program that has SQLite work, linked with Debian's library."""
    library = fetch_library("libsqlite3-dev", SUITE, say)
    folder = library.folder / "usr"
    archive, header = folder / "lib/x86_64-linux-gnu/libsqlite3.a", folder / "include/sqlite3.h"
    if not (archive.is_file() and header.is_file()):
        raise HostError(
            f"package {library.package} {library.version} has no {archive.name} or no {header.name}",
            f"rm -r {library.folder}",
        )
    sources = program_sources("sqlite")
    recipe = _Program(
        name="sqlite", compiler=_find_gcc(), flags=(*SQLITE_FLAGS, f"sqlite-{library.upstream}")
    )

    def compile_into(work: Path) -> None:
        # The linker warns that SQLite could load extensions; they are not asked for, so nobody is shown it.
        process.run(
            [
                *("gcc", *SQLITE_FLAGS, *_defines(recipe, sources), "-s", "-Wl,--build-id=none"),
                *("-I", PROGRAMS / SERVER, "-isystem", header.parent, "-o", work / "sqlite"),
                *(sources[name] for name in SQLITE_UNITS),
                *(archive, "-lm", "-lpthread", "-ldl"),
            ]
        )

    return _build_program(recipe, {**sources, archive.name: archive, header.name: header}, compile_into, say)


def _build_merkle(say: Say) -> Image:
    """The OCaml program over the Merkle tree of ours."""
    sources = program_sources("merkle")
    version = process.run(["ocamlopt", "-version"]).stdout.decode().strip()
    recipe = _Program(name="merkle", compiler=f"ocaml-{version}", flags=OCAML_FLAGS)

    def compile_into(work: Path) -> None:
        for name, path in sources.items():
            (work / name).write_bytes(path.read_bytes())
        told = {
            "source": source_digest([sources["bench.ml"], sources["merkle_store.ml"]]),
            "compiler": recipe.compiler,
            "flags": "-static",
        }
        lines = [f'let {name} = "{value}"\n' for name, value in told.items()]
        (work / "build_info.ml").write_text("".join(lines))
        process.run(
            ["ocamlopt", *OCAML_FLAGS, "-o", "merkle", "build_info.ml", *OCAML_PARTS, "stubs.c"], cwd=work
        )
        process.run(["strip", "merkle"], cwd=work)

    return _build_program(recipe, sources, compile_into, say)


def _find_irmin(say: Say) -> Image:
    """The Irmin program for Linux, which is built together with the MirageOS guest.

    Raises:
        HostError: it has not been built.
    """
    del say
    found = sorted(
        cache.cache_folder().glob("images/mirage-unikraft-*/irmin"), key=lambda p: p.stat().st_mtime
    )
    if not found:
        raise HostError("irmin for Linux has not been built", "guestbench systems build mirage-unikraft")
    found[-1].chmod(0o755)  # files of the cache are not executable
    return read_image(found[-1])


_BUILDERS: dict[str, Callable[[Say], Image]] = {
    SERVER: _build_c_program,
    "merkle": _build_merkle,
    "sqlite": _build_sqlite,
    "irmin": _find_irmin,
}


def source_digest(files: Iterable[Path]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the files' contents, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build_program(
    recipe: _Program, sources: dict[str, Path], compile_into: Callable[[Path], None], say: Say
) -> Image:
    name = f"program-{recipe.name}"
    key = cache.recipe_key(recipe, sources)
    folder = cache.image_folder(name, key)
    with cache.locked(f"{name}-{key}"):
        if cache.load_manifest(folder) is None:
            say(f"compiling the workload program {recipe.name} with {recipe.compiler}")
            with cache.workspace(name) as work:
                compile_into(work)
                publish_file(name, key, recipe, work, recipe.name)
        (folder / recipe.name).chmod(0o755)
    return read_image(folder / recipe.name)


def publish_file(name: str, key: str, recipe: Frozen, work: Path, file: str) -> None:
    """Move one file of a workspace into the cache; the caller holds the lock of the key."""
    manifest = cache.Manifest(
        system=name,
        kind="built",
        key=key,
        builder_version=cache.BUILDER_VERSION,
        created=cache.utc_now(),
        recipe=msgspec.Raw(msgspec.json.encode(recipe)),
        files=(cache.describe_file(work / file),),
    )
    cache.publish(work, manifest, (file,))
