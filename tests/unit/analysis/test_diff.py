"""`guestbench diff`: what is compared with what, what is said of it, and what a reader is told first."""

from __future__ import annotations

import math
import re

import msgspec
import numpy as np
import pytest
from diff_factories import TEN, Run, diff_boots, make_boots, scale, states, with_metric
from factories import make_image, make_run

from golden import check_golden
from guestbench.analysis import inference
from guestbench.analysis.compare import compare
from guestbench.analysis.diff import RunDiff, diff_runs
from guestbench.analysis.diff_setting import find_mismatches
from guestbench.analysis.gate import GateState, parse_gate
from guestbench.analysis.samples import Sampled
from guestbench.model import Accel, Crashed, Kit, KitWork, Role, Verdict, Workload, WorkReport
from guestbench.report.diff import DiffDocument, describe_diff, render_json
from guestbench.report.markdown import render_blocks
from guestbench.report.terminal import render_lines

replace = msgspec.structs.replace


def render_text(found: RunDiff) -> str:
    """What the command prints on a terminal."""
    return render_lines(describe_diff(found))


def render_markdown(found: RunDiff) -> str:
    """What the command prints for a comment on a change."""
    return render_blocks(describe_diff(found)) + "\n"


# --- the comparison ---------------------------------------------------------------------------------------


def test_change_is_new_over_old() -> None:
    """A slower version would be called the faster one, or its trials be paired with those of another day."""
    found = diff_boots({"uk": TEN}, {"uk": scale(TEN, 1.2)})
    (change,) = found.changes
    assert change.comparison.ratio == pytest.approx(1.2)
    assert change.comparison.verdict is Verdict.LARGER
    assert change.old is not None and change.new == pytest.approx(change.old * 1.2)
    assert change.comparison.method.value == "runs"
    assert change.comparison.ratio_ci is not None
    assert 1.08 < change.comparison.ratio_ci.low < 1.2 < change.comparison.ratio_ci.high < 1.33
    assert "larger, which is worse" in render_text(found)


def test_no_change_is_equivalent_and_little_is_inconclusive() -> None:
    """A commit that changed nothing would be blamed, or three noisy boots be taken for a proof."""
    old, new = {"a": TEN, "b": [1, 1.4, 0.8]}, {"a": TEN[::-1], "b": [1.3, 0.9, 1.1]}
    found = diff_boots(old, new, run_sd=0)
    assert [c.comparison.verdict for c in found.changes] == [Verdict.EQUIVALENT, Verdict.INCONCLUSIVE]
    found = diff_boots(old, new)
    assert [c.comparison.verdict for c in found.changes] == [Verdict.INCONCLUSIVE] * 2
    assert "more cycles do not show it" in render_text(found)


def test_effect_decides_what_is_a_difference() -> None:
    """`--effect` would change nothing, and a change too small to matter be called one."""
    old, new = make_boots({"uk": TEN}), make_boots({"uk": scale(TEN, 1.1)}, "new")
    assert diff_runs([old], [new], effect=0.25).changes[0].comparison.verdict is Verdict.EQUIVALENT


def test_many_metrics_are_adjusted_for() -> None:
    """Of forty metrics two would be called different by chance."""
    means = [(value, value * (1.05 if n % 9 else 0.99)) for n, value in enumerate(TEN)]
    ps = []
    for names in (["a"], [f"s{n}" for n in range(12)]):
        old, new = ([dict.fromkeys(names, [pair[side]] * 2) for pair in means] for side in (0, 1))
        ps.append(diff_boots(old, new).changes[0].comparison.p_holm)
    assert ps[0] is not None and ps[1] is not None and ps[1] == pytest.approx(12 * ps[0])


def test_five_values_of_many_metrics_prove_little() -> None:
    """Of two runs of one image, some rate would be called better for the hour at which it was measured."""
    old, new = [1.0, 1.1, 1.2, 0.9, 1.15], [1.45, 1.35, 1.55, 1.3, 1.25]
    assert diff_boots({"a": old}, {"a": new}).changes[0].comparison.verdict is Verdict.LARGER
    names = [f"s{n}" for n in range(12)]
    found = diff_boots(dict.fromkeys(names, old), dict.fromkeys(names, new))
    assert {change.comparison.verdict for change in found.changes} == {Verdict.INCONCLUSIVE}
    assert "widened for all 12 comparisons" in render_text(found)


