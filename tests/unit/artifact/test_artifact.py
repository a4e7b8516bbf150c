"""`guestbench artifact`: what is packed is all that is needed, and what was changed in it is found."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from artifacts import LOG, NAME, RUN, copy_recorded, edit, pack, read_members, repack
from replay import write_recording

from guestbench.artifact.archive import Member, read_archive
from guestbench.artifact.derive import PAUSE_S, derive, find_times, render_script
from guestbench.artifact.page import show_time
from guestbench.artifact.parts import gather
from guestbench.artifact.summary import FEWER
from guestbench.cli import run_cli
from guestbench.host import process
from guestbench.model import Origin, Role
from guestbench.run.store import STORE_NAME, read_store

SYSTEM = """
name = "{name}"
title = "The {name} guest"
family = "unikernel"
ready = "[init done]"
timeout_s = 5
[boot]
type = "kernel"
[provision]
path = "images/{name}/serial.log"
"""
EXPERIMENT = """
name = "mine"
title = "Mine & \\"theirs\\""
systems = ["./guests/one", "./guests/two"]
metrics = ["boot"]
cycles = 4
baseline = "one"
[platform]
vmm = "fake"
[[claims]]
text = "two is ready in less than 10 s"
metric = "boot.ready"
system = "two"
most = 10
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the recorded run."""
    return copy_recorded(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def packed(recorded: Path) -> Path:
    """Its archive."""
    return pack(recorded)


@pytest.fixture
def members(packed: Path) -> dict[str, Member]:
    """What is in it, by the paths in the artifact."""
    return read_members(packed)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an experiment of two replaying guests of one's own, and its run in `run`."""
    for name, ready in (("one", 30.0), ("two", 20.0)):
        folder = tmp_path / "guests" / name
        folder.mkdir(parents=True)
        (folder / "system.toml").write_text(SYSTEM.format(name=name))
        write_recording(tmp_path / "images" / name, [(1.0, b"hello "), (ready, b"[init done]")])
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run_cli(["run", "./mine.toml", "--seed", "5", "-o", "run"]) == 0
    return tmp_path


