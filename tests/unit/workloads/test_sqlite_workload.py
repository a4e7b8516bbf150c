"""The SQLite workload, linked with Debian's library and run on this machine."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from guestbench.definition.workloads import load_workload
from guestbench.errors import HostError
from guestbench.guest.contract import find_reports
from guestbench.host import process
from guestbench.images.formats.elf import read_elf
from guestbench.images.source import open_source
from guestbench.model import Needs
from guestbench.provision import kit, programs
from guestbench.provision.packages import SUITE, Unpacked, fetch_library

pytestmark = pytest.mark.network

PT_DYNAMIC, PT_INTERP = 2, 3


@pytest.fixture(scope="module")
def sqlite() -> Path:
    """The program, from the cache where it is there."""
    try:
        fetch_library("libsqlite3-dev", SUITE, lambda _: None)
    except HostError as error:
        pytest.skip(f"Debian's SQLite cannot be had: {error.message}")
    return Path(programs.build_program("sqlite", lambda _: None).path)


def run(program: Path, *arguments: str, limits: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Exit status and outputs of a run, without any environment."""
    argv = ["prlimit", *limits, str(program)] if limits else [str(program)]
    done = subprocess.run([*argv, *arguments], capture_output=True, check=False, timeout=60, env={})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def digest_of(output: str) -> str:
    """The digest on the end line."""
    found = re.search(
        r"^\[work end sqlite done=\d+ digest=([0-9a-f]{32}) guest_ns=\d+\]$", output, re.MULTILINE
    )
    assert found is not None, output
    return found[1]


# --- the work once more, without SQLite -------------------------------------------------------------------

Row = tuple[int, str, int, int, float]


def make_rows(count: int) -> list[Row]:
    """The rows that the program puts into its table."""
    rows = []
    state = 20_000_101

    def draw() -> int:
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return state >> 32

    for number in range(1, count + 1):
        code = b"".join(draw().to_bytes(4, "little") for _ in range(2)).hex()
        owner, price = draw() % 1000, draw() % 100_000
        rows.append((number, code, owner, price, price / 8))
    return rows


