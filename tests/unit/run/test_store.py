"""The store: what survives a kill, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from factories import make_run
from replay import make_guest, make_header, make_system, write_recording
from silent_progress import SilentProgress

from guestbench.errors import StoreError
from guestbench.families import find_metrics, memory, work
from guestbench.families.memory.findings import find_least
from guestbench.host.facts import read_host
from guestbench.model import Crashed, Experiment, Header, Mark, Ok, Record, Unsupported, find_settings
from guestbench.run.pool import Local
from guestbench.run.prepare import check_resumable
from guestbench.run.store import STORE_NAME, create_store, read_store, reopen_store
from guestbench.run.trials import make_trials
from guestbench.run.worker import run_trial
from guestbench.version import __version__
from guestbench.vmm import find_vmm

RECORDINGS = Path(__file__).parents[2] / "recordings"
BOTH = ("image", "boot")
EXPERIMENT = Experiment(name="test", title="Test", systems=("tiny",), cycles=3, metrics=BOTH)


@pytest.fixture
def header(tmp_path: Path) -> Header:
    """A run of one replaying guest."""
    recording = write_recording(tmp_path / "recording", [(1.0, b"hello "), (5.0, b"[init done]")])
    return make_header((make_guest(make_system(), recording),), EXPERIMENT)


def finish(folder: Path, header: Header) -> tuple[Record, ...]:
    """Make all trials of a run in this process."""
    with create_store(folder, header) as store:
        return make_trials(store, header, (), SilentProgress(), Local(lambda jobs, *_: map(run_trial, jobs)))


def test_everything_written_is_read_back(tmp_path: Path, header: Header) -> None:
    """A report made later would differ from the run."""
    records = finish(tmp_path / "run", header)
    assert len(records) == 5
    assert read_store(tmp_path / "run") == (header, records)


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.999])
def test_a_kill_in_the_middle_of_a_line_loses_only_that_trial(
    tmp_path: Path, header: Header, kept: float
) -> None:
    """A crash while a record is written would make the whole store unreadable."""
    records = finish(tmp_path / "run", header)
    path = tmp_path / "run" / STORE_NAME
    data = path.read_bytes()
    last = data.rfind(b"\n", 0, -1) + 1
    path.write_bytes(data[: last + int((len(data) - last - 1) * kept)])
    assert read_store(tmp_path / "run")[1] == records[:-1]
    with reopen_store(tmp_path / "run") as (store, _, done):
        assert done == records[:-1]
        store.append(records[-1])
    assert path.read_bytes() == data


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path, header: Header) -> None:
    """`-o DIR` twice would destroy the first run's measurements."""
    finish(tmp_path / "run", header)
    before = (tmp_path / "run" / STORE_NAME).read_bytes()
    with pytest.raises(StoreError, match="holds a run already"), create_store(tmp_path / "run", header):
        pass
    assert (tmp_path / "run" / STORE_NAME).read_bytes() == before


def test_two_runs_cannot_write_the_same_store(tmp_path: Path, header: Header) -> None:
    """A second `--resume` beside a running one would interleave records."""
    with (
        create_store(tmp_path / "run", header),
        pytest.raises(StoreError, match="another run"),
        reopen_store(tmp_path / "run"),
    ):
        pass


def test_a_store_of_another_version_is_refused_by_its_number(tmp_path: Path, header: Header) -> None:
    """A later format would be misread, or end in a traceback."""
    folder = tmp_path / "run"
    folder.mkdir()
    newer = msgspec.json.decode(msgspec.json.encode(header))
    newer["version"] = 999
    newer["surprise"] = True
    (folder / STORE_NAME).write_bytes(msgspec.json.encode(newer) + b"\n")
    with pytest.raises(StoreError, match=r"format 999.*reads format 5"):
        read_store(folder)