def test_an_artifact_is_made_again_byte_for_byte(
    recorded: Path,
    packed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody could check that the figures of a paper follow from its measurements."""
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    monkeypatch.setenv("COLUMNS", "40")
    assert run_cli(["artifact", str(recorded)]) == 0
    out, err = capsys.readouterr()
    again = tmp_path / f"{NAME}.tar.gz"
    assert again.read_bytes() == packed.read_bytes()
    assert out.split() == [hashlib.sha256(again.read_bytes()).hexdigest(), again.name]
    assert "note: evidence that the store names is not there: 1 file, trials/" in err
    assert run_cli(["artifact", "--check", str(packed), "-o", "theirs"]) == 0
    assert "all the same, byte for byte" in capsys.readouterr().out
    process.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "theirs" / NAME)
    # Once it is unpacked, results of a repetition may lie beside it.
    (tmp_path / "theirs" / NAME / "again").mkdir()
    (tmp_path / "theirs" / NAME / "again" / "file").touch()
    assert run_cli(["artifact", "--check", f"theirs/{NAME}"]) == 0


def test_an_artifact_needs_no_vmm_to_be_checked(packed: Path, tmp_path: Path) -> None:
    """A reader on a laptop would have to install what they do not use."""
    bare = tmp_path / "bin"
    bare.mkdir()
    program = shutil.which("guestbench") or str(Path(sys.executable).with_name("guestbench"))
    done = process.run([program, "artifact", "--check", packed], env={"PATH": str(bare)})
    assert b"byte for byte" in done.stdout


# --- what is not packed -------------------------------------------------------------------------------


def leave_by_path(folder: Path) -> None:
    """Evidence that lies outside."""
    store = folder / STORE_NAME
    store.write_text(store.read_text().replace("trials/004-warmup-floor-1/serial.log", "../secret", 1))


def leave_by_root(folder: Path) -> None:
    """Evidence by an absolute path."""
    store = folder / STORE_NAME
    store.write_text(store.read_text().replace("trials/004-warmup-floor-1/serial.log", "/etc/passwd", 1))


def leave_by_link(folder: Path) -> None:
    """Evidence that is a link to another file."""
    (folder / LOG.removeprefix("run/")).unlink()
    (folder / LOG.removeprefix("run/")).symlink_to(folder.parent / "secret")


def leave_by_folder(folder: Path) -> None:
    """A folder of evidence that is a link."""
    (folder / "trials").rename(folder.parent / "trials")
    (folder / "trials").symlink_to(folder.parent / "trials")


def put_a_pipe(folder: Path) -> None:
    """Evidence that is a pipe, to read which is to wait for ever."""
    os.mkfifo(folder / "trials" / "pipe")


def put_a_name(folder: Path) -> None:
    """Evidence with a name that no archive holds."""
    (folder / "trials" / "l\u00e4rm").touch()


def rename_the_run(folder: Path) -> None:
    """A run whose name leads elsewhere."""
    store = folder / STORE_NAME
    store.write_text(store.read_text().replace(f'"run":"{NAME}"', '"run":"../../evil"', 1))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (leave_by_path, "evidence ../secret, which leads out of its folder"),
        (leave_by_root, "evidence /etc/passwd, which leads out of its folder"),
        (leave_by_link, "serial.log in it cannot be read"),
        (leave_by_folder, "trials in it is a link"),
        (put_a_pipe, "pipe in it is no regular file"),
        (put_a_name, "is not made of the printable characters of ASCII"),
        (rename_the_run, "a name that cannot be that of a file: ../../evil"),
    ],
)
def test_nothing_outside_of_the_run_is_packed(
    harm: Callable[[Path], None],
    words: str,
    recorded: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever packs a run that they were given could publish a file of their own machine."""
    folder = Path(shutil.copytree(recorded, tmp_path / "run"))
    (tmp_path / "secret").write_text("secret")
    harm(folder)
    assert run_cli(["artifact", str(folder), "-o", str(tmp_path / "x.tar.gz")]) == 2
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error.startswith("error: ") and words in error
    assert hint.startswith("hint: ls -lR ")
    assert not (tmp_path / "x.tar.gz").exists()


def test_what_is_no_part_of_a_run_is_left_out_and_told(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Notes and keys that lie in the folder would be published with it."""
    folder = Path(shutil.copytree(recorded, tmp_path / "run"))
    (folder / "notes.txt").write_text("my password")
    path = tmp_path / "x.tar.gz"
    assert run_cli(["artifact", str(folder), "-o", str(path)]) == 0
    assert "note: left out, since no part of a run: notes.txt" in capsys.readouterr().err
    assert not [name for name, each in read_archive(path) if "notes" in name or b"password" in each.data]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["nowhere"], 3),
        (["--check", "nowhere"], 2),
        (["--check", "{packed}", "-o", "."], 2),
        (["nowhere", "-o", "x.tar.xz"], 2),
        (["--check", "."], 3),
    ],
)
def test_slips_of_the_hand_are_one_error_line_and_a_hint(
    words: list[str],
    status: int,
    packed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A wrong path would end in a traceback."""
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run_cli(["artifact", *(word.format(packed=packed) for word in words)]) == status
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and hint.startswith("hint: ")


def test_a_damaged_store_is_named_by_its_archive(
    members: dict[str, Member], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reader would be sent to a folder that is gone."""
    edit("run/store.jsonl", '"kind":"record"', '"kind":')(members)
    path = repack(tmp_path, members)
    capsys.readouterr()
    assert run_cli(["artifact", "--check", str(path)]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {path}/{NAME}/run/store.jsonl:2 is damaged")
    assert hint == f"hint: guestbench artifact --check {shlex.quote(str(path))} -o unpacked"


# --- what it says, and what it does again -------------------------------------------------------------


def test_the_page_says_what_a_committee_asks(members: dict[str, Member]) -> None:
    """Whoever has to judge an artifact would look for the claims, the time and the needs in vain."""
    page = members["README.md"].data.decode()
    assert "| the small kernel is not slower than a library operating system" in page
    assert "| undecided" in page and "| refuted" in page
    assert "The run took 45 s from its first trial to its last." in page
    assert re.search(r"With `--cycles 3` it would have taken about 17 s", page)
    assert (
        "What these are built from is not in here, so whoever made them has to pass them on: hello." in page
    )
    assert "sh reproduce.sh -o again --system hello=PATH" in page
    assert "36f3499780fac8fa55c51dfd7fbaaff3013ae28cb3fdbf27d2261b92425733e6" in page
    assert "This was packed on another host than the one that measured." in page or "was packed where" in page
    summary = json.loads(members["artifact.json"].data)
    assert [claim["ruling"] for claim in summary["claims"]] == ["undecided", "refuted"]
    assert {image["how"] for image in summary["images"] if image["system"] == "floor"} == {
        "built by the run itself where it is not there"
    }


def test_time_in_which_a_run_stood_still_is_no_part_of_its_time() -> None:
    """A run that was interrupted overnight would be said to take a day."""
    _, records = read_store(RUN)
    whole = find_times(records)
    assert sum(each.wall_s for each in whole.trials) <= whole.elapsed_s
    late = [
        msgspec.structs.replace(
            each, started=each.started.replace("T02:3", "T12:3").replace("T02:29", "T12:29")
        )
        for each in records[20:]
    ]
    split = find_times((*records[:20], *late))
    assert 10 * 3600 - 60 < split.paused_s < 10 * 3600 + 60
    assert abs(split.elapsed_s + split.paused_s - whole.elapsed_s - 10 * 3600) < 0.01
    assert whole.paused_s == 0 < PAUSE_S
    assert find_times(()).elapsed_s == 0


def test_fewer_blocks_spare_their_trials_and_nothing_else() -> None:
    """A committee would plan for minutes what takes hours: only boots in blocks follow --cycles."""
    header, records = read_store(RUN)
    whole = find_times(records)
    made = find_times([record for record in records if record.trial.block <= FEWER])
    assert whole.fewer_s == pytest.approx(made.elapsed_s, rel=0.5)
    assert made.fewer_s is None
    blocks = [record for record in records if record.trial.block]
    beside = [
        msgspec.structs.replace(each, trial=msgspec.structs.replace(each.trial, block=0)) for each in blocks
    ]
    assert header.experiment.cycles > FEWER and find_times(beside).fewer_s is None


@pytest.mark.parametrize(
    ("seconds", "shown"), [(39.2, "39 s"), (120, "2 min"), (5300, "88 min"), (8000, "2 h 13 min")]
)
def test_times_are_said_as_people_say_them(seconds: float, shown: str) -> None:
    """A reader would have to reckon how long 8000 s are."""
    assert show_time(seconds) == shown


def type_script(folder: Path, script: str, *words: str, environment: str = "") -> list[str]:
    """The commands of guestbench that a script types."""
    (folder / "bin").mkdir(exist_ok=True)
    for name in ("guestbench", "qemu-system-x86_64"):
        (folder / "bin" / name).write_text(f'#!/bin/sh\necho "$@" >> "{folder}/said"\n')
        (folder / "bin" / name).chmod(0o755)
    (folder / "said").unlink(missing_ok=True)
    (folder / "it").mkdir(exist_ok=True)
    (folder / "it" / "reproduce.sh").write_text(script)
    path = f"PATH={folder / 'bin'}:/usr/bin:/bin"
    process.run(["env", path, *environment.split(), "sh", "it/reproduce.sh", *words], cwd=folder)
    return (folder / "said").read_text().splitlines()


def test_the_script_comes_by_images_as_the_run_did(recorded: Path, tmp_path: Path) -> None:
    """Another image, or another way to have it, would be taken for the one that was measured."""
    parts = gather(recorded)
    floor, *others = parts.header.guests
    fetch = {"url": "https://example.org/a", "sums_url": "https://example.org/b"}
    fetched = msgspec.structs.replace(
        floor,
        system=msgspec.convert(
            {**msgspec.to_builtins(floor.system), "name": "debian", "provision": {"fetch": fetch}},
            type(floor.system),
        ),
        origin=Origin(kind="fetched", detail="official image"),
    )
    header = msgspec.structs.replace(parts.header, guests=(floor, *others, fetched))
    script = render_script(parts._replace(header=header, strangers=parts.strangers | {"debian"}))
    run = "run it/experiment.toml --images-of it/run -o x"
    assert type_script(tmp_path, script, "-o", "x") == ["systems fetch it/guests/debian", run]
    given = ("-o", "x", "--system", "debian=a.img")
    assert type_script(tmp_path, script, *given) == [f"{run} --system debian=a.img"]
    loose = type_script(tmp_path, script, *given, environment="OTHER_IMAGES=yes")
    assert loose == ["run it/experiment.toml -o x --system debian=a.img"]
    assert floor.pristine[Role.KERNEL].sha256 in script
    assert not re.search(r"/srv/|cache/", script)


@pytest.mark.parametrize("recording", ["store-format-4.jsonl", "store-format-4-seed.jsonl"])
def test_old_runs_can_be_packed_too(recording: str, tmp_path: Path) -> None:
    """A paper's run would have to be made anew for its artifact."""
    (tmp_path / "run").mkdir()
    shutil.copy(RUN.parent / recording, tmp_path / "run" / STORE_NAME)
    path = tmp_path / "x.tar.gz"
    assert run_cli(["artifact", str(tmp_path / "run"), "-o", str(path)]) == 0
    assert run_cli(["artifact", "--check", str(path)]) == 0


def test_a_run_of_own_guests_is_made_again_from_its_artifact(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An artifact would need the folders of the machine that measured."""
    assert run_cli(["artifact", "run", "-o", "mine.tar.gz"]) == 0
    header, records = read_store(project / "run")
    assert run_cli(["artifact", "--check", "mine.tar.gz", "-o", "away/it"]) == 0
    (root,) = (project / "away/it").iterdir()
    assert all((root / "run" / path).is_file() for record in records for path in record.artifacts.values())
    (project / "guests").rename(project / "gone")
    (project / "mine.toml").unlink()
    again = ["run", str(root / "experiment.toml"), "--images-of", str(root / "run"), "-o", "again"]
    assert run_cli(again) == 0
    repeated, _ = read_store(project / "again")
    assert [each.id for each in repeated.trials] == [each.id for each in header.trials]
    assert repeated.systems == header.systems
    assert repeated.experiment.seed == 5
    assert repeated.experiment.claims == header.experiment.claims
    assert repeated.experiment.title == header.experiment.title
    # Another image is another experiment.
    write_recording(project / "images" / "two", [(1.0, b"hullo "), (20.0, b"[init done]")])
    capsys.readouterr()
    assert run_cli([*again[:-1], "other"]) == 2
    error, hint = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith(("error", "hint"))
    ]
    assert "system two is not as it was in run" in error
    assert run_cli(shlex.split(hint.removeprefix("hint: guestbench "), comments=True)) == 0


def test_no_text_of_a_run_is_a_command_of_its_script(recorded: Path, tmp_path: Path) -> None:
    """Whoever repeats a stranger's run would type what the stranger likes."""
    hostile = "x\ntouch owned\n`touch owned` $(touch owned) '"
    parts = gather(recorded)
    (image,) = parts.header.guests[0].pristine.values()
    changed = msgspec.structs.replace(image, sha256=hostile, path=hostile)
    guest = msgspec.structs.replace(parts.header.guests[0], pristine={Role.KERNEL: changed})
    host = msgspec.structs.replace(parts.header.host, cpu_model=hostile, os=hostile)
    header = msgspec.structs.replace(parts.header, guests=(guest,), host=host, created=hostile, tool=hostile)
    type_script(tmp_path, render_script(parts._replace(header=header)))
    assert not (tmp_path / "owned").exists()


def test_a_version_of_a_guest_of_the_catalogue_is_built_by_its_recipe(recorded: Path, tmp_path: Path) -> None:
    """Versions that `guestbench ab` has measured could not be had again."""
    folder = Path(shutil.copytree(recorded, tmp_path / "run"))
    store = folder / STORE_NAME
    store.write_text(
        store.read_text()
        .replace('"name":"floor"', '"name":"old"')
        .replace('"system":"floor"', '"system":"old"')
    )
    parts = gather(folder)
    assert parts.strangers == {"old", "hello"}
    assert parts.environment.sources == ("old",)
    assert "guests/old/floor.S" in parts.kept
    assert (
        b'systems = ["./guests/old", "./guests/hello", "reference-unikernel"]'
        in derive(parts)["experiment.toml"].data
    )