def grouped(rows: list[Row], divisor: int, column: int) -> list[tuple[int, list[Row]]]:
    """Rows that agree in a column divided by this, in the order of that."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        value = row[column]
        assert isinstance(value, int)
        groups.setdefault(value // divisor, []).append(row)
    return sorted(groups.items())


def model(count: int, rounds: int) -> str:
    """The digest that the program must come to."""
    rows = make_rows(count)
    answers: list[tuple[object, ...]] = []
    for owner, theirs in grouped(rows, 1, 2):
        codes = [row[1] for row in theirs]
        answers.append((owner, len(theirs), sum(row[3] for row in theirs), min(codes), max(codes)))
    for part, those in grouped(rows, 1000, 3):
        answers.append((part, len(those), sum(row[4] for row in those)))
    pairs = [
        a[0] - b[0]
        for _, theirs in grouped(rows, 1, 2)
        for _, same in grouped(theirs, 1, 3)
        for a in same
        for b in same
        if b[0] < a[0]
    ]
    answers.append((len(pairs), float(sum(pairs))))
    lines = [*answers * rounds, *sorted(rows, key=lambda row: (row[1], row[0]))]
    text = "".join("|".join(map(str, line)) + "\n" for line in lines)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def test_lines_follow_the_contract(sqlite: Path) -> None:
    """A run would report that the guest does no work, or credit it with other work."""
    status, output, complaints = run(sqlite, "rows=500")
    assert (status, complaints) == (0, "")
    first, last = output.splitlines()
    version = fetch_library("libsqlite3-dev", SUITE, lambda _: None).upstream
    assert re.fullmatch(
        r"\[work begin sqlite source=[0-9a-f]{16} compiler=gcc-[0-9.]+"
        rf" flags=-O2,-static,-march=x86-64,sqlite-{re.escape(version)} rows=500 rounds=1\]",
        first,
    )
    assert re.fullmatch(r"\[work end sqlite done=500 digest=[0-9a-f]{32} guest_ns=[1-9]\d*\]", last)
    (report,) = find_reports(output.encode(), lambda _: 0)
    assert report.source == programs.source_digest(programs.program_sources("sqlite").values())


@pytest.mark.parametrize(("rows", "rounds"), [(1, 1), (40, 0), (3000, 3), (60_000, 1)])
def test_digest_is_that_of_the_rows_and_of_the_answers(sqlite: Path, rows: int, rounds: int) -> None:
    """The program could skip its work, or do it wrong on every system alike, without being noticed."""
    output = run(sqlite, f"rows={rows}", f"rounds={rounds}")[1]
    assert digest_of(output) == model(rows, rounds)


def test_the_workload_is_the_program_s_default(sqlite: Path) -> None:
    """Somebody who runs the program by hand would compare other work with that of a run."""
    arguments = load_workload("sqlite").arguments
    assert digest_of(run(sqlite)[1]) == digest_of(run(sqlite, *arguments)[1]) == model(60_000, 1)


def test_no_file_is_opened(sqlite: Path) -> None:
    """It would fail, or measure something else, in a guest that has no other file."""
    process.find_tool("prlimit")
    # Descriptors 0 to 2 are there already: none can be had.
    status, output, complaints = run(sqlite, "rows=60000", limits=("--nofile=3", "--fsize=0"))
    assert (status, complaints) == (0, "")
    assert digest_of(output) == model(60_000, 1)
    with open_source(sqlite) as source:
        image = read_elf(source)
    assert [image.find_segment(kind) for kind in (PT_INTERP, PT_DYNAMIC)] == [None, None]


def test_too_little_memory_is_an_error(sqlite: Path) -> None:
    """A guest with little memory would seem to hang, or to have done the work."""
    status, output, complaints = run(sqlite, limits=("--as=8388608",))
    assert status == 1
    assert complaints == "error: SQLite: out of memory\n"
    assert "[work end" not in output


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("rows", "sqlite does not know rows"),
        ("speed=1", "sqlite does not know speed=1"),
        ("rows=0", "not a number of rows from 1 to 100000000: rows=0"),
        ("rows=100000001", "not a number of rows"),
        ("rows=6e4", "not a number of rows"),
        ("rounds=-1", "not a number of rounds from 0 on: rounds=-1"),
    ],
)
def test_wrong_arguments_are_errors(sqlite: Path, word: str, why: str) -> None:
    """A mistyped parameter would silently measure the default work."""
    status, output, complaints = run(sqlite, word)
    assert (status, output) == (2, "")
    assert complaints.startswith(f"error: {why}")


def test_where_the_library_cannot_be_fetched_the_workload_is_told_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host without network could measure no work at all."""

    def unreachable(package: str, suite: str, say: object) -> Unpacked:
        raise HostError(f"{package} of {suite} cannot be fetched", "apt-get update")

    monkeypatch.setattr(programs, "fetch_library", unreachable)
    (work,) = kit.prepare_kit(Needs(workloads=("sqlite",)), lambda _: None).works
    assert work.program is None
    assert work.missing == (
        "there is no program for it: libsqlite3-dev of bookworm cannot be fetched (mended by: apt-get update)"
    )


def test_a_package_of_another_form_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user would be shown the compiler's complaint about a file that is not there."""
    empty = Unpacked(package="libsqlite3-dev", version="9.9-1", folder=tmp_path)
    monkeypatch.setattr(programs, "fetch_library", lambda *_: empty)
    with pytest.raises(HostError, match=r"libsqlite3-dev 9.9-1 has no libsqlite3.a") as caught:
        programs.build_program("sqlite", lambda _: None)
    assert str(tmp_path) in caught.value.hint


def test_hash_and_lines_are_guestwork_s() -> None:
    """Two hashes or two ways to print the lines could come to differ."""
    sources = programs.program_sources("sqlite")
    shared = {name for name, path in sources.items() if path.parent.name == "guestwork"}
    assert shared == set(programs.SQLITE_SHARED)
    assert {"main.c", "lines.c"} == set(sources) - shared
