"""Programs made for Linux on the reference unikernel: they print there, byte for byte, what they print here.

Lua and the SQLite shell are linked from Debian's packages, and nobody here wrote them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from reference_guest import output_of, run

from guestbench.errors import HostError
from guestbench.guest.contract import find_reports
from guestbench.host import process
from guestbench.provision.packages import SUITE, Unpacked, fetch_library, fetch_source
from guestbench.provision.programs import build_program

pytestmark = pytest.mark.qemu

GUESTS = Path(__file__).parents[1] / "guests"
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
TIMER = "refuk.timer=1000"
"""A thousand interrupts a second, which a program must not notice."""
RUN_S = 120.0


class Ended(NamedTuple):
    """What a program printed on both of its outputs, in the order of time, and its exit status."""

    output: bytes
    status: int | None


def run_here(program: Path, words: Sequence[str], folder: Path, **environment: str) -> Ended:
    """A run on this host. The first of the words is the program's name, as it is in the guest."""
    done = subprocess.run(
        words,
        executable=program,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=RUN_S,
        check=False,
    )
    return Ended(done.stdout, done.returncode)


def run_there(program: Path | Sequence[Path], append: str, memory: str = "64M") -> Ended:
    """A run as the program of a guest."""
    return Ended(*output_of(run(program, append, memory=memory, timeout_s=RUN_S)))


def from_debian(fetch: Callable[[str, str, Callable[[str], None]], Unpacked], package: str) -> Path:
    """A package of Debian, unpacked; the test is skipped where it cannot be had."""
    try:
        return fetch(package, SUITE, lambda _: None).folder
    except HostError as error:
        pytest.skip(f"{package} of Debian cannot be had: {error.message}")


@pytest.fixture(scope="module", params=["", TIMER], ids=["", "timer"])
def option(request: pytest.FixtureRequest) -> str:
    """The system's options: none, or the timer."""
    assert isinstance(request.param, str)
    return request.param


# --- programs that no one here wrote ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def lua(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's Lua: its library, and the source of its interpreter."""
    library = from_debian(fetch_library, "liblua5.4-dev")
    source = from_debian(fetch_source, "lua5.4")
    program = tmp_path_factory.mktemp("lua") / "lua"
    include, archive = library / "usr/include", library / LIBRARIES / "liblua5.4.a"
    argv: list[str | Path] = ["gcc", "-O2", "-static", "-I", include / "lua5.4"]
    argv += ["-I", include / "x86_64-linux-gnu"]
    argv += ["-o", program, source / "src/lua.c", archive]
    process.run([*argv, "-lm", "-ldl"])
    return program


@pytest.fixture(scope="module")
def sqlite_shell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's SQLite: its library, and the shell put together from its sources."""
    library = from_debian(fetch_library, "libsqlite3-dev")
    source = from_debian(fetch_source, "sqlite3")
    work = tmp_path_factory.mktemp("sqlite")
    text = (source / "src/shell.c.in").read_text()
    (work / "shell.c").write_text(re.sub(r"^INCLUDE (\S+)$", lambda m: part(source, m[1]), text, flags=re.M))
    argv: list[str | Path] = ["gcc", "-O1", "-static", "-I", library / "usr/include", "-o", work / "sqlite3"]
    argv += [work / "shell.c", library / LIBRARIES / "libsqlite3.a"]
    process.run([*argv, "-lm", "-lpthread", "-ldl"])
    return work / "sqlite3"


def part(source: Path, name: str) -> str:
    """A part of the shell, without the headers that are in it already."""
    text = (source / "src" / name).read_text()
    return re.sub(r'^# *include "(sqlite|test_windirent).*$', "", text, flags=re.M)


@pytest.mark.network
def test_lua_runs_as_on_linux(lua: Path, option: str) -> None:
    """An interpreter could not be relied on: strings, coroutines, numbers, errors, garbage, files."""
    script = GUESTS / "everything.lua"
    here = run_here(lua, ["lua", "everything.lua", "one", "2 words"], GUESTS)
    assert here.status == 7 and here.output.endswith(b"done\nto the other stream\n"), here
    there = run_there([lua, script], f"{option} lua everything.lua one '2 words'", "128M")
    assert there == here


