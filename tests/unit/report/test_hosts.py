"""Several hosts as one experiment: ratios are pooled as they were found on each, and times never."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from factories import make_boot_run
from hosts import CASES, RATIO, draw_hosts, simulate

from guestbench.analysis import inference
from guestbench.analysis.hosts import Merged, merge, refuse_unlike
from guestbench.cli import cli as command_line
from guestbench.errors import StoreError, UsageError
from guestbench.model import Header, Record
from guestbench.page.numbers import show_ratio
from guestbench.report.hosts import describe_hosts
from guestbench.run.store import HOSTS, create_store, read_all, read_store

Run = tuple[Header, tuple[Record, ...]]


def make_hosts(blocks: Sequence[int] = (10, 10, 10), between: float = 0.02, floor: str = "") -> list[Run]:
    """Runs of one experiment on several hosts, one of them slow and one of them drifting."""
    runs = []
    drawn = draw_hosts(np.random.default_rng(3), blocks, between, 0.05)
    for number, (fast, base) in enumerate(drawn, 1):
        header, records = make_boot_run({"b": fast.tolist(), "a": base.tolist()}, floor)
        host = msgspec.structs.replace(header.host, digest=f"{number}" * 64, cpu_model=f"CPU {number}")
        experiment = msgspec.structs.replace(header.experiment, baseline="a")
        header = msgspec.structs.replace(header, host=host, experiment=experiment, run=f"run-{number}")
        runs.append((header, tuple(msgspec.structs.replace(r, host=host.digest) for r in records)))
    return runs


def find_ready(found: Merged) -> tuple[float, float, float]:
    """The ratio of boot times of all hosts, and its interval."""
    (mine,) = (each for each in found.ratios if each.metric == "boot.ready")
    assert mine.ratio is not None and mine.interval is not None
    return mine.ratio, mine.interval.low, mine.interval.high


@pytest.mark.parametrize(("blocks", "between"), CASES[:2])
def test_the_pooled_interval_covers_as_it_says(blocks: Sequence[int], between: float) -> None:
    """Of hosts that are unlike, one slow and one drifting, a table would be surer than it may."""
    held = simulate(blocks, between, 1000)
    assert 0.93 <= held.pooled <= 0.97
    if between:
        assert held.lumped < 0.93, "this case would not tell a wrong method from a right one"


def test_ratios_are_pooled_and_times_are_not() -> None:
    """A slow host would make whichever guest it booted more often look slow."""
    runs = make_hosts()
    found = merge(runs)
    ratio, low, high = find_ready(found)
    (mine,) = (each for each in found.ratios if each.metric == "boot.ready")
    own = [one.found.ratio or 0.0 for one in mine.hosts]
    assert len(own) == 3 and ratio == pytest.approx(math.exp(np.mean(np.log(own))))
    assert low < RATIO < high and low < ratio < high
    (values,) = (v for v in found.values if v.metric == "boot.ready" and v.system == "a")
    medians = [m for m in values.medians if m]
    assert len(medians) == 3 and max(medians) > 1.4 * min(medians)
    told = msgspec.json.encode(found).decode()
    assert str(np.mean(medians))[:8] not in told


def test_one_host_is_no_sample_of_hosts() -> None:
    """One machine would speak for all there are."""
    found = merge(make_hosts((10,)))
    (mine,) = (each for each in found.ratios if each.metric == "boot.ready")
    assert mine.interval is None and mine.ratio is None and "1 of 1 hosts" in mine.reason
    with pytest.raises(ValueError):
        inference.pool([inference.Estimate(0.0, 1.0, 3)])


def test_hosts_that_differ_by_chance_alone_are_told_so() -> None:
    """Scatter within hosts would be read as a difference between them."""
    same = [inference.Estimate(0.1 + 0.01 * sign, 0.01, 9) for sign in (-1, 1)]
    assert inference.pool(same)[1] == 0
    apart = [inference.Estimate(0.1 * sign, 1e-6, 9) for sign in (-1, 1)]
    assert inference.pool(apart)[1] == pytest.approx(0.1 * math.sqrt(2), rel=1e-3)


def test_runs_that_are_no_parts_of_one_experiment_are_refused() -> None:
    """A host measured twice would count twice, or another image be taken for the same."""
    first, second, _ = make_hosts()
    refuse_unlike([first, second], ["one", "two"])
    with pytest.raises(UsageError, match="one and two are of one host"):
        refuse_unlike([first, first], ["one", "two"])
    platform = msgspec.structs.replace(second[0].platform, memory_mib=1024)
    other = msgspec.structs.replace(second[0], platform=platform)
    with pytest.raises(UsageError, match=r"differ in memory: .* MiB and 1024 MiB"):
        refuse_unlike([first, (other, second[1])], ["one", "two"])
    baseline = msgspec.structs.replace(second[0].experiment, baseline="b")
    with pytest.raises(UsageError, match="the baseline: a and b"):
        refuse_unlike(
            [first, (msgspec.structs.replace(second[0], experiment=baseline), second[1])], ["one", "two"]
        )
    guest = second[0].guests[0]
    images = {role: msgspec.structs.replace(image, sha256="0" * 64) for role, image in guest.images.items()}
    guest = msgspec.structs.replace(guest, images=images, pristine=images)
    other = msgspec.structs.replace(second[0], guests=(guest, *second[0].guests[1:]))
    with pytest.raises(UsageError, match="not of the same images in all runs: b"):
        refuse_unlike([first, (other, second[1])], ["one", "two"])


def write_runs(folder: Path, runs: Sequence[Run]) -> list[str]:
    """Each run in a folder of its own."""
    names = []
    for number, (header, records) in enumerate(runs, 1):
        names.append(str(folder / f"run{number}"))
        with create_store(Path(names[-1]), header) as store:
            store.append(*records)
    return names


def test_runs_made_apart_become_one_report(tmp_path: Path) -> None:
    """Results of a lab's machines would have to be put together by hand."""
    names = write_runs(tmp_path, make_hosts())
    done = CliRunner().invoke(
        command_line, ["report", "--merge", *names, "-o", str(tmp_path / "all"), "--json"]
    )
    assert done.exit_code == 0, done.output
    merged = json.loads(done.stdout)["merged"]
    assert [header["host"]["cpu_model"] for header in merged["headers"]] == ["CPU 1", "CPU 2", "CPU 3"]
    text = (tmp_path / "all" / "comparison_results.md").read_text()
    ratio, low, high = find_ready(merge(make_hosts()))
    assert f"{show_ratio(ratio)} ({show_ratio(low)} to {show_ratio(high)})" in text
    assert all(f"host {number}" in text and f"CPU {number}" in text for number in (1, 2, 3))
    page = (tmp_path / "all" / "report.html").read_text()
    assert page.count("<svg") >= 1 and "all hosts" in page
    several = CliRunner().invoke(command_line, ["report", *names], standalone_mode=False)
    assert isinstance(several.exception, UsageError) and "--merge" in several.exception.hint