def test_large_runs_have_the_same_test() -> None:
    """A run of a thousand boots would end in an error, or have another p than a smaller one."""
    random = np.random.default_rng(5)
    logs = [list(random.normal(shift, 0.2, 99)) for shift in (0.0, 0.04)]
    drawn = inference.permutation_p(*logs)
    more = [[*each, 0.02] for each in logs]
    assert len(more[0]) + len(more[1]) == inference.LARGE_SAMPLE
    assert inference.permutation_p(*more) == pytest.approx(drawn, abs=0.02)
    differences = [*(x - y for x, y in zip(*logs, strict=True)), *random.normal(-0.03, 0.2, 100)]
    drawn = inference.paired_permutation_p(differences)
    assert inference.paired_permutation_p([*differences, 0.0]) == pytest.approx(drawn, abs=0.02)
    many = Sampled(values=tuple((0, math.exp(x)) for x in random.normal(0, 0.1, 1200)))
    found = compare(Sampled(values=tuple((n, 1.1 * x) for n, x in many.values)), many, same_run=False)
    assert found.verdict is Verdict.LARGER and found.p is not None and 0 < found.p < 1e-9


def test_what_only_one_run_has_is_told() -> None:
    """A system or a metric that is gone would be gone from the report as well."""
    old = with_metric(make_boots({"uk": TEN, "gone": TEN}), "memory.touched", [400.0] * 20, state="idle")
    new = make_boots({"uk": TEN, "added": TEN}, "new")
    text = render_text(diff_runs([old], [new]))
    assert "only in old: gone: the whole system" in text
    assert "only in new: added: the whole system" in text
    assert "only in old: uk: memory.touched{state=idle}" in text


def test_failures_come_first() -> None:
    """A version that crashes in three boots of ten would be praised for the other seven."""
    found = diff_boots({"uk": TEN}, {"uk": [0, 0, 0, *TEN[3:]]})
    lines = render_text(found).splitlines()
    assert lines[2] == r"failed: new: uk: 3 of 10 boot trials crashed: \x1b[31mpanic"
    assert "10, 7 (3 failed)" in "\n".join(lines)


def test_what_makes_a_run_doubtful_is_told() -> None:
    """A run that was broken off, or put together from two hosts, would be taken for a whole one."""
    header, records = make_boots({"uk": TEN})
    text = render_text(
        diff_runs([(header, (*records[:8], replace(records[8], host="other")))], [(header, records)])
    )
    assert "not complete: old: 1 of its planned trials have no record" in text
    assert "note on old: 1 of 9 records come from another host than the one described." in text


def test_null_guest_shows_a_host_that_changed() -> None:
    """A host that had become slower would look like slower guests."""
    found = diff_boots(
        {"floor": TEN, "uk": TEN}, {"floor": scale(TEN, 1.2), "uk": scale(TEN, 1.2)}, "boot.ready>5%"
    )
    assert "the null guest changed: boot.ready of floor by +20.0%" in render_text(found)
    assert states(found) == {"uk": "inconclusive"}
    assert "not more than the null guest changed by" in found.decisions[0].reason


def test_other_work_is_not_compared() -> None:
    """A benchmark that does half as much would be called twice as fast."""
    workload = Workload(name="cpu", title="", program="guestwork", metric="work.cpu", unit="events")
    runs = []
    for limit in ("1000", "2000"):
        header, records = with_metric(make_boots({"uk": TEN}), "work.cpu", [x * 100 for x in TEN])
        report = WorkReport(
            workload="cpu", begin_ns=0, end_ns=5, parameters={"limit": limit}, done=10, digest="ab"
        )
        header = replace(header, kit=Kit(works=(KitWork(workload=workload),)))
        records = tuple(
            replace(r, trial=replace(r.trial, purpose="work", workload="cpu"), work=(report,))
            for r in records
        )
        runs.append((header, records))
    found = {c.comparison.metric: c.comparison for c in diff_runs([runs[0]], [runs[1]]).changes}
    assert found["work.cpu"].ratio is None
    assert found["work.cpu"].reason == "the runs did other work: limit was 1000 and is 2000"


@pytest.mark.parametrize(("was", "told"), [("", "an earlier one"), ("PSS", "PSS")])
@pytest.mark.parametrize("turned", [False, True])
def test_what_was_measured_in_another_way_is_not_compared(was: str, told: str, turned: bool) -> None:
    """Memory that another version counted otherwise would be a guest that grew overnight."""
    header, records = with_metric(make_boots({"uk": TEN}), "memory.vmm", [x * 100 for x in TEN], state="idle")
    rows = tuple(replace(row, method=was) if row.name == "memory.vmm" else row for row in header.metrics)
    runs = [(replace(header, metrics=rows), records), (header, records)]
    old, new = reversed(runs) if turned else runs
    gates = [parse_gate("memory.vmm>5%")]
    found = diff_runs([old], [new], gates)
    compared = {c.comparison.metric: c.comparison for c in found.changes}
    assert compared["boot.ready"].ratio is not None
    assert compared["memory.vmm"].ratio is None
    ways = ("RSS", told) if turned else (told, "RSS")
    reason = f"the runs measured memory.vmm in other ways: {ways[0]} and {ways[1]}"
    assert compared["memory.vmm"].reason == reason
    assert {d.state for d in found.decisions} == {GateState.INCONCLUSIVE}
    assert diff_runs([new], [new], gates).changes[-1].comparison.ratio == 1
    assert all(c.comparison.reason == reason for c in diff_runs([old, new], [new], gates).changes[-1:])
    assert diff_runs([runs[0]], [runs[0]]).changes[-1].comparison.ratio == 1.0


