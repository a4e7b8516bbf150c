"""The programs that guests are given: compiled, put on a disk, and tried on this host."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from factories import make_guest, make_header, make_system
from work_factories import (
    CPU,
    MERKLE,
    begin_line,
    end_line,
    make_experiment,
    make_kit,
    make_kit_work,
    make_work_systems,
)

from guestbench import provision
from guestbench.cli import run_cli
from guestbench.cli.talk import as_typed
from guestbench.definition.decode import find_mistakes
from guestbench.definition.rules import meanings
from guestbench.definition.workloads import WORKLOADS, list_workloads, load_workload
from guestbench.errors import DefinitionError, HostError, ToolFailed, ToolMissing, UsageError
from guestbench.families import find_metrics
from guestbench.families.net import FAMILY as NET
from guestbench.families.work import Settings
from guestbench.host import process
from guestbench.model import Image, Kernel, Kit, Needs, ProgramLoad, Role, ShellWork, Workload, find_settings
from guestbench.provision import kit as kits
from guestbench.provision import programs
from guestbench.provision.cache import read_image
from guestbench.provision.initramfs import DRIVERS_NAME
from guestbench.run import prepare
from guestbench.run.request import Request


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that is empty at first, which the tests of this module fill together."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _in_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def needs(*names: str) -> None:
    """Skip where this host lacks one of these programs."""
    for name in names:
        try:
            process.find_tool(name)
        except ToolMissing as missing:
            pytest.skip(missing.message)


def small(name: str, *arguments: str) -> Workload:
    """A workload with these arguments, which take no time."""
    return msgspec.structs.replace(load_workload(name), arguments=arguments)


SMALL = {
    "cpu": ("cpu", "limit=100", "events=3"),
    "memory": ("memory", "parts=write:4K:64K,read:4K:64K"),
    "merkle": ("commits=3",),
}


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workloads are so small that they take no time on this host."""
    loaded = load_workload
    monkeypatch.setattr(
        kits,
        "load_workload",
        lambda name: msgspec.structs.replace(loaded(name), arguments=SMALL.get(name, ())),
    )


def make(names: tuple[str, ...]) -> tuple[Kit, list[str]]:
    """A kit, and what was said while it was made."""
    said: list[str] = []
    return kits.prepare_kit(Needs(workloads=names), said.append), said


@pytest.mark.usefixtures("brief")
def test_a_kit_has_programs_their_results_and_a_disk_and_is_made_once(cache: Path) -> None:
    """Guests would run other programs than the host, or each run compile them anew."""
    needs("gcc", "mke2fs", "debugfs")
    kit, said = make(("cpu", "memory"))
    assert any("compiling the workload program guestwork with gcc-" in line for line in said)
    cpu, memory = kit.works
    assert cpu.program == memory.program == kit.server and kit.disk is not None
    (report,) = cpu.expected
    assert (report.workload, report.done, report.parameters["limit"]) == ("cpu", 3, "100")
    assert re.fullmatch("[0-9a-f]{16}", report.source) and report.compiler.startswith("gcc-")
    assert [r.parameters["op"] for r in memory.expected] == ["write", "read"]
    listed = process.run(["debugfs", "-R", "ls -p /", kit.disk.path]).stdout.decode()
    (line,) = (line for line in listed.splitlines() if "/guestwork/" in line)
    _, _, mode, user, group, name, size, _ = line.split("/")
    assert (mode, user, group, name) == ("100755", "0", "0", "guestwork")
    assert kit.server is not None and int(size) == kit.server.size_bytes
    again, said = make(("cpu", "memory"))
    assert said == []
    assert again.disk == kit.disk and again.server == kit.server
    assert Path(kit.disk.path).is_relative_to(cache)


@pytest.mark.usefixtures("brief")
def test_an_ocaml_program_is_on_the_disk_beside_the_other() -> None:
    """A guest would not find the program of option A on its tools disk."""
    needs("gcc", "mke2fs", "debugfs", "ocamlopt", "strip")
    kit, _ = make(("merkle",))
    (report,) = kit.works[0].expected
    assert (report.workload, report.done, report.compiler.partition("-")[0]) == ("merkle", 3, "ocaml")
    assert kit.disk is not None
    listed = process.run(["debugfs", "-R", "ls -p /", kit.disk.path]).stdout.decode()
    assert "/merkle/" in listed and "/guestwork/" in listed


