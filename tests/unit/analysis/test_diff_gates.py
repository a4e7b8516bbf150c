"""Gates of `guestbench diff`: how they are written, when they fail and when not, and the command's status."""

from __future__ import annotations

import json
import math
import re
import resource
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diff_speed
import msgspec
import numpy as np
import pytest
import yaml
from diff_factories import TEN, Run, diff_boots, make_boots, scale, states, with_metric
from documents import ROOT, blocks, parse
from factories import make_record

from guestbench.analysis.diff import diff_runs
from guestbench.analysis.gate import GateState, parse_gate
from guestbench.analysis.summary import find_metric
from guestbench.cli import run_cli
from guestbench.errors import UsageError
from guestbench.families import find_metrics
from guestbench.model import Crashed, Gap, Sample, Trial
from guestbench.report.diff import DiffDocument, describe_diff
from guestbench.report.terminal import render_lines
from guestbench.run.store import STORE_NAME

replace = msgspec.structs.replace


# --- gates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "system", "metric", "labels", "above", "bound"),
    [
        ("boot.ready>5%", "", "boot.ready", {}, True, 0.05),
        (" uk : boot.ready > +2.5 % ", "uk", "boot.ready", {}, True, 0.025),
        ("debian-12-direct:work.cpu<-3%", "debian-12-direct", "work.cpu", {}, False, -0.03),
        ("memory.touched{state=idle}>5%", "", "memory.touched", {"state": "idle"}, True, 0.05),
        (
            "work.memory{block=1024, op=read}<0%",
            "",
            "work.memory",
            {"op": "read", "block": "1024"},
            False,
            0.0,
        ),
    ],
)
def test_gates_are_read(
    text: str, system: str, metric: str, labels: dict[str, str], above: bool, bound: float
) -> None:
    """A documented gate would be refused, or mean something else."""
    gate = parse_gate(text)
    assert (gate.system, gate.metric, gate.labels, gate.above) == (system, metric, labels, above)
    assert gate.bound == pytest.approx(bound)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "boot.ready",
        "boot.ready>=5%",
        "boot.ready>-5%",
        "work.cpu<5%",
        "work.cpu<-100%",
        "ready>5%",
        "boot.ready{state}>5%",
        "a.b{x=1,x=2}>5%",
        "boot.ready>5%%",
    ],
)
def test_malformed_gates_are_refused(text: str) -> None:
    """A gate with a slip of the pen would let everything pass."""
    with pytest.raises(UsageError, match="--fail-on"):
        parse_gate(text)


@pytest.mark.parametrize(
    ("new", "state"),
    [
        (scale(TEN, 1.2), "failed"),
        (scale(TEN, 1.1), "failed"),
        (scale(TEN, 1.09), "inconclusive"),
        (scale(TEN, 1.0), "inconclusive"),
        (scale(TEN, 0.9), "passed"),
        (scale(TEN, 0.8), "passed"),
        ([1.4, 0.9, 1.0, 1.3, 0.8], "inconclusive"),
        ([1.2], "inconclusive"),
        ([0.0] * 10, "failed"),
    ],
)
def test_a_gate_fails_where_the_data_show_it(new: list[float], state: str) -> None:
    """A regression would pass, or noise stop a good change."""
    assert states(diff_boots({"uk": TEN}, {"uk": new}, "boot.ready>5%")) == {"uk": state}


def test_one_of_many_comparisons_needs_more_to_fail() -> None:
    """Whoever looks through twelve systems for the one that got slower would find one by chance."""
    gate = "boot.ready>1%"
    assert states(diff_boots({"s0": TEN}, {"s0": scale(TEN, 1.12)}, gate)) == {"s0": "failed"}
    names = [f"s{n}" for n in range(12)]
    found = diff_boots(dict.fromkeys(names, TEN), dict.fromkeys(names, scale(TEN, 1.12)), gate)
    assert set(states(found).values()) == {"inconclusive"}
    assert found.decisions[0].reason == "beyond the bound, but the interval holds no change"


def test_a_rate_has_a_gate_of_its_own_direction() -> None:
    """A rate that falls would be taken for a time that falls."""
    old = with_metric(make_boots({"uk": TEN}), "work.cpu", [x * 100 for x in TEN])
    new = with_metric(make_boots({"uk": TEN}), "work.cpu", [x * 80 for x in TEN])
    gates = [parse_gate(text) for text in ("work.cpu<-5%", "work.cpu>5%")]
    assert [d.state for d in diff_runs([old], [new], gates).decisions] == [GateState.FAILED, GateState.PASSED]
    assert [d.state for d in diff_runs([new], [old], gates).decisions] == [GateState.PASSED, GateState.FAILED]
    assert "which is worse" in render_lines(describe_diff(diff_runs([old], [new])))


