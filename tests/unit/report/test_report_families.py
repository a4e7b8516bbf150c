"""Every figure that a run has is in its reports, whichever family it is of and wherever that comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from calibration_factories import make_calibration_run
from cost_factories import make_cost_run
from factories import make_run
from memory_factories import make_memory_run
from report_pages import html_of, markdown_of, summary_of
from surface_factories import make_surface_run
from tea_family import make_brews, tea_installed
from work_factories import make_work_run

from guestbench.analysis.diff import diff_runs
from guestbench.analysis.summary import summarise
from guestbench.families import find_metrics, list_families
from guestbench.model import Header, Metric, Record, Sample, Summary
from guestbench.page.figures import show_amount, show_summary
from guestbench.page.numbers import show_exact, show_mean, show_seconds
from guestbench.report.diff import describe_diff
from guestbench.report.markdown import render_blocks
from guestbench.report.terminal import render_lines

replace = msgspec.structs.replace
Run = tuple[Header, tuple[Record, ...]]

RUNS: dict[str, Callable[[], Run]] = {
    "image": make_run,
    "boot": make_run,
    "cost": make_cost_run,
    "memory": make_memory_run,
    "surface": make_surface_run,
    "work": make_work_run,
    "net": make_work_run,
    "calibration": make_calibration_run,
}
LABELS = {"memory": {"state": "idle"}}
"""Labels without which a family has no figures."""
SHOWN_AS_ANOTHER = {"surface.text_base"}
"""Of the bases of kernels there is how many bits of them differ between boots."""


def with_every_metric(run: Run, name: str) -> Run:
    """The run with a value of each metric of a family that it has none of, and one that nobody knows."""
    header, records = run
    (family,) = (each for each in list_families() if each.name == name)
    new = replace(family.metrics[0], name=f"{name}.new", title="Added", group="", headline="", span="")
    rows = (*find_metrics((name,), header.kit), new)
    others = tuple(row for row in header.metrics if row.name not in {row.name for row in rows})
    present = {sample.metric for record in records for sample in record.samples}
    missing = [row for row in rows if row.name not in present]
    shown = [purpose.name for purpose in family.purposes if purpose.counted or purpose.facts]
    place = next(n for n, r in enumerate(records) if r.trial.purpose in shown and r.holds)
    added = (
        Sample(metric=row.name, value=77_001 + 13 * number, labels=LABELS.get(name, {}))
        for number, row in enumerate(missing)
    )
    grown = replace(records[place], samples=(*records[place].samples, *added))
    return replace(header, metrics=(*others, *rows)), (*records[:place], grown, *records[place + 1 :])


def forms_of(summary: Summary, metric: Metric) -> Iterator[str]:
    """The ways in which a figure may be written."""
    yield show_summary(replace(summary, failed=0), metric.unit)
    yield show_amount(summary.median, metric.unit)
    yield show_mean(summary.mean, summary.sd)
    for value in (*summary.values, summary.median):
        yield show_exact(value)
        yield show_seconds(value, 1e-9)


@pytest.mark.parametrize("name", [family.name for family in list_families()])
def test_every_metric_that_has_samples_is_shown(name: str) -> None:
    """What was measured would be in no report, because nobody has thought of a place for it."""
    header, records = with_every_metric(RUNS[name](), name)
    purposes = tuple({record.trial.purpose for record in records})
    summaries = [each for each in summarise(header, records, purposes) if each.n]
    metrics = [row for row in header.metrics if row.family == name and row.name not in SHOWN_AS_ANOTHER]
    for report in (markdown_of(header, records), html_of(header, records)):
        text = report.replace("<code>", "").replace("</code>", "")
        for metric in metrics:
            samples = [s for record in records for s in record.samples if s.metric == metric.name]
            forms = {
                form for each in summaries if each.metric == metric.name for form in forms_of(each, metric)
            }
            # What a search has tried is no sample of anything, and has no summary.
            forms = forms or {show_amount(sample.value, metric.unit) for sample in samples}
            assert samples and any(form in text for form in forms), metric.name
        assert "Added" in text
    # Of sizes of images the terminal shows what they have in common with all others: the headline.
    assert "Added" in summary_of(header, records) or name == "image"


def test_a_family_of_another_package_is_shown_everywhere(tmp_path: Path) -> None:
    """Whoever adds a family with nothing but metrics would have to write its reports, too."""
    with tea_installed(tmp_path):
        old, new = make_brews(), make_brews(1.2, "new")
        terminal, diff = summary_of(*old), describe_diff(diff_runs([old], [new]))
        pages = markdown_of(*old), html_of(*old).replace("<code>", "`").replace("</code>", "`")
    for page in pages:
        assert "1.010 ± 0.008 s" in page and "7 leaves" in page and "n/a: failed: it leaks" in page
        assert "tea.boiling: Tea." in page and "Compared with `pot`" in page
    assert "\n## Tea\n" in pages[0]
    assert "tea.boiling: kettle 1.010 ± 0.008 s; pot 4.040 ± 0.033 s" in terminal
    for shown in (render_lines(diff), render_blocks(diff)):
        assert "tea.boiling" in shown and "larger, which is worse" in shown


def test_a_run_is_shown_where_its_family_is_not_installed(tmp_path: Path) -> None:
    """Whoever was sent a run could not read it without the package that measured it."""
    with tea_installed(tmp_path, findings=False):
        run = make_brews()
        there = markdown_of(*run)
    assert "1.010 ± 0.008 s" in markdown_of(*run)
    assert markdown_of(*run).replace("## tea", "## Tea").splitlines()[:30] == there.splitlines()[:30]


def test_memory_that_a_host_does_not_tell_is_unknown() -> None:
    """A report would say that it was measured on a machine without memory."""
    header, records = make_run()
    told = markdown_of(replace(header, host=replace(header.host, memory_mib=0)), records)
    row = re.compile(r"^\| Memory +\| unknown +\|$", re.MULTILINE)
    assert row.search(told)
    assert not row.search(markdown_of(header, records))


def test_digest_of_a_large_image_is_explained() -> None:
    """A reader would hold it against what sha256sum prints, and take the image for another."""
    header, records = make_run()
    guest = header.guests[0]
    images = {role: replace(image, sha256="blocks:12ab") for role, image in guest.images.items()}
    large = replace(header, guests=(replace(guest, images=images, pristine=images), *header.guests[1:]))
    assert "which `guestbench digest` prints" in markdown_of(large, records)
    assert "guestbench digest" not in markdown_of(header, records)
