"""What is read out of a console on which programs, kernels and attackers print."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from replay import write_recording
from work_factories import DIGEST, GCC, OCAML, SOURCE, begin_line, end_line

from guestbench.guest.contract import LARGEST, MOST_REPORTS, find_reports, find_unlabelled
from guestbench.guest.serial import COALESCE_NS, SerialLog
from guestbench.model import ImageWork, WorkReport
from guestbench.vmm import Chunk
from guestbench.vmm.fake import read_recording

CPU = begin_line("cpu", limit=100, events=5)
DONE = end_line("cpu", done=5)
OWN = ImageWork(workload="irmin", begin="[init done]", end="[run done]", count="commits:")


def find(text: str | bytes) -> tuple[WorkReport, ...]:
    """The reports in a text in which every byte arrives a nanosecond after the one before it."""
    return find_reports(text.encode() if isinstance(text, str) else text, lambda at: at)


def heard(chunks: list[tuple[float, bytes]]) -> SerialLog:
    """A log of `(milliseconds, bytes)`."""
    log = SerialLog()
    for t_ms, data in chunks:
        log.append(Chunk(t_ns=round(t_ms * 1e6), data=data))
    return log


def is_clean(report: WorkReport) -> bool:
    """Whether every text of a report is printable ASCII, and every number one that fits the store."""
    made = (report.workload, report.source, report.compiler, report.flags, report.digest)
    texts = [*made, *report.parameters, *report.parameters.values()]
    numbers = (report.done, report.guest_ns)
    return all(text.isascii() and text.isprintable() and len(text) <= 100 for text in texts) and all(
        number is None or 0 <= number <= LARGEST for number in numbers
    )


def test_a_pair_of_lines_is_one_piece_of_work_with_the_times_of_their_last_bytes() -> None:
    """Work would be timed from the wrong bytes, or its parameters lost."""
    (report,) = find(f"noise\n{CPU}\rprogress: 1/5\r{DONE}")
    assert (report.workload, report.source, report.parameters) == (
        "cpu",
        SOURCE,
        {"limit": "100", "events": "5"},
    )
    assert (report.compiler, report.flags) == (GCC["compiler"], GCC["flags"])
    assert (report.done, report.digest, report.guest_ns) == (5, DIGEST, 2_000_000_000)
    text = f"noise\n{CPU}\rprogress: 1/5\r{DONE}"
    assert report.begin_ns == text.index("]\n")
    assert report.end_ns == text.rindex("]\n")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            CPU.replace("\n", "\r\n") + DONE.replace("\n", "\r\n"), id="lines as terminals end them"
        ),
        pytest.param(f"\x1b[2J\x1b[31m{CPU}\x1b[0m\xff\xfe{DONE}", id="escape sequences around them"),
        pytest.param(f"# {CPU}# {DONE}", id="a prompt before them"),
        pytest.param(f"{CPU}[    9.1] random: crng init done\n{DONE}", id="a kernel message between them"),
        pytest.param(f"{DONE}{CPU}{DONE}", id="an end that ends nothing"),
        pytest.param(f"{CPU}{end_line('memory')}{DONE}", id="an end of other work"),
        pytest.param(f"{CPU}{DONE}{DONE}", id="a second end"),
        pytest.param(f"[work begin cp{CPU}{DONE}", id="a beginning cut off by another"),
        pytest.param(
            f"{CPU}[work end cpu [   9.1] usb 1-1: new\n{DONE}", id="an end cut in two and repeated"
        ),
    ],
)
def test_whatever_else_is_printed_hides_no_work(text: str) -> None:
    """A kernel message or an escape sequence on the console would make a finished workload a failure."""
    (report,) = find(text.encode("latin-1"))
    assert (report.workload, report.done, report.digest) == ("cpu", 5, DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "[work begin cpu source=0123 compiler=gcc [    1.2] eth0: up\nflags=-O2 limit=1]\n",
        "[work begin CPU limit=1]\n",
        "[work begin cpu limit]\n",
        "[work begin cpu  limit=1]\n",
        "[work begin cpu limit=1[]\n",
        "[work begin cpu limit=\x1b[31m]\n",
        "[work begin cpu limit=\xe9]\n",
        f"[work begin cpu limit={'9' * 101}]\n",
        f"[work begin cpu {' '.join(f'k{n}=1' for n in range(21))}]\n",
        f"[work begin {'c' * 60} limit=1]\n",
        "[work begin cpu limit=1\n",
        "[work start cpu limit=1]\n",
        DONE,
        "",
    ],
)
def test_what_is_not_a_line_of_the_contract_tells_of_nothing(text: str) -> None:
    """Damaged or hostile lines would become parameters in the report."""
    assert find(text.encode("latin-1")) == ()


def test_an_end_that_was_cut_in_two_leaves_the_work_unfinished() -> None:
    """Work whose result nobody could read would count as done."""
    cut = DONE[:40] + "[    9.1] random: crng init done\n" + DONE[40:]
    (report,) = find(CPU + cut)
    assert (report.end_ns, report.done, report.digest) == (None, None, "")
    assert report.seconds is None


def test_two_beginnings_are_two_pieces_of_work_and_one_end_ends_the_last() -> None:
    """Work that was begun anew would be timed from its first beginning."""
    first, second = find(CPU + CPU + DONE)
    assert first.end_ns is None
    assert second.end_ns is not None and second.done == 5


def test_work_inside_other_work_ends_the_inner_one_only() -> None:
    """The time of one workload would be taken for that of another around it."""
    outer, inner = find(CPU + begin_line("memory") + end_line("memory") + DONE)
    assert (outer.workload, outer.end_ns) == ("cpu", None)
    assert inner.workload == "memory" and inner.end_ns is not None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        (str(2**63 - 1), LARGEST),
        (str(2**63), None),
        ("9" * 19, None),
        ("9" * 20, None),
        ("9" * 100, None),
        ("-1", None),
        ("1e9", None),
        ("0x10", None),
        ("", None),
    ],
)
def test_numbers_fit_the_store_or_are_none(text: str, number: int | None) -> None:
    """A number beyond 64 bits would make a store that nothing can read."""
    (report,) = find(CPU + end_line("cpu", done=text, guest_ns=text))
    assert (report.done, report.guest_ns) == (number, number)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"x" * (1 << 20), id="one line"),
        pytest.param(b"[work begin " * 90_000, id="beginnings of beginnings"),
        pytest.param(b"[work begin a" + b" a=" * 350_000, id="keys without an end"),
        pytest.param((b"[work begin a" + b" a=" + b"b" * 100) * 9000, id="long values without an end"),
        pytest.param(bytes(random.Random(1).randrange(256) for _ in range(1 << 20)), id="random bytes"),
    ],
)
def test_a_megabyte_without_a_line_takes_no_time(data: bytes) -> None:
    """A guest that floods its console would stop the run for hours."""
    began = time.monotonic()
    assert find(data) == ()
    assert find_unlabelled(data, lambda at: at, OWN) == ()
    assert time.monotonic() - began < 10


def test_a_console_full_of_work_gives_no_endless_report() -> None:
    """A guest that prints lines of the contract without end would fill the store."""
    assert len(find((CPU + DONE) * (MOST_REPORTS + 50))) == MOST_REPORTS


@given(st.binary(max_size=400))
@example(b"[work begin a b=\x00]")
@example((CPU + DONE).encode().replace(b"5", b"\xff"))
def test_random_bytes_never_raise_and_never_get_through(data: bytes) -> None:
    """Hostile bytes would reach the store, or end the run."""
    assert all(map(is_clean, find(data)))
    assert all(map(is_clean, find_unlabelled(data, lambda at: at, OWN)))


@given(st.lists(st.sampled_from([*re.split(r"(?=[ =\]\n])", CPU + DONE), "\x1b[0m", "\r", "9" * 30])))
def test_pieces_of_lines_in_any_order_give_clean_reports(pieces: list[str]) -> None:
    """Lines that were put together of pieces of lines would be believed."""
    found = find("".join(pieces))
    assert all(map(is_clean, found))
    assert all(report.end_ns is None or report.end_ns > report.begin_ns for report in found)


# --- images ---------------------------------------------------------------------------------------------

BANNER = b"SeaBIOS (version 1.0)\r\nBooting from ROM..Powered by\r\n  a unikernel\r\n"


def old_image() -> SerialLog:
    """The console of an image that prints no line of the contract."""
    progress = [(410.0 + 10 * n, f"\rcommits:   {n}0/50".encode()) for n in range(1, 6)]
    return heard([(90, BANNER), (400, b"[init done]\r\n"), *progress, (470, b"\r\n[run done]\r\n")])


def test_an_image_without_lines_is_timed_between_its_own_texts() -> None:
    """The benchmark of an image as it was always built could not be measured."""
    log = old_image()
    assert find_reports(log.data, log.time_of) == ()
    (report,) = find_unlabelled(log.data, log.time_of, OWN)
    assert (report.workload, report.done) == ("irmin", 50)
    assert (report.begin_ns, report.end_ns) == (400_000_000, 470_000_000)
    assert (report.parameters, report.digest, report.source) == ({}, "", "")


def test_times_are_those_of_the_bytes_that_complete_the_texts() -> None:
    """A text that comes in pieces would be timed by its first piece."""
    log = heard([(400, b"[init do"), (410, b"ne]\r\n"), (500, b"commits: 7\n[run do"), (520, b"ne]")])
    (report,) = find_unlabelled(log.data, log.time_of, OWN)
    assert (report.begin_ns, report.end_ns, report.done) == (410_000_000, 520_000_000, 7)


@pytest.mark.parametrize(
    ("data", "own", "ends"),
    [
        (BANNER, OWN, []),
        (BANNER + b"[init done]\r\n", OWN, [None]),
        (b"[run done]\n[init done]", OWN, [None]),
        (b"[init done]\n[run done]", ImageWork(), []),
        (b"[init done]\n[run done]", ImageWork(workload="irmin", begin="[init done]"), []),
    ],
)
def test_an_image_that_began_or_ended_nothing(data: bytes, own: ImageWork, ends: list[None]) -> None:
    """Work would be reported of an image that has not done any."""
    assert [report.end_ns for report in find_unlabelled(data, lambda at: at, own)] == ends


def test_no_count_is_known_where_none_is_printed() -> None:
    """An image without a count would seem to have done nothing, or a number from elsewhere."""
    (report,) = find_unlabelled(b"commits: 9\n[init done]\n[run done]\ncommits: 8", lambda at: at, OWN)
    assert report.done is None


def test_an_image_with_lines_tells_of_each_of_its_workloads(tmp_path: Path) -> None:
    """The second workload of an image would be lost, or its time mixed with the first's."""
    lines = (begin_line("merkle", OCAML, commits=400), end_line("merkle", 400))
    others = (begin_line("irmin", OCAML, commits=50), end_line("irmin", 50))
    texts = (*lines, *others)
    chunks = [(400.0, b"[init done]\r\n"), *((500.0 + 100 * n, t.encode()) for n, t in enumerate(texts))]
    recording, _ = read_recording(write_recording(tmp_path, [(90.0, BANNER), *chunks]))
    log = SerialLog()
    for chunk in recording:
        log.append(chunk)
    first, second = find_reports(log.data, log.time_of)
    assert (first.workload, first.seconds, first.done) == ("merkle", 0.1, 400)
    assert (second.workload, second.seconds, second.done) == ("irmin", 0.1, 50)


# --- times of bytes -------------------------------------------------------------------------------------


def test_every_byte_has_the_time_of_the_chunk_it_came_in() -> None:
    """Lines would be stamped with the time of a neighbouring chunk."""
    log = heard([(1, b"ab"), (2, b""), (3, b"c"), (3, b"de")])
    assert [log.time_of(at) / 1e6 for at in range(5)] == [1, 1, 3, 3, 3]
    with pytest.raises(IndexError):
        log.time_of(5)


@given(st.lists(st.tuples(st.integers(0, 3 * COALESCE_NS), st.integers(0, 3)), max_size=30))
def test_recordings_have_a_line_for_each_run_of_a_millisecond(steps: list[tuple[int, int]]) -> None:
    """Recordings made before and after would not compare: their times would be grouped in another way."""
    log, now_ns, runs = SerialLog(), 0, list[tuple[int, int]]()
    for step_ns, length in steps:
        now_ns += step_ns
        log.append(Chunk(t_ns=now_ns, data=b"x" * length))
        if not length:
            continue
        if runs and now_ns - runs[-1][0] < COALESCE_NS:
            runs[-1] = (runs[-1][0], runs[-1][1] + length)
        else:
            runs.append((now_ns, length))
    assert list(log._runs()) == runs