def test_a_gate_may_name_what_is_not_compared_else() -> None:
    """Nobody could have a gate on a milestone."""
    assert not find_metric(make_boots({"uk": TEN})[0], "boot.mark").compared
    old = with_metric(make_boots({"uk": TEN}), "boot.mark", TEN, mark="kernel")
    new = with_metric(make_boots({"uk": TEN}), "boot.mark", scale(TEN, 1.5), mark="kernel")
    found = diff_runs([old], [new], [parse_gate("boot.mark>5%")])
    assert [(d.labels, d.state) for d in found.decisions] == [({"mark": "kernel"}, GateState.FAILED)]
    assert len(diff_runs([old], [new]).changes) == 1


def test_a_gate_without_labels_means_the_whole() -> None:
    """A gate on the size of the files would be one on each of them as well."""
    run = with_metric(make_boots({"uk": TEN}), "image.file", [100.0])
    both = with_metric(run, "image.file", [60.0], role="kernel")
    gates = [parse_gate("image.file>0%"), parse_gate("image.file{role=kernel}>0%")]
    assert [d.labels for d in diff_runs([both], [both], gates).decisions] == [{}, {"role": "kernel"}]


def test_a_gate_about_nothing_is_refused() -> None:
    """A gate on a metric that is never there would pass for ever."""
    for gate in ("boot.redy>5%", "uk2:boot.ready>5%", "memory.touched{state=idel}>5%"):
        with pytest.raises(UsageError, match="is about nothing that both runs have; there are boot"):
            diff_boots({"uk": TEN}, {"uk": TEN}, gate)


def test_a_gate_on_what_is_gone_decides_nothing_or_fails() -> None:
    """A guest that can no longer do its work would pass the gate on it."""
    old = with_metric(make_boots({"uk": TEN}), "net.echo", TEN)
    header, records = make_boots({"uk": TEN}, "new")
    gates = [parse_gate("net.echo>5%")]
    gaps = tuple(replace(r, gaps=(Gap(metric="net.echo", reason="it does not listen"),)) for r in records)
    (decision,) = diff_runs([old], [(header, gaps)], gates).decisions
    assert (decision.state, decision.reason) == (
        GateState.INCONCLUSIVE,
        "NEW has no value: it does not listen",
    )
    failed = tuple(replace(r, outcome=Crashed(reason="panic"), samples=()) for r in records)
    (decision,) = diff_runs([old], [(header, failed)], gates).decisions
    assert decision.state is GateState.FAILED
    assert decision.reason == "NEW has no value: all 10 trials failed: panic"


def with_facts(run: Run, **ports: int) -> Run:
    """The run with a trial of each of these systems that found so many open ports."""
    header, records = run
    row = next(row for row in find_metrics(("surface",)) if row.name == "surface.open_tcp")
    more = []
    for system, count in ports.items():
        trial = Trial(
            id=f"surface-{system}", system=system, purpose="surface", block=0, cycle=1, definition=""
        )
        more.append(make_record(trial, [Sample(metric=row.name, value=count)]))
    trials = (*header.trials, *(record.trial for record in more))
    return replace(header, metrics=(*header.metrics, row), trials=trials), (*records, *more)


@pytest.mark.parametrize(
    ("old", "new", "gate", "state"),
    [
        (1, 2, "surface.open_tcp>0%", "failed"),
        (2, 2, "surface.open_tcp>0%", "passed"),
        (2, 1, "surface.open_tcp>0%", "passed"),
        (0, 2, "surface.open_tcp>500%", "failed"),
        (0, 0, "surface.open_tcp>0%", "passed"),
        (2, 0, "surface.open_tcp>0%", "passed"),
        (2, 0, "surface.open_tcp<-50%", "failed"),
        (0, 2, "surface.open_tcp<-50%", "passed"),
        (5, 5, "surface.open_tcp>0", "failed"),
        (5, 0, "uk:surface.open_tcp>0", "passed"),
        (5, 3, "surface.open_tcp>3ports", "passed"),
        (5, 3, "surface.open_tcp<4 ports", "failed"),
        (None, 3, "surface.open_tcp>0", "failed"),
    ],
)
def test_facts_and_values_have_gates(old: int | None, new: int, gate: str, state: str) -> None:
    """A port that a commit opens would pass, above all where there was none before."""
    before, after = make_boots({"uk": TEN}), with_facts(make_boots({"uk": TEN}, "new"), uk=new)
    if old is not None:
        before = with_facts(before, uk=old)
    found = diff_runs([before], [after], [parse_gate(gate)])
    assert states(found) == {"uk": state}
    assert "surface.open_tcp" in render_lines(describe_diff(found))