@pytest.mark.usefixtures("brief")
def test_a_program_that_cannot_be_built_is_told_and_the_others_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host without OCaml could measure no work at all."""
    needs("gcc", "mke2fs")
    find = process.find_tool

    def without_ocaml(name: str) -> Path:
        if name == "ocamlopt":
            raise ToolMissing("ocamlopt is not installed", "apt-get install ocaml-nox")
        return find(name)

    monkeypatch.setattr(process, "find_tool", without_ocaml)
    kit, _ = make(("cpu", "merkle", "irmin"))
    cpu, merkle, irmin = kit.works
    assert cpu.program is not None and kit.disk is not None
    assert (merkle.program, merkle.expected) == (None, ())
    assert merkle.missing == (
        "there is no program for it: ocamlopt is not installed (mended by: apt-get install ocaml-nox)"
    )
    assert irmin.program is None
    assert "guestbench systems build mirage-unikraft" in irmin.missing


def test_a_host_without_gcc_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error would be about a file that is not there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="gcc is not installed") as caught:
        kits.prepare_kit(Needs(), lambda _: None)
    assert caught.value.hint == "apt-get install gcc"


def test_a_program_that_nothing_builds_is_told() -> None:
    """A new workload file with another program would end with a traceback."""
    with pytest.raises(HostError, match="nothing builds a program sieve"):
        programs.build_program("sieve", lambda _: None)


def test_sources_are_told_by_their_contents_alone(tmp_path: Path) -> None:
    """The same sources in another folder would count as other work."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.c").write_text("int main;")
        (tmp_path / folder / "y.h").write_text("")
    digests = [
        programs.source_digest(sorted((tmp_path / folder).iterdir(), reverse=folder == "b"))
        for folder in ("a", "b")
    ]
    assert digests[0] == digests[1] and re.fullmatch("[0-9a-f]{16}", digests[0])
    (tmp_path / "a" / "x.c").write_text("int main_;")
    assert programs.source_digest(sorted((tmp_path / "a").iterdir())) != digests[0]
    assert {"main.c", "guestwork.h"} <= set(programs.program_sources("guestwork"))
    assert {"bench.ml", "merkle_store.ml"} <= set(programs.program_sources("merkle"))


# --- the run on the host --------------------------------------------------------------------------------


