"""Gates of `guestbench diff`: how they are written, when they fail and when not, and the command's status."""

from __future__ import annotations

import json
import math
import re
import resource
import shlex
from itertools import pairwise
from pathlib import Path

import diff_speed
import msgspec
import numpy as np
import pytest
from diff_factories import TEN, Run, diff_boots, make_boots, scale, states, with_metric
from documents import ROOT, blocks, parse

from guestbench.analysis.diff import diff_runs
from guestbench.analysis.gate import GateState, parse_gate
from guestbench.analysis.summary import find_metric
from guestbench.cli import run_cli
from guestbench.errors import UsageError
from guestbench.model import Crashed, Gap
from guestbench.report.diff import describe_diff
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
        "boot.ready>5",
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
        (scale(TEN, 1.1), "failed"),
        (scale(TEN, 1.0), "passed"),
        (scale(TEN, 0.8), "passed"),
        (scale(TEN, 1.02), "passed"),
        (scale(TEN, 1.045), "inconclusive"),
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
    new = [1.03 * x if n % 3 else 0.995 * x for n, x in enumerate(reversed(TEN))]
    gate = "s0:boot.ready>1%"
    assert states(diff_boots({"s0": TEN}, {"s0": new}, gate)) == {"s0": "failed"}
    names = [f"s{n}" for n in range(12)]
    found = diff_boots(dict.fromkeys(names, TEN), dict.fromkeys(names, new), gate)
    assert states(found) == {"s0": "inconclusive"}
    assert "the permutation test does not bear it out" in found.decisions[0].reason


def test_a_rate_has_a_gate_of_its_own_direction() -> None:
    """A rate that falls would be taken for a time that falls."""
    old = with_metric(make_boots({"uk": TEN}), "work.cpu", [x * 100 for x in TEN])
    new = with_metric(make_boots({"uk": TEN}), "work.cpu", [x * 90 for x in TEN])
    gates = [parse_gate(text) for text in ("work.cpu<-5%", "work.cpu>5%")]
    assert [d.state for d in diff_runs(old, new, gates).decisions] == [GateState.FAILED, GateState.PASSED]
    assert [d.state for d in diff_runs(new, old, gates).decisions] == [GateState.PASSED, GateState.FAILED]
    assert "which is worse" in render_lines(describe_diff(diff_runs(old, new)))


def test_a_gate_may_name_what_is_not_compared_else() -> None:
    """Nobody could have a gate on a milestone."""
    assert not find_metric(make_boots({"uk": TEN})[0], "boot.mark").compared
    old = with_metric(make_boots({"uk": TEN}), "boot.mark", TEN, mark="kernel")
    new = with_metric(make_boots({"uk": TEN}), "boot.mark", scale(TEN, 1.5), mark="kernel")
    found = diff_runs(old, new, [parse_gate("boot.mark>5%")])
    assert [(d.labels, d.state) for d in found.decisions] == [({"mark": "kernel"}, GateState.FAILED)]
    assert len(diff_runs(old, new).changes) == 1


def test_a_gate_without_labels_means_the_whole() -> None:
    """A gate on the size of the files would be one on each of them as well."""
    run = with_metric(make_boots({"uk": TEN}), "image.file", [100.0])
    both = with_metric(run, "image.file", [60.0], role="kernel")
    gates = [parse_gate("image.file>0%"), parse_gate("image.file{role=kernel}>0%")]
    assert [d.labels for d in diff_runs(both, both, gates).decisions] == [{}, {"role": "kernel"}]


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
    (decision,) = diff_runs(old, (header, gaps), gates).decisions
    assert (decision.state, decision.reason) == (
        GateState.INCONCLUSIVE,
        "NEW has no value: it does not listen",
    )
    failed = tuple(replace(r, outcome=Crashed(reason="panic"), samples=()) for r in records)
    (decision,) = diff_runs(old, (header, failed), gates).decisions
    assert decision.state is GateState.FAILED
    assert decision.reason == "NEW has no value: all 10 trials failed: panic"


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


def test_gates_find_a_tenth() -> None:
    """A commit that made boot a tenth slower would pass a gate of 5%."""
    random = np.random.default_rng(8)
    failed = 0
    for _ in range(60):
        old, new = (list(factor * np.exp(random.normal(0, 0.03, 10))) for factor in (1.0, 1.1))
        failed += states(diff_boots({"uk": old}, {"uk": new}, "boot.ready>5%"))["uk"] == "failed"
    assert failed >= 57


# --- the command ------------------------------------------------------------------------------------------


def write_run(folder: Path, run: Run) -> None:
    """Write a store."""
    folder.mkdir()
    (folder / STORE_NAME).write_bytes(b"".join(msgspec.json.encode(x) + b"\n" for x in (run[0], *run[1])))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the runs `old`, `same`, `slow`, `unsure` and `elsewhere`."""
    write_run(tmp_path / "old", make_boots({"uk": TEN}))
    write_run(tmp_path / "same", make_boots({"uk": TEN[::-1]}, "same"))
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
        (["old", "same", "--fail-on", "boot.ready>5%", "--fail-on-inconclusive"], 0),
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


def test_examples_for_ci_can_be_typed() -> None:
    """Whoever copies the documented workflow would have a job that fails for a wrong option."""
    examples = blocks(ROOT / "docs" / "guide.md", "yaml")
    assert len(examples) == 2
    for example in examples:
        lines = [line.strip().removeprefix("- ").removeprefix("run: ") for line in example.splitlines()]
        typed = [line.partition(" >> ")[0] for line in lines if line.startswith("guestbench ")]
        assert sum(line.startswith("guestbench diff") for line in typed)
        for line in typed:
            words = shlex.split(line)[1:]
            parse(list(words))
            for option, gate in pairwise(words):
                if option == "--fail-on":
                    parse_gate(gate)


def test_documented_gates_are_read() -> None:
    """A gate that is copied from the guide would be refused."""
    gates = re.findall(r"--fail-on '([^']+)'", (ROOT / "docs" / "guide.md").read_text())
    assert len(gates) > 5
    for gate in gates:
        parse_gate(gate)