@pytest.mark.parametrize(
    ("metric", "old", "new"), [("image.file", 0.0, 5000.0), ("memory.touched", 0.0, 50.0)]
)
def test_a_rise_from_nothing_fails(metric: str, old: float, new: float) -> None:
    """A size that was 0 could grow without bound, for it grows by no percentage."""
    runs = [with_metric(make_boots({"uk": TEN}), metric, [value] * 10) for value in (old, new)]
    gates = [parse_gate(f"{metric}{change}") for change in (">900%", "<-5%")]
    assert [d.state.value for d in diff_runs([runs[0]], [runs[1]], gates).decisions] == ["failed", "passed"]
    assert [d.state.value for d in diff_runs([runs[1]], [runs[0]], gates).decisions] == ["passed", "failed"]
    assert [d.state.value for d in diff_runs([runs[0]], [runs[0]], gates).decisions] == ["passed", "passed"]


@pytest.mark.parametrize(
    ("gate", "state"),
    [
        ("boot.ready>900ms", "failed"),
        ("boot.ready>0.9s", "failed"),
        ("boot.ready>2000 ms", "passed"),
        ("boot.ready>1s", "inconclusive"),
        ("boot.ready<1.1s", "failed"),
        ("boot.ready<500ms", "passed"),
    ],
)
def test_a_value_is_held_against_a_bound_by_its_interval(gate: str, state: str) -> None:
    """A median that is over a bound by luck would stop a commit, or one that is under it by luck pass."""
    assert states(diff_boots({"uk": TEN}, {"uk": TEN}, gate)) == {"uk": state}
    assert states(diff_boots({"uk": TEN}, {"uk": TEN[:3]}, gate)) == {"uk": "inconclusive"}


def test_a_lost_figure_of_the_null_guest_fails_no_gate_about_the_others() -> None:
    """A gate about every system but the null guest would fail for the null guest."""
    old = make_boots({"floor": TEN, "uk": TEN})
    header, records = make_boots({"floor": TEN, "uk": TEN}, "new")
    crashed = tuple(
        replace(r, outcome=Crashed(reason="panic"), samples=()) if r.trial.system == "floor" else r
        for r in records
    )
    old = with_metric(old, "net.echo", TEN * 2)
    gates = [parse_gate("net.echo>5%"), parse_gate("floor:net.echo>5%")]
    found = diff_runs([old], [(header, crashed)], gates).decisions
    assert [(d.gate, d.system) for d in found if d.system == "floor"] == [("floor:net.echo>5%", "floor")]


@pytest.mark.parametrize(("cycles", "systems", "sets"), [(3, 10, 250), (5, 4, 300), (10, 1, 150)])
def test_gates_of_equal_runs_seldom_fail(cycles: int, systems: int, sets: int) -> None:
    """Every tenth commit that changed nothing would be stopped, the more so the more systems there are."""
    random = np.random.default_rng(7)
    failed = 0
    for _ in range(sets):
        old, new = (
            {f"s{n}": list(np.exp(random.normal(0, 0.1, cycles))) for n in range(systems)} for _ in range(2)
        )
        failed += "failed" in states(diff_boots(old, new, "boot.ready>0%")).values()
    # At most 5% are promised; twice the standard error of so few sets is allowed for.
    assert failed / sets <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / sets)


def test_gates_find_a_fifth_by_one_run_a_side_and_a_tenth_by_three() -> None:
    """A commit that made boot a fifth slower would pass a gate of 5%, or more runs would help nobody."""
    random = np.random.default_rng(8)
    for runs, factor, least in ((1, 1.25, 57), (3, 1.15, 55)):
        failed = 0
        for _ in range(60):
            old, new = (
                [
                    {"uk": list(by * np.exp(random.normal(random.normal(0, 0.02), 0.03, 10)))}
                    for _ in range(runs)
                ]
                for by in (1.0, factor)
            )
            failed += states(diff_boots(old, new, "boot.ready>5%"))["uk"] == "failed"
        assert failed >= least


