"""Renders a run as `comparison_results.md`; every number comes from the records, and every text is escaped.

In the templates a value that is not `Markdown` is escaped whether or not the template says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import jinja2

from guestbench.analysis.quality import (
    FailureGroup,
    find_failures,
    find_mismatches,
    find_notices,
    summarise_conditions,
)
from guestbench.analysis.summary import (
    ABOVE_FLOOR,
    CONFIDENCE,
    READY,
    add_derived,
    find_metric,
    find_summary,
    smallest_sample,
    summarise,
)
from guestbench.families import memory as memory_family
from guestbench.families import work as work_family
from guestbench.families.memory import section as memory
from guestbench.families.surface import section as surface
from guestbench.families.surface.findings import find_rows
from guestbench.families.work import section as work
from guestbench.families.work.findings import find_work
from guestbench.model import Header, Ok, Record, ShellWork, Summary, find_settings
from guestbench.page.escape import (
    Markdown,
    code,
    code_block,
    escape,
)
from guestbench.page.numbers import show_seconds
from guestbench.page.table import Table
from guestbench.report import results, setting
from guestbench.report.findings import Findings, analyse

TEMPLATES = Path(__file__).parent / "templates"


def render_markdown(header: Header, records: Sequence[Record], findings: Findings | None = None) -> str:
    """The whole report of a run, finished or not, as Markdown; `findings` are those of `analyse`."""
    findings = findings or analyse(header, records)
    summaries = findings.summaries
    context = {
        "header": header,
        "records": records,
        **_gather_results(header, records, findings),
        **_gather_comparisons(header, findings),
        **_gather_memory(header, records, summaries),
        **_gather_surface(header, records),
        **_gather_work(header, records, summaries),
        **_gather_setting(header, records),
    }
    return make_environment().get_template("comparison_results.md.j2").render(context)


def make_environment() -> jinja2.Environment:
    """The templates' environment: undefined names are errors, and all output passes through `escape`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        # Jinja's own escaping is for HTML; `finalize` takes its place for Markdown.
        autoescape=False,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(code=code, code_block=code_block)
    environment.filters.update(listing=join_words, times=count_things, first_sentence=first_sentence)
    return environment


def finalize(value: object) -> Markdown:
    """What a template prints for a value: tables as they are, anything else escaped."""
    if isinstance(value, Table):
        return value.render()
    return escape(value if isinstance(value, str) else str(value))


def join_words(parts: Sequence[str]) -> Markdown:
    """The parts as `a, b and c`, each escaped unless it is Markdown."""
    words = [escape(part) for part in parts]
    if len(words) < 2:
        return Markdown("".join(words))
    return Markdown(f"{', '.join(words[:-1])} and {words[-1]}")