def test_a_store_of_version_4_is_read_like_one_of_today(tmp_path: Path) -> None:
    """Measurements of an earlier version would be lost with it."""
    shutil.copy(RECORDINGS / "store-format-4.jsonl", tmp_path / STORE_NAME)
    header, records = read_store(tmp_path)
    settings = header.experiment.settings
    assert set(settings) == {"memory", "surface", "work"}
    assert find_settings(settings, "memory", memory.Settings) == memory.Settings(
        cycles=1, settle_s=3.5, boots=2
    )
    assert find_settings(settings, "work", work.Settings) == work.Settings(settle_s=3.5, transfer_mib=8)
    least = find_least(header, records, "one")
    assert least is not None and least.least_mib == 1
    assert Counter(type(record.outcome) for record in records) == {Ok: 13, Crashed: 6, Unsupported: 2}


def test_systems_of_version_4_are_read_like_those_of_today(tmp_path: Path) -> None:
    """A run of the default comparison by an earlier version could not be reported any more."""
    shutil.copy(RECORDINGS / "store-format-4-seed.jsonl", tmp_path / STORE_NAME)
    header, _ = read_store(tmp_path)
    assert [guest.system.name for guest in header.guests] == [
        *("floor", "reference-unikernel", "linux-app"),
        *("linux-minimal", "debian-12-direct", "debian-12-nocloud"),
    ]
    assert header.kit is not None and len(header.kit.works) == 5


def test_a_run_that_an_earlier_version_began_is_not_gone_on_with(tmp_path: Path) -> None:
    """Trials of two versions would end up in one comparison."""
    shutil.copy(RECORDINGS / "store-format-4.jsonl", tmp_path / STORE_NAME)
    with pytest.raises(StoreError, match=r"begun in format 4 .* goes on in format 5 only"):
        check_resumable(read_store(tmp_path)[0], tmp_path)


@pytest.mark.parametrize("was", ["", "PSS"])
def test_a_run_in_which_a_figure_was_measured_otherwise_is_not_gone_on_with(tmp_path: Path, was: str) -> None:
    """Half of a run's memory figures would be counted in one way and half in another."""
    experiment = Experiment(name="e", title="E", systems=("uk",), metrics=("boot", "memory"))
    header = make_header((make_guest(make_system("uk"), Path(__file__)),), experiment)
    here = read_host(*find_vmm(header.platform.vmm).identify())
    header = msgspec.structs.replace(header, host=here, tool=__version__)
    rows = find_metrics(experiment.metrics)
    check_resumable(msgspec.structs.replace(header, metrics=rows), tmp_path)
    rows = tuple(
        msgspec.structs.replace(row, method=was) if row.name == "memory.vmm" else row for row in rows
    )
    with pytest.raises(StoreError, match=r"begun when memory\.vmm was measured in another way"):
        check_resumable(msgspec.structs.replace(header, metrics=rows), tmp_path)


def test_settings_of_another_version_of_a_family_are_refused_by_its_name() -> None:
    """A report would end in a traceback after an update of a family from another package."""
    with pytest.raises(StoreError, match="settings of memory are not those of this version"):
        find_settings({"memory": {"gone": 1}}, "memory", memory.Settings)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ended before its first trial"),
        (b"\xff\xfe\n", "damaged"),
        (b"{}\n", "damaged"),
        (b'{"version": 1, "kind": "header"}\n', "damaged"),
        (b"[" * 100_000 + b"\n", "damaged"),
        (b'{"version":5,"kind":"header","run":"\xe0"}\n', "damaged"),
        (b'{"version":5,"kind":"header","experiment":{"platform":[]},"platform":[]}\n', "damaged"),
        (b'{"version":5,"kind":"header","experiment":' + b"[" * 100_000 + b"\n", "damaged"),
    ],
)
def test_a_damaged_store_is_one_error(tmp_path: Path, content: bytes, words: str) -> None:
    """A damaged file would end in a traceback."""
    (tmp_path / STORE_NAME).write_bytes(content)
    with pytest.raises(StoreError, match=words):
        read_store(tmp_path)