@pytest.mark.network
def test_lua_s_error_is_an_exit_status(lua: Path) -> None:
    """A script that fails would count as one that does not."""
    code = "error('wrong', 0)"
    here = run_here(lua, ["lua", "-e", code], GUESTS)
    assert here.status == 1 and b"wrong" in here.output
    assert run_there(lua, f'lua -e "{code}"') == here


@pytest.mark.network
def test_sqlite_s_shell_runs_as_on_linux(sqlite_shell: Path, option: str) -> None:
    """A database could not be relied on: 60,000 rows, an index, joins, windows, JSON, full text, triggers."""
    script = GUESTS / "everything.sql"
    words = ["sqlite3", "-batch", ":memory:", ".read everything.sql"]
    here = run_here(sqlite_shell, words, GUESTS, HOME="/")
    assert here.status == 5 and b"\nintegrity_check\nok\n" in here.output, here
    assert re.search(rb"\nhash\n[0-9a-f]{56}\n", here.output)
    append = f"{option} HOME=/ sqlite3 -batch :memory: '.read everything.sql'"
    assert run_there([sqlite_shell, script], append) == here


# --- programs of ours -------------------------------------------------------------------------------------


def link_with_musl(program: Path) -> None:
    """Compile the C program of ours with Debian's musl in place of the C library."""
    musl = from_debian(fetch_library, "musl-dev")
    library = musl / "usr/lib/x86_64-linux-musl"
    compilers_own = process.run(["gcc", "-print-file-name=include"]).stdout.decode().strip()
    argv: list[str | Path] = ["gcc", "-O2", "-static", "-no-pie", "-nostdlib", "-nostdinc"]
    argv += ["-isystem", musl / "usr/include/x86_64-linux-musl", "-isystem", compilers_own, "-o", program]
    argv += [library / "crt1.o", library / "crti.o", GUESTS / "libc.c"]
    process.run([*argv, library / "libc.a", "-lgcc", library / "libc.a", library / "crtn.o"])


@pytest.mark.parametrize("kind", ["-static", "-static-pie", pytest.param("musl", marks=pytest.mark.network)])
def test_a_c_program_runs_as_on_linux(kind: str, option: str, tmp_path: Path) -> None:
    """A program would get other numbers, memory, arguments or files than from the system it was made for."""
    program, words = tmp_path / "libc", tmp_path / "words.txt"
    if kind == "musl":
        link_with_musl(program)
    else:
        process.run(["gcc", "-O2", kind, "-o", program, GUESTS / "libc.c", "-lm"])
    words.write_text("alpha 17\nbeta 3\nthe end\n")
    arguments = ["libc", "a", "b c", "", "d=1"]
    here = run_here(program, arguments, tmp_path, COLOUR="light blue")
    assert here.status == 42 and b"file: 3 lines" in here.output, here
    append = f"{option} COLOUR='light blue' libc a 'b c' '' d=1"
    assert run_there([program, words], append) == here


@pytest.mark.parametrize(
    ("name", "arguments", "memory"),
    [
        ("guestwork", "cpu limit=10000 events=100", "16M"),
        ("guestwork", "memory parts=write:1M:256M,read:1M:256M,write:1K:256M", "16M"),
        ("merkle", "", "64M"),
        pytest.param("sqlite", "", "64M", marks=pytest.mark.network),
    ],
    ids=["cpu", "memory", "merkle", "sqlite"],
)
def test_a_workload_does_what_it_does_here(name: str, arguments: str, memory: str, option: str) -> None:
    """The unikernel would be measured at other work than Linux, with the very same file."""
    if name == "sqlite":
        from_debian(fetch_library, "libsqlite3-dev")
    if name == "merkle" and shutil.which("ocamlopt") is None:
        pytest.skip("ocamlopt is not installed")
    program = Path(build_program(name, lambda _: None).path)
    here = run_here(program, [name, *arguments.split()], program.parent)
    there = run_there(program, f"{option} {name} {arguments}", memory)
    assert there.status == here.status == 0
    done, expected = (
        [
            (each.workload, each.parameters, each.source, each.compiler, each.flags, each.done, each.digest)
            for each in find_reports(ended.output, lambda _: 0)
        ]
        for ended in (there, here)
    )
    assert done == expected
    assert expected and all(digest for *_, digest in expected)
    assert without_time(there.output) == without_time(here.output)


def without_time(output: bytes) -> bytes:
    """What a workload prints but for the time it took."""
    return re.sub(rb"guest_ns=\d+", b"", output)