def count_things(count: int, thing: str) -> str:
    """How many of a thing, as `1 block` or `10 blocks`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def first_sentence(text: str) -> str:
    """The first sentence of a text, without its full stop."""
    return text.partition(". ")[0].removesuffix(".")


def _gather_results(header: Header, records: Sequence[Record], findings: Findings) -> dict[str, object]:
    summaries, steps = findings.summaries, findings.steps
    planned = sum(trial.purpose == "boot" for trial in header.trials)
    boots = [record for record in records if record.trial.purpose == "boot"]
    ready = sum(isinstance(record.outcome, Ok) for record in boots)
    rounded, exact = results.image_tables(header, records, summaries)
    systems = results.list_systems(header)
    milestones = [
        (system, table) for system in systems if (table := results.milestone_table(system, steps)).rows
    ]
    return {
        "systems": [Markdown(f"{code(system.name)} ({escape(system.title)})") for system in systems],
        "planned": planned,
        "ready": ready,
        "failed": len(boots) - ready,
        "unmade": planned - len(boots),
        "spans": results.find_spans(header, summaries),
        "headline": results.headline(header, summaries),
        "warnings": _find_warnings(header, summaries),
        "failures": [_describe_failure(group) for group in find_failures(records)],
        "notices": find_notices(header, records),
        "consistent": bool(records) and not find_mismatches(header, records),
        "image_table": rounded,
        "image_exact": exact,
        "described": [
            metric for metric in header.metrics if metric.name in {s.metric for s in summaries if s.n}
        ],
        "size_help": first_sentence(find_metric(header, results.IMAGE_SIZE).help),
        "ready_help": first_sentence(find_metric(header, READY).help),
        "cpu_help": find_metric(header, results.CPU).help,
        "boot_table": results.boot_times(header, summaries, READY),
        "boot_values": results.every_value(header, summaries, READY),
        "milestones": milestones,
        "floor_table": results.boot_times(header, summaries, ABOVE_FLOOR),
        "first_table": results.first_boots(header, summarise(header, records, ("first-boot",)), summaries),
        "cpu_table": results.boot_times(header, summaries, results.CPU),
        "raw_table": results.raw_table(records),
        "confidence": f"{CONFIDENCE:.0%}",
        "smallest": smallest_sample(),
    }


def _gather_comparisons(header: Header, findings: Findings) -> dict[str, object]:
    if not header.experiment.baseline and not header.experiment.claims:
        # Statistics take half a second to load.
        return {"claim_table": "", "ratio_table": "", "baseline": Markdown("")}
    from guestbench.analysis.compare import LEAST_EFFECT
    from guestbench.report import comparison

    return {
        "claim_table": comparison.claim_table(header, findings.judgements).render(),
        "ratio_table": comparison.ratio_table(header, findings.comparisons).render(),
        "baseline": code(header.experiment.baseline),
        "least_effect": f"{LEAST_EFFECT:.0%}",
    }


def _gather_memory(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary]
) -> dict[str, object]:
    host, exact = memory.host_tables(header, records, summaries)
    return {
        "least_table": memory.least_table(header, records),
        "mixed_sizes": memory.mixed_sizes(header, records),
        "evidence_table": memory.evidence_table(header, records),
        "memory_table": host,
        "memory_exact": exact,
        "views_table": memory.views_table(header, records, summaries),
        "fields_table": memory.fields_table(header, summaries),
        "balloon_table": memory.balloon_table(header, summaries),
        "free_texts": memory.free_texts(header, records),
        "memory_options": memory.extra_options(records),
        "memory_settings": find_settings(header.experiment.settings, "memory", memory_family.Settings),
        "loads": memory.loads(header),
        "least_help": find_metric(header, "memory.min").help,
        "touched_help": find_metric(header, memory.TOUCHED).help,
    }


def _gather_surface(header: Header, records: Sequence[Record]) -> dict[str, object]:
    rows = find_rows(header, add_derived(header, records))
    groups = surface.group_tables(header, rows)
    return {
        "seed_surface": surface.seed_table(header, rows),
        "surface_groups": groups,
        "surface_folders": surface.folders(header, rows),
        "surface_help": [(row.title, row.help) for row in dict.fromkeys(row.metric for row in rows)],
    }


def _gather_work(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary]
) -> dict[str, object]:
    rows = find_work(header, records, summaries)
    kit = header.kit
    names = dict.fromkeys(row.work.workload.metric for row in rows)
    cycles = find_settings(header.experiment.settings, "work", work_family.Settings).cycles
    return {
        "work_table": work.work_table(header, rows),
        "clock_table": work.clock_table(header, rows),
        "program_table": work.program_table(rows),
        "work_starts": work.describe_starts(header) if rows else (),
        "work_help": work.metric_helps(header, (*names, "work.time") if rows else ()),
        "work_warnings": work.find_warnings(header, records, summaries),
        "check_table": work.check_table(header, summaries),
        "check_note": kit.no_tools if kit else "",
        "net_table": work.net_table(header, records, summaries),
        "net_help": work.metric_helps(header, [row[0] for row in work.NET_ROWS]),
        "work_cycles": cycles,
        "work_resumes": any(isinstance(g.system.work, ShellWork) for g in header.guests),
    }


def _gather_setting(header: Header, records: Sequence[Record]) -> dict[str, object]:
    common, lines = setting.command_lines(header, records)
    return {
        "host_table": setting.host_table(header),
        "platform_table": setting.platform_table(header),
        "conditions_table": setting.conditions_table(summarise_conditions(header, records)),
        "order_table": setting.order_table(records),
        "common_options": common,
        "command_lines": lines,
        "fairness_table": setting.fairness_table(header),
        "cmdlines": setting.kernel_cmdlines(header),
        "digest_table": setting.digest_table(header),
        "settled": any(guest.images != guest.pristine for guest in header.guests),
        "emulated": setting.emulated(header),
        "repeat": shlex.join(("guestbench", *header.command)),
        "blocks": len({trial.block for trial in header.trials if trial.purpose == "boot"}),
    }


def _find_warnings(header: Header, summaries: Sequence[Summary]) -> list[tuple[Markdown, str]]:
    """Warnings of the metrics that the headline shows, each with its system, none twice."""
    found: dict[tuple[Markdown, str], None] = {}
    for system in results.list_systems(header):
        for metric in (results.IMAGE_SIZE, READY):
            summary = find_summary(summaries, system.name, metric)
            for warning in summary.warnings if summary else ():
                found[(code(system.name), warning)] = None
    return list(found)


def _describe_failure(group: FailureGroup) -> Markdown:
    """An item of a list: who failed how often and why, how far the first got, and where its output is."""
    record, outcome = group.records[0], results.show_outcome(group.outcome)
    kind = group.purpose.replace("-", " ")
    lines = [
        f"{code(group.system)}: {len(group.records)} of {group.of} {kind} trials {outcome}.",
        f"The reason: {code(group.outcome.reason, in_table=False)}",
    ]
    if record.marks:
        last = max(record.marks, key=lambda mark: mark.t_ns)
        when = show_seconds(last.t_ns / 1e9)
        lines.append(f"The first of them got as far as the milestone {code(last.name)}, after {when}.")
    if record.artifacts:
        paths = [code(path) for _, path in sorted(record.artifacts.items())]
        lines.append(f"What it printed: {join_words(paths)}.")
    return Markdown("\n  ".join(lines))