@pytest.mark.parametrize(
    ("number", "sound"),
    [(10**400, False), (2**63, False), (2**63 - 1, True)],
    ids=["huge", "large", "largest"],
)
def test_a_number_that_no_figure_has_is_refused(number: int, sound: bool, tmp_path: Path) -> None:
    """One such number in a store that was handed over would end its report in a traceback."""
    header, records = make_run()
    lines = [header, msgspec.structs.replace(records[1], marks=(Mark(name="x", t_ns=777),))]
    data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    (tmp_path / STORE_NAME).write_bytes(data.replace(b":777,", f":{number},".encode()))
    if sound:
        assert read_store(tmp_path)[1][0].marks[0].t_ns == number
    else:
        with pytest.raises(StoreError, match=r":2 is damaged: a number of \d+ digits"):
            read_store(tmp_path)


def test_a_missing_store_is_one_error(tmp_path: Path) -> None:
    """`guestbench report` on a wrong folder would end in a traceback."""
    with pytest.raises(StoreError, match="No such file"):
        read_store(tmp_path / "nowhere")


def test_a_full_disk_keeps_what_was_measured(
    tmp_path: Path, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk would leave half a line behind, or lose finished trials."""
    records = finish(tmp_path / "run", header)
    path = tmp_path / "run" / STORE_NAME
    before = path.read_bytes()
    real_write = os.write
    calls = []

    def write_some_then_fail(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real_write(descriptor, data[:20])

    with reopen_store(tmp_path / "run") as (store, _, _):
        monkeypatch.setattr(os, "write", write_some_then_fail)
        with pytest.raises(StoreError, match=r"No space left.*kept"):
            store.append(records[0])
        monkeypatch.undo()
    assert len(calls) == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize("write", [True, False])
def test_a_folder_removed_in_mid_run_is_put_back(tmp_path: Path, header: Header, write: bool) -> None:
    """A night's measurements would go with a folder that somebody tidied away."""
    folder = tmp_path / "run"
    records = finish(folder, header)
    before = (folder / STORE_NAME).read_bytes()

    def go_on() -> None:
        with reopen_store(folder) as (store, _, _):
            shutil.rmtree(folder)
            if write:
                store.append(records[0])
            raise KeyboardInterrupt

    with pytest.raises(StoreError, match="all finished trials have been put back") as caught:
        go_on()
    assert (folder / STORE_NAME).read_bytes() == before
    assert caught.value.hint == f"guestbench run --resume {folder}"
    with reopen_store(folder) as (_, again, kept):
        assert (again, kept) == (header, records)


def test_a_folder_that_cannot_be_put_back_is_one_error(tmp_path: Path, header: Header) -> None:
    """A folder that is no more would end a run in a traceback."""
    base = tmp_path / "base"
    finish(base / "run", header)

    def go_on() -> None:
        with reopen_store(base / "run"):
            shutil.rmtree(base)
            base.write_text("")

    with pytest.raises(StoreError, match="cannot be put back: Not a directory"):
        go_on()


def _renamed(header: Header, name: str) -> Header:
    first, second, *rest = header.guests
    system = msgspec.structs.replace(second.system, name=name)
    guests = (first, msgspec.structs.replace(second, system=system), *rest)
    return msgspec.structs.replace(header, guests=guests)


@pytest.mark.parametrize("kind", ["twice", "stranger", "same name", "no name"])
def test_lines_that_are_not_one_run_are_refused(kind: str, tmp_path: Path) -> None:
    """A trial would count twice, or a system have the boots of two, without a word."""
    header, records = make_run()
    lines: list[Header | Record] = [header, *records[:3]]
    stranger = msgspec.structs.replace(records[1].trial, system="stranger")
    match kind:
        case "twice":
            lines.append(records[1])
        case "stranger":
            lines[2] = msgspec.structs.replace(records[1], trial=stranger)
        case "same name":
            lines[0] = _renamed(header, header.guests[0].system.name)
        case "no name":
            lines[0] = _renamed(header, "")
    (tmp_path / "store.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    words = {"twice": ":5 .*is that of line 3", "stranger": ":3 .*none of the run's"}
    with pytest.raises(StoreError, match=words.get(kind, ":1 .*one has none")):
        read_store(tmp_path)