def script(folder: Path, text: str) -> Image:
    """A program that is a shell script."""
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return read_image(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo done", ("workload cpu", "reports no work")),
        (f"cat <<'.'\n{begin_line('cpu')}.", ("workload cpu", "reports no work")),
        (
            f"cat <<'.'\n{begin_line('sqlite')}{end_line('sqlite')}.",
            ("workload cpu", "work of another, 'sqlite'"),
        ),
        ("echo 'error: no such workload' >&2; exit 2", ("error: no such workload",)),
    ],
)
def test_a_program_that_reports_nothing_on_the_host_is_an_error_that_names_it(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    """Guests would be judged by a result that nobody has, and all be called wrong."""
    with pytest.raises(HostError) as caught:
        kits.run_on_host(script(tmp_path, text), CPU)
    assert all(word in caught.value.message for word in words)
    if not isinstance(caught.value, ToolFailed):
        assert caught.value.hint.endswith("program cpu events=1200")


def test_what_the_program_reports_on_the_host_is_what_guests_must_report(tmp_path: Path) -> None:
    """The parameters or the digest that guests are judged by would be others."""
    text = begin_line("cpu", limit=100) + end_line("cpu", done=5, digest="ab" * 16)
    (report,) = kits.run_on_host(script(tmp_path, f"cat <<'.'\n{text}."), CPU)
    assert (report.done, report.digest, report.parameters) == (5, "ab" * 16, {"limit": "100"})


# --- disks ----------------------------------------------------------------------------------------------


def test_drivers_are_added_to_an_initial_ramdisk_once(tmp_path: Path) -> None:
    """A guest without drivers of its own would not see the tools disk."""
    initrd = tmp_path / "initrd.gz"
    initrd.write_bytes(b"first")
    said: list[str] = []
    assert kits.add_drivers(read_image(initrd), said.append) is None
    (tmp_path / DRIVERS_NAME).write_bytes(b"second")
    added = kits.add_drivers(read_image(initrd), said.append)
    assert added is not None and Path(added.path).read_bytes() == b"firstsecond"
    assert kits.add_drivers(read_image(initrd), said.append) == added and len(said) == 1
    system = make_system("linux", boot=Kernel(initrd=True))
    for work, path in (
        (ShellWork(drivers=True), added.path),
        (ShellWork(), str(initrd)),
        (None, str(initrd)),
    ):
        guest = make_guest(msgspec.structs.replace(system, work=work))
        guest = msgspec.structs.replace(guest, images={**guest.images, Role.INITRD: read_image(initrd)})
        assert provision.with_drivers(guest).images[Role.INITRD].path == path


# --- what a run prepares --------------------------------------------------------------------------------

Asked = list[Needs]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The kits that are asked for."""
    found: Asked = []

    def prepare_kit(needs: Needs, _: object) -> Kit:
        found.append(needs)
        return make_kit()

    monkeypatch.setattr(provision, "prepare_kit", prepare_kit)
    return found


@pytest.mark.parametrize(
    ("families", "system", "load_", "names"),
    [
        (["work"], "debian", False, ("cpu",)),
        (["work", "net"], "debian", False, ("cpu",)),
        (["net"], "debian", False, ()),
        (["memory"], "debian", True, ()),
        (["memory"], "debian", False, None),
        (["boot"], "debian", True, None),
        (["work", "net"], "floor", False, None),
    ],
)
def test_a_kit_is_made_only_where_guests_are_given_work(
    families: list[str], system: str, load_: bool, names: tuple[str, ...] | None, asked: Asked
) -> None:
    """A run of boots would need gcc, or a run of work have no programs."""
    experiment = msgspec.structs.replace(
        make_experiment(workloads=("cpu",)), metrics=tuple(map(str, families))
    )
    found = next(each for each in make_work_systems() if each.name == system)
    if load_:
        found = msgspec.structs.replace(found, load=ProgramLoad(arguments=("memory",)))
    header = make_header([make_guest(found)])
    header = msgspec.structs.replace(header, experiment=experiment)
    kit = prepare._prepare_kit(header, lambda _: None)
    assert asked == ([] if names is None else [Needs(workloads=names)])
    assert (kit is None) == (names is None)


def test_every_figure_of_work_has_a_row_in_the_metric_table() -> None:
    """A figure would be in the report without its unit and without saying what it is."""
    kit = make_kit(make_kit_work(CPU), make_kit_work(MERKLE))
    both = ("work", "net")
    rows = {metric.name: metric for metric in find_metrics(both, kit)}
    net = {metric.name for metric in NET.metrics}
    assert set(rows) == {"work.cpu", "work.merkle", "work.time", *net}
    assert (rows["work.cpu"].unit, rows["work.cpu"].title) == ("events/s", "CPU: primes")
    checks = {metric.name for metric in find_metrics(both, make_kit(checks=("x",)))}
    assert "check.sysbench_cpu" in checks and "check.iperf3_out" in checks
    assert find_metrics((), kit) == ()
    assert find_metrics(both, None) == ()
    assert all(metric.help for metric in rows.values())


def test_settings_of_work_on_the_command_line_change_the_experiment() -> None:
    """`--set` would do nothing, or forget what the experiment says of the same table."""
    request = Request(experiment="work", settings={"work": {"cycles": 7, "workloads": ("memory", "cpu")}})
    changed = prepare.adjust(make_experiment(transfer_mib=3), request).settings
    expected = Settings(cycles=7, workloads=("memory", "cpu"), transfer_mib=3)
    assert find_settings(changed, "work", Settings) == expected


# --- workload files and the command line ----------------------------------------------------------------


@pytest.mark.parametrize("name", list_workloads())
def test_every_workload_of_the_package_loads(name: str) -> None:
    """A release would come with a workload that cannot be loaded."""
    workload = load_workload(name)
    assert workload.name == name and workload.help
    assert re.fullmatch("[a-z][a-z0-9-]*", name), "the contract's lines could not name it"


def test_an_unknown_workload_names_the_nearest() -> None:
    """A typing mistake would end with no hint at what there is."""
    with pytest.raises(UsageError, match='unknown workload "cpuu"') as caught:
        load_workload("cpuu")
    assert "did you mean cpu?" in caught.value.message and caught.value.hint == "guestbench workloads"


WORKLOAD = {"name": "x", "title": "X", "program": "p", "metric": "work.x", "unit": "events"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"arguments": ["cpu", "parts=write:1M:4G,read:1K:4G", "-x_/+.9"]}, ""),
        ({"arguments": ["; reboot"]}, "arguments #1: letters, digits and the characters"),
        ({"arguments": ["$(reboot)"]}, "arguments #1: letters"),
        ({"arguments": ["a b"]}, "arguments #1: letters"),
        ({"arguments": [""]}, "arguments #1: letters"),
        ({"program": "../init"}, 'program: "../init" cannot be a name'),
        ({"title": " "}, "title: must not be empty"),
        ({"unit": ""}, "unit: must not be empty"),
        ({"metric": "a b"}, 'metric: "a b" cannot be a name'),
        ({"timeout_s": 0}, "timeout_s: more than 0 seconds"),
        ({"labls": []}, "labls"),
        ({"name": 3}, "name: text is needed"),
    ],
)
def test_a_workload_file_is_checked(change: dict[str, object], problem: str) -> None:
    """An argument would be run by the shell of every guest, or end up in a kernel's command line."""
    found = find_mistakes({**WORKLOAD, **change}, Workload, meanings())
    assert (not found) if not problem else any(problem in each for each in found), found


def test_a_workload_file_is_named_as_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workload would be listed by one name and run by another."""
    text = (WORKLOADS / "cpu.toml").read_text()
    (tmp_path / "primes.toml").write_text(text)
    (tmp_path / "cpu.toml").write_text(text)
    monkeypatch.setattr("guestbench.definition.workloads.WORKLOADS", tmp_path)
    with pytest.raises(DefinitionError, match='name: must be the file\'s name, "primes"'):
        load_workload("primes")


Capture = pytest.CaptureFixture[str]


def test_workloads_are_listed_with_the_systems_that_can_do_them(capsys: Capture) -> None:
    """Nobody could find out what `--set work.workloads=` takes."""
    assert run_cli(["workloads"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(list_workloads())
    assert run_cli(["workloads", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["cpu"]["unit"] == "events/s"
    assert "mirage-unikraft" in entries["merkle"]["systems"]
    assert "mirage-unikraft" not in entries["cpu"]["systems"]
    assert "floor" not in str(entries)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "seed", "--set", "work.workloads=cpuu"], 'unknown workload "cpuu"; did you mean cpu?'),
        (["run", "seed", "--set", "work.workloads=cpu,cpu"], '"cpu" is named 2 times'),
        (["run", "seed", "--set", "work.cycles=0"], "--set work.cycles: at least 1 is needed, found 0"),
        (["run", "--resume", "there", "--set", "work.workloads=cpu"], "takes no other setting"),
        (["run", "--resume", "there", "--set", "work.cycles=2"], "takes no other setting"),
    ],
)
def test_mistakes_in_settings_of_work_are_told(arguments: list[str], text: str, capsys: Capture) -> None:
    """A run would begin with other work than was asked for."""
    assert run_cli(arguments) == 2
    said = capsys.readouterr().err
    assert text in said and "hint: " in said and "Traceback" not in said


def test_the_hint_at_the_workloads_is_as_the_user_typed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint would not work where guestbench is not on the PATH."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert as_typed("guestbench workloads", "./bin/guestbench") == "./bin/guestbench workloads"
