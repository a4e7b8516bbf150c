"""Analysis of metrics that it does not know: of a family from another package, of an older run, of none."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from factories import make_guest, make_header, make_record, make_system
from tea_family import make_brews, tea_installed

import guestbench.analysis
from guestbench.analysis.claims import judge_claims
from guestbench.analysis.compare import compare_run
from guestbench.analysis.diff import diff_runs
from guestbench.analysis.diff_setting import find_mismatches
from guestbench.analysis.gate import parse_gate
from guestbench.analysis.quality import find_notices
from guestbench.analysis.summary import add_derived, find_summary, summarise
from guestbench.families import find_metrics, list_families, list_purposes
from guestbench.model import Better, Header, Kit, Metric, Provenance, Record, Sample, Trial, Verdict
from guestbench.run.store import STORE_NAME, read_store

RECORDINGS = Path(__file__).parents[2] / "recordings"
replace = msgspec.structs.replace


@pytest.fixture
def _tea(tmp_path: Path) -> Iterator[None]:
    """A package that adds a family of two metrics, of which systems are compared in one."""
    with tea_installed(tmp_path / "site"):
        yield


@pytest.mark.usefixtures("_tea")
def test_metrics_of_another_package_are_summarised() -> None:
    """Whoever adds a family would have to change the analysis, too."""
    header, records = make_brews()
    summaries = summarise(header, records)
    boiling = find_summary(summaries, "kettle", "tea.boiling")
    assert boiling is not None and boiling.n == 10 and boiling.median_ci is not None
    leaves = find_summary(summaries, "kettle", "tea.leaves")
    assert leaves is not None and leaves.values == (7,) * 10
    broken = find_summary(summaries, "broken", "tea.boiling")
    assert broken is not None and (broken.n, broken.failed) == (0, 10)
    assert find_notices(header, records) == ("The water was hard.",)


@pytest.mark.usefixtures("_tea")
def test_derived_samples_say_so_once() -> None:
    """A figure of another package would pass for a measured one, or be added again with every report."""
    header, records = make_brews()
    once = add_derived(header, records)
    assert add_derived(header, list(once)) == once
    assert [sample.provenance for sample in once[0].samples] == [Provenance.MEASURED, Provenance.DERIVED]


@pytest.mark.usefixtures("_tea")
def test_systems_are_compared_in_what_another_package_wants_compared() -> None:
    """A figure of another package would decide nothing, or one decide that only describes."""
    header, records = make_brews()
    found = {(each.metric, each.system): each for each in compare_run(header, records)}
    assert set(found) == {("tea.boiling", "kettle"), ("tea.boiling", "broken")}
    assert found["tea.boiling", "kettle"].verdict is Verdict.SMALLER
    assert found["tea.boiling", "kettle"].ratio == pytest.approx(0.25)
    assert found["tea.boiling", "broken"].failed == 10
    assert [(each.ruling.value, each.value) for each in judge_claims(header, records)] == [
        ("confirmed", pytest.approx(4.0)),
        ("refuted", 7.0),
    ]


@pytest.mark.usefixtures("_tea")
def test_runs_are_compared_in_metrics_of_another_package() -> None:
    """A change that slows down what another package measures would pass every gate."""
    old, new = make_brews(), make_brews(1.2, "new")
    gates = [parse_gate(text) for text in ("tea.boiling>5%", "kettle:tea.leaves>0%")]
    found = diff_runs([old], [new], gates)
    assert [(each.system, each.metric, each.state.value) for each in found.decisions] == [
        ("kettle", "tea.boiling", "failed"),
        ("pot", "tea.boiling", "failed"),
        ("broken", "tea.boiling", "inconclusive"),
        ("cold", "tea.boiling", "failed"),
        ("kettle", "tea.leaves", "passed"),
    ]
    assert {each.comparison.metric for each in diff_runs([old], [new]).changes} == {"tea.boiling"}
    assert [each.what for each in find_mismatches(old[0], new[0])] == ["water"]


def test_a_run_is_analysed_where_its_family_is_not_installed(tmp_path: Path) -> None:
    """Whoever was sent a run could not make its report without the package that measured it."""
    with tea_installed(tmp_path / "site", findings=False):
        header, records = make_brews()
        there = summarise(header, records), compare_run(header, records), judge_claims(header, records)
    assert "tea" not in {family.name for family in list_families()}
    assert (summarise(header, records), compare_run(header, records), judge_claims(header, records)) == there
    assert {summary.metric for summary in there[0]} == {"tea.boiling"}


def make_old_boots(rows: Sequence[Metric]) -> tuple[Header, tuple[Record, ...]]:
    """Boots with a figure `boot.gone` that was measured by a version of which only rows are left."""
    trials = [
        Trial(id=f"{name}-{n}", system=name, purpose="boot", block=n, cycle=n, definition="")
        for n in range(1, 4)
        for name in ("a", "b")
    ]
    header = make_header([make_guest(make_system(name)) for name in ("a", "b")], trials)
    experiment = replace(header.experiment, baseline="a")
    records = tuple(make_record(trial, [Sample(metric="boot.gone", value=1.0)]) for trial in trials)
    return replace(header, experiment=experiment, metrics=tuple(rows)), records


def test_a_metric_that_no_family_has_any_more_is_shown_and_not_compared() -> None:
    """A figure of an earlier version would be lost, or be compared without anybody answering for it."""
    row = Metric(name="boot.gone", title="Gone", family="boot", unit="s", better=Better.LOWER, help="")
    for rows in ([row], []):
        header, records = make_old_boots(rows)
        assert {summary.metric for summary in summarise(header, records)} == {"boot.gone"}
        assert compare_run(header, records) == ()


def test_rows_of_a_store_of_version_4_say_what_those_of_today_say(tmp_path: Path) -> None:
    """A run of an earlier version would have no verdict and no headline any more."""
    header = msgspec.json.decode((RECORDINGS / "store-format-4-seed.jsonl").read_bytes().splitlines()[0])
    kit = msgspec.convert(header["kit"], Kit)
    today = msgspec.to_builtins(find_metrics([family.name for family in list_families()], kit))
    fields = ("name", "title", "family", "unit", "better", "help", "group")
    header["metrics"] = [{field: row[field] for field in fields} for row in today]
    (tmp_path / STORE_NAME).write_bytes(msgspec.json.encode(header) + b"\n")
    rows = read_store(tmp_path)[0].metrics
    work, net = ([row.name for row in rows if row.name.startswith(f"{name}.")] for name in ("work", "net"))
    assert len(work) == 6 and len(net) == 5
    assert {row.name for row in rows if row.compared} == {
        *("image.file", "boot.ready", "boot.cpu", "boot.cycles", "boot.host_instructions"),
        *("memory.min", "memory.touched"),
        *("cost.instructions_guest", "cost.instructions", "cost.work"),
        *(name for name in work if name != "work.time"),
        *net,
    }
    assert {row.name for row in rows if row.exact} == {
        "memory.min",
        *(row.name for row in rows if row.family == "image"),
    }
    touched = next(row for row in rows if row.name == "memory.touched")
    states = ("ready", "idle", "load", "load-end")
    assert [touched.is_compared_with({"state": state}) for state in states] == [False, True, True, False]
    whole = next(row for row in rows if row.name == "image.file")
    assert whole.is_compared_with({}) and not whole.is_compared_with({"role": "kernel"})
    assert {row.name for row in rows if row.headline} == {
        *(
            "image.file",
            "boot.ready",
            "boot.above_floor",
            "cost.instructions_guest",
            "memory.min",
            "memory.touched",
        ),
    }


def test_analysis_names_no_metric_no_family_and_no_purpose() -> None:
    """A family from outside would be left out wherever analysis lists those that it knows."""
    names = {row.name for family in list_families() for row in family.metrics}
    names |= {family.name for family in list_families()} | {purpose.name for purpose in list_purposes()}
    found = {
        (path.name, node.value)
        for folder in guestbench.analysis.__path__
        for path in Path(folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    }
    # A guest's memory is a setting of the platform as well.
    assert found == {("diff_setting.py", "memory")}
