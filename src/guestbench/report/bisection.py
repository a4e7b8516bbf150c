"""Shows what a bisection has found, as text for a terminal, as Markdown and as JSON; it decides nothing."""

from __future__ import annotations

import msgspec

from guestbench.analysis.bisection import LOOKS, Answer, Bisection, State, Step
from guestbench.analysis.failures import tell_rate
from guestbench.page.blocks import Block, Bullets, Cells, Code, Paragraph, Strong, Table, Text
from guestbench.page.figures import write_key
from guestbench.page.numbers import NOTHING
from guestbench.report.diff import tell_decision, tell_figures
from guestbench.report.terminal import show_text

HEAD = ("Step", "Commit", "Subject", "Blocks", "Against GOOD", "Failed", "Verdict")
JSON_VERSION = 1
"""Version of the shape of the JSON. Raised when a field changes its meaning or goes."""


class BisectionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of the JSON of `guestbench bisect`. Between several `commits` it cannot be decided."""

    version: int
    commits: tuple[str, ...]
    bisection: Bisection


def render_json(answer: Answer, found: Bisection) -> bytes:
    """A `BisectionDocument`, indented, keys of maps sorted, with a newline at the end."""
    document = BisectionDocument(version=JSON_VERSION, commits=answer.commits, bisection=found)
    return msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=2) + b"\n"


def describe_bisection(answer: Answer, found: Bisection, subjects: dict[str, str]) -> tuple[Block, ...]:
    """The answer with its figures, and the steps; `subjects` has those of the answer's commits."""
    first, *others = answer.commits
    said: Block = Paragraph((("The first bad commit is ", Strong(first)), subjects[first]))
    if others:
        names: tuple[Text, ...] = tuple((Code(each), " ", subjects[each]) for each in answer.commits)
        said = Bullets(names, f"It cannot be decided between these {len(names)} commits:")
    steps = [step for step in found.steps if step.commit.hash in answer.commits]
    figures = tuple(tell_decision(step.looks[-1].decision) for step in steps if step.looks)
    skipped = tuple(
        (Code(step.commit.short), f" was passed over: {step.unbuilt or tell_undecided(step)}")
        for step in found.steps
        if step.state in (State.SKIPPED, State.UNDECIDED)
    )
    rows = tuple(_row(number, step) for number, step in enumerate(found.steps, 1))
    return (said, Bullets(figures), Bullets(skipped), Table(HEAD, rows, 3))


def tell_step(step: Step) -> Text:
    """What is known of a commit, in one line."""
    if not step.looks:
        return (Code(step.commit.short), f": {step.unbuilt}")
    look = step.looks[-1]
    return (Code(step.commit.short), f": {look.blocks} blocks: {show_text(tell_decision(look.decision))}")


def tell_undecided(step: Step) -> str:
    """That all looks were taken and nothing is decided."""
    return f"{LOOKS[-1]} blocks do not decide it: {step.looks[-1].decision.reason}"


def _row(number: int, step: Step) -> Cells:
    found: tuple[str, str, str] = (NOTHING, NOTHING, NOTHING)
    if step.looks:
        look = step.looks[-1]
        key = write_key(look.decision.metric, look.decision.labels)
        change = f"{key}{tell_figures(look.decision)}"
        found = (str(look.blocks), change, tell_rate(look.failed, look.tried))
    return (str(number), Code(step.commit.short), step.commit.subject, *found, step.state.value)