def test_sizes_are_compared_as_they_are() -> None:
    """An image that grew by a tenth would be called inconclusive for want of cycles."""
    old, new = (
        with_metric(make_boots({"uk": TEN}), "image.file", [size]) for size in (1_000_000.0, 1_100_000.0)
    )
    found = diff_runs([old], [new], [parse_gate("image.file>9.9%"), parse_gate("image.file>10%")])
    assert [d.state for d in found.decisions] == [GateState.FAILED, GateState.PASSED]
    assert "1.100" in render_text(found)


# --- what may be compared ---------------------------------------------------------------------------------


def test_runs_of_different_settings_are_told_apart() -> None:
    """The difference between two hosts would be sold as one between two versions."""
    header, _ = make_boots({"uk": TEN})
    other = replace(
        header,
        tool="0.2.0",
        accel=replace(header.accel, used=Accel.KVM),
        host=replace(header.host, digest="0" * 64, vmm_version="9.0.0"),
        platform=replace(header.platform, memory_mib=1024, machine="pc", cpus=2),
    )
    found = {each.what: (each.old, each.new) for each in find_mismatches(header, other)}
    assert set(found) == {"host", "QEMU", "guestbench", "accelerator", "machine", "memory", "CPUs"}
    assert found["accelerator"] == ("tcg", "kvm")
    assert find_mismatches(header, header) == ()


# --- what is shown ----------------------------------------------------------------------------------------


def make_pair() -> tuple[Run, Run]:
    """A whole run, and the same with one guest a fifth slower and 4 KiB larger, and one system gone."""
    header, records = make_run()
    changed = []
    for record in records:
        if record.trial.system == "debian-12-direct":
            continue
        mine = record.trial.system == "linux-minimal"
        samples = (
            replace(s, value=s.value * (1.2 if mine else 1.001) if s.metric.startswith("boot.") else s.value)
            for s in record.samples
        )
        grown = (
            replace(s, value=s.value + 4096) if mine and s.metric == "image.file" else s for s in samples
        )
        changed.append(replace(record, samples=tuple(grown)))
    other = {role: make_image(f"new.{role.value}") for role in (Role.KERNEL, Role.INITRD)}
    guests = tuple(
        replace(guest, pristine=other) if guest.system.name == "linux-minimal" else guest
        for guest in header.guests
        if guest.system.name != "debian-12-direct"
    )
    trials = tuple(trial for trial in header.trials if trial.system != "debian-12-direct")
    return (header, records), (
        replace(header, run="20240118-090000-seed", guests=guests, trials=trials),
        tuple(changed),
    )


def test_hostile_text_has_no_effect() -> None:
    """A guest could colour the terminal, turn the line round, or put markup into a comment on a change."""
    hostile = "\x1b[31m|<b>`x`\u202e[a](http://evil.example)\n# b"
    run = with_metric(make_boots({"uk": TEN}), "work.cpu", TEN, op=hostile)
    header, records = run
    failed = replace(records[0], outcome=Crashed(reason=hostile), samples=())
    found = diff_runs([run], [(header, (failed, *records[1:]))], [parse_gate("work.cpu>5%")])
    text, markdown = render_text(found), render_markdown(found)
    assert all(line.isprintable() for line in (*text.splitlines(), *markdown.splitlines()))
    assert r"\x1b[31m" in text
    assert not re.search(r"(?<!\\)(<b>|\[a\]\()", re.sub(r"`+[^`\n].*?`+", "", markdown))
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


def make_golden() -> RunDiff:
    """The two compared, with gates of every kind of outcome."""
    gates = [parse_gate(text) for text in ("boot.ready>5%", "image.file>0%", "debian-12-direct:boot.cpu>5%")]
    old, new = make_pair()
    return diff_runs([old], [new], gates)


def test_text_is_the_one_people_read() -> None:
    """The table on the terminal would change without anybody having looked at it."""
    check_golden("diff.txt", render_text(make_golden()).encode())


def test_markdown_is_the_one_people_read() -> None:
    """The comment on a change would be broken markup, or a guest's text take effect in it."""
    markdown = render_markdown(make_golden())
    check_golden("diff.md", markdown.encode())
    assert "\x1b" not in markdown and "<b>" not in markdown


def test_json_is_the_one_programs_know() -> None:
    """A program that reads the JSON would break without anybody having noticed."""
    data = render_json(make_golden())
    check_golden("diff.json", data)
    assert msgspec.json.decode(data, type=DiffDocument).diff == make_golden()
    assert data == render_json(make_golden())