# --- the command ------------------------------------------------------------------------------------------


def write_run(folder: Path, run: Run) -> None:
    """Write a store."""
    folder.mkdir()
    (folder / STORE_NAME).write_bytes(b"".join(msgspec.json.encode(x) + b"\n" for x in (run[0], *run[1])))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the runs `old`, `same`, `near`, `nearer`, `slow`, `unsure` and `elsewhere`."""
    write_run(tmp_path / "old", make_boots({"uk": TEN}))
    write_run(tmp_path / "same", make_boots({"uk": TEN[::-1]}, "same"))
    write_run(tmp_path / "near", make_boots({"uk": scale(TEN, 1.002)}, "near"))
    write_run(tmp_path / "nearer", make_boots({"uk": scale(TEN, 0.999)}, "nearer"))
    write_run(tmp_path / "slow", make_boots({"uk": scale(TEN, 1.2)}, "slow"))
    write_run(tmp_path / "unsure", make_boots({"uk": [1.4, 0.9, 1.0, 1.3, 0.8]}, "unsure"))
    header, records = make_boots({"uk": TEN}, "elsewhere")
    write_run(
        tmp_path / "elsewhere", (replace(header, host=replace(header.host, vmm_version="9.0.0")), records)
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["old", "slow"], 0),
        (["old", "same", "--fail-on", "boot.ready>5%"], 0),
        (["old", "slow", "--fail-on", "boot.ready>5%"], 1),
        (["old", "slow", "--fail-on", "uk:boot.ready>5%", "--json"], 1),
        (["old", "slow", "--fail-on", "boot.ready>25%"], 0),
        (["slow", "old", "--fail-on", "boot.ready>5%"], 0),
        (["old", "unsure", "--fail-on", "boot.ready>5%"], 0),
        (["old", "unsure", "--fail-on", "boot.ready>5%", "--fail-on-inconclusive"], 1),
        (["old", "same", "--fail-on", "boot.ready>5%", "--fail-on-inconclusive"], 1),
        (["old", "same", "--fail-on", "boot.ready>5%", "--fail-on-inconclusive", "--run-sd", "0.5"], 0),
        (["old,near", "nearer,same", "--fail-on", "boot.ready>5%", "--fail-on-inconclusive"], 0),
        (["old,near,same", "slow", "--fail-on", "boot.ready>5%"], 1),
        (["old", "slow", "--fail-on", "boot.ready>500ms"], 1),
        (["old", "slow", "--fail-on", "boot.ready>1500ms"], 0),
        (["old", "slow", "--fail-on", "failures"], 0),
        (["old", "elsewhere", "--force", "--markdown"], 0),
    ],
)
@pytest.mark.usefixtures("runs")
def test_exit_status_says_whether_gates_hold(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """CI would pass a regression, or stop at a change that it cannot see."""
    assert run_cli(["diff", *arguments]) == status
    out, err = capsys.readouterr()
    assert "uk" in out
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == status
    assert ("gate" in err) == bool(status)
    if "--json" in arguments:
        assert json.loads(out)["version"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["old", "elsewhere"], 2, "cannot be compared: QEMU: 7.2.22 and 9.0.0"),
        (["old", "elsewhere", "--fail-on", "boot.ready>5%"], 2, "cannot be compared"),
        (["old", "nowhere"], 3, "cannot read nowhere/store.jsonl"),
        (["old"], 2, "Missing argument"),
        (["old", "same", "--fail-on", "boot.ready"], 2, "is not of the form"),
        (["old", "same", "--fail-on", "boot.redy>5%"], 2, "is about nothing"),
        (
            ["old", "same", "--fail-on", "boot.ready>5"],
            2,
            "boot.ready is in s; say boot.ready>5s or boot.ready>5%",
        ),
        (["old", "same", "--fail-on", "boot.ready>5MB"], 2, "'MB' is none of its units"),
        (["old", "same", "--junit", "gates.xml"], 2, "--junit needs a --fail-on"),
        (["old,,same", "old"], 2, "names a folder that has no name"),
        (["old", "same", "--fail-on-inconclusive"], 2, "needs a --fail-on"),
        (["old", "same", "--effect", "0"], 2, "0.0 is not in the range"),
    ],
)
@pytest.mark.usefixtures("runs")
def test_bad_input_is_one_error_line_and_a_hint_to_type(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the hand would end in a traceback, or be mistaken for a regression."""
    assert run_cli(["diff", *arguments]) == status
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    (hint,) = [line for line in err.splitlines() if line.startswith("hint: ")]
    assert len(errors) == 1 and words in errors[0]
    assert out == ""
    words_of_hint = shlex.split(hint.removeprefix("hint: "))
    assert words_of_hint[0] == "guestbench"
    if words_of_hint[1] == "diff":
        assert run_cli(words_of_hint[1:]) in (0, 1)