def test_a_run_of_several_hosts_is_one_of_each_and_all_together(tmp_path: Path) -> None:
    """A fleet's run would be analysed as if it were of one host."""
    runs = make_hosts()
    first = runs[0][0]
    records = [
        msgspec.structs.replace(r, trial=msgspec.structs.replace(r.trial, id=f"{number}-{r.trial.id}"))
        for number, (_, mine) in enumerate(runs)
        for r in mine
    ]
    header = msgspec.structs.replace(
        first, hosts=tuple(header.host for header, _ in runs), trials=tuple(r.trial for r in records)
    )
    with create_store(tmp_path / "run", header) as store:
        store.append(*records)
    done = CliRunner().invoke(command_line, ["report", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "host 3" in (tmp_path / "run" / "comparison_results.md").read_text()
    for own, mine in runs:
        part = tmp_path / "run" / HOSTS / own.host.digest[:16]
        again, found = read_store(part)
        assert again.host == own.host and len(found) == len(mine) == len(again.trials)
        assert "different hosts" not in (part / "comparison_results.md").read_text()
    assert find_ready(merge(runs)) == find_ready(
        merge([read_store(path) for path in sorted((tmp_path / "run" / HOSTS).iterdir())])
    )
    assert read_all(tmp_path / "run")[1] == tuple(records)
    with pytest.raises(StoreError, match="of 3 hosts"):
        read_store(tmp_path / "run")


def test_the_page_says_which_hosts_and_how_far_they_differ() -> None:
    """A reader could not tell a figure of one host from that of all."""
    page = describe_hosts(merge(make_hosts()))
    assert [section.id for section in page.sections] == ["hosts", "ratios", "forest", "values"]
