"""Says by which rule a run stopped, and what each of its looks saw."""

from __future__ import annotations

import math
from collections.abc import Iterator

from guestbench.analysis.findings import Findings
from guestbench.analysis.stopping import CHANCE, COVERAGE
from guestbench.model import Goal, Look, StopRule
from guestbench.page.blocks import Code, Section, Text, read_words
from guestbench.page.figures import add_interval, show_p, tabulate
from guestbench.page.numbers import NOTHING, count_things, show_exact, show_ratio

tell = read_words(__file__)


def tell_end(found: Findings) -> Iterator[Text]:
    """That there were as many blocks as a rule wanted, and whether its goal was reached."""
    rule, looks = found.header.until, found.looks
    if rule is None or not found.records:
        return
    goal = _tell_goal(rule)
    if looks.end is None:
        last = max((look.blocks for look in looks.taken), default=0)
        seen = f"after {last} blocks, at its last look," if last else "before its first look"
        yield f"Blocks were to be made until {goal}, {rule.most} at most; {seen} that was not reached."
    elif not looks.taken:
        yield f"It stopped after {looks.end} blocks, of which none has values of two systems."
    else:
        yield f"It stopped after {looks.end} of at most {rule.most} blocks, since {goal}."


def _tell_goal(rule: StopRule) -> str:
    if rule.goal is Goal.VERDICT:
        return f"each system was told to be slower, faster or alike within {show_exact(rule.effect * 100)}%"
    return f"each ratio was known to within {show_exact(rule.width * 100)}%"


def describe_looks(found: Findings) -> Iterator[Section]:
    """The rule and every look, where a run had a rule."""
    rule, looks = found.header.until, found.looks
    if rule is None:
        return
    words = tell(
        rule.goal.value,
        most=count_things(rule.most, "block"),
        looks=", ".join(map(str, rule.looks)),
        confidence=f"{1 - rule.alpha:.0%}",
        level=f"{rule.alpha:.2%}",
        share=f"{COVERAGE if rule.goal is Goal.CI else CHANCE:.0%}",
        width=f"{show_exact(rule.width * 100)}%",
        effect=f"{show_exact(rule.effect * 100)}%",
    )
    table = tabulate(
        looks.taken,
        {
            "After blocks": lambda look: str(look.blocks),
            "Figure": lambda look: found.metric(look.metric).title,
            "System": lambda look: Code(look.system),
            "Blocks with both": lambda look: str(look.pairs),
            "Ratio (interval)": lambda look: add_interval(show_ratio(look.ratio), look.interval, show_ratio),
            "Reaches from it": _show_reach,
            "p": lambda look: show_p(look.p),
            "Enough": lambda look: "yes" if look.reached else "no",
        },
        words=0,
    )
    yield Section("looks", "When it was to stop", (words, table.without_empty_columns()))


def _show_reach(look: Look) -> str:
    if look.interval is None:
        return NOTHING
    return f"{math.expm1(math.log(look.interval.high / look.interval.low) / 2):.2%}"
