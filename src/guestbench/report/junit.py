"""Writes what became of gates as JUnit XML, which CI systems show; it judges nothing.

A test case is one decision. What decides nothing is skipped rather than passed, with the reason. There is no
standard of the format: elements and attributes are those that Jenkins and GitLab read, which are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from guestbench.analysis.gate import Decision, GateState
from guestbench.page.figures import write_key
from guestbench.report.diff import tell_decision
from guestbench.report.terminal import show_text
from guestbench.text import visible

SUITE = "guestbench gates"


def render_junit(decisions: Sequence[Decision]) -> bytes:
    """A document with one test case for each decision, its class being the system's name.

    What guests and files are called is in printable characters, for XML has no place for others.
    """
    states = [each.state for each in decisions]
    counts = {
        "name": SUITE,
        "tests": str(len(states)),
        "failures": str(states.count(GateState.FAILED)),
        "errors": "0",
        "skipped": str(states.count(GateState.INCONCLUSIVE)),
    }
    root = Xml.Element("testsuites", counts)
    suite = Xml.SubElement(root, "testsuite", counts)
    for each in decisions:
        figure = write_key(each.metric, each.labels)
        # The same gate may be about several figures of a system, and a case is known by its name.
        name = visible(f"{each.gate}: {figure}")
        case = Xml.SubElement(suite, "testcase", classname=visible(each.system), name=name, time="0")
        told = show_text(tell_decision(each))
        if each.state is GateState.FAILED:
            Xml.SubElement(case, "failure", message=told, type="gate").text = told
        elif each.state is GateState.INCONCLUSIVE:
            Xml.SubElement(case, "skipped", message=told)
        else:
            Xml.SubElement(case, "system-out").text = told
    Xml.indent(root)
    document: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"