def test_gates_are_written_as_junit_whole_or_not_at_all(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CI system would show the gates of the job before, or half a file."""
    typed = ["diff", "old", "slow", "--fail-on", "boot.ready>5%", "--junit"]
    assert run_cli([*typed, "gates.xml"]) == 1
    assert (runs / "gates.xml").read_text().count("<failure ") == 1
    assert run_cli([*typed, "nowhere/gates.xml"]) == 2
    assert "nowhere/gates.xml cannot be written" in capsys.readouterr().err
    assert not [file for file in runs.iterdir() if file.name.startswith(".")]


def test_folders_with_commas_can_be_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has a comma in a folder's name could compare nothing in it."""
    write_run(runs / "slow, again", make_boots({"uk": scale(TEN, 1.2)}, "again"))
    assert run_cli(["diff", "old,same", "slow, again", "--json"]) == 0
    assert [run["run"] for run in json.loads(capsys.readouterr().out)["diff"]["new"]] == ["again"]
    assert run_cli(["diff", "old,same", r"slow,slow\, again", "--json"]) == 0
    assert [run["run"] for run in json.loads(capsys.readouterr().out)["diff"]["new"]] == ["slow", "again"]


@pytest.mark.parametrize("value", [1e308, 5e-324])
def test_extreme_values_end_in_no_traceback(
    runs: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """One broken clock would end the command as if a gate had failed, and nobody would know which."""
    names = [f"s{n}" for n in range(20)]
    write_run(runs / "sane", make_boots({name: [1.0, 1.5] for name in names}))
    write_run(runs / "broken", make_boots({name: [value, 1.0] for name in names}, "broken"))
    for style in ([], ["--json"], ["--markdown"]):
        typed = ["diff", "sane", "broken", "--fail-on", "boot.ready>5%", "--junit", "gates.xml", *style]
        assert run_cli(typed) in (0, 1)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        if style == ["--json"]:
            assert msgspec.json.decode(out, type=DiffDocument).diff.decisions


def test_large_runs_are_compared_quickly(tmp_path: Path) -> None:
    """A gate over two long runs would keep a CI job waiting."""
    old, new = tmp_path / "old", tmp_path / "new"
    for seed, folder in enumerate((old, new)):
        diff_speed.write_run(folder, 10_000, seed)
    # Its CPU time: it waits for nothing, and a busy host would add to the time on the clock.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    diff_speed.measure(old, new)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert 0 < cpu_s < 5 * diff_speed.BOUND_S


# --- the guide --------------------------------------------------------------------------------------------


def find_values(tree: Any, key: str) -> Iterator[str]:
    """The values of a key anywhere in a document."""
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if name == key:
            yield value
        elif isinstance(value, dict | list):
            yield from find_values(value, key)


def test_examples_for_ci_have_gates_and_options_that_are_read() -> None:
    """Whoever copies the documented workflow would have a job that fails for a wrong gate or option."""
    examples = blocks(ROOT / "docs" / "how-to" / "gate-a-pull-request.md", "yaml")
    assert len(examples) == 2
    for example in examples:
        document = yaml.safe_load(example)
        (gates,) = find_values(document, "gates")
        assert "cost.instructions_guest>0.5%" in gates.split()
        for gate in gates.split():
            parse_gate(gate)
        for options in find_values(document, "options"):
            parse(["ab", "OLD", "NEW", *options.split()])


def test_documented_gates_are_read() -> None:
    """A gate that is copied from the guide would be refused."""
    documents = (ROOT / "docs").rglob("*.md")
    gates = [gate for file in documents for gate in re.findall(r"--fail-on '([^']+)'", file.read_text())]
    assert len(gates) > 5
    for gate in gates:
        parse_gate(gate)
