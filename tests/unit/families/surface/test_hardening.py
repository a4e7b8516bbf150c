"""How a Linux guest is hardened, out of answers that a real Debian gave, and out of hostile ones."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitor_guest import RECORDINGS

from guestbench.errors import ShellError
from guestbench.families.surface.linux import hardening
from guestbench.families.surface.linux.hardening import (
    COMMANDS,
    JUDGED,
    SYSCTLS,
    Setting,
    ask_hardening,
    parse_config,
    parse_modules,
    parse_sysctls,
    parse_vulnerabilities,
)
from guestbench.families.surface.seen import Seen
from guestbench.guest.shell import Answer, Shell
from guestbench.model import Unknown


class RecordedShell:
    """Gives recorded outputs to the commands of the probe; others fail as in a guest."""

    def __init__(self, outputs: dict[str, bytes]) -> None:
        self._outputs = outputs

    def run(self, command: str, *, timeout_s: float) -> Answer:
        """The recorded output, or status 1 with nothing."""
        name = next(name for name, text in COMMANDS.items() if text == command)
        if name not in self._outputs:
            return Answer(status=1, stdout=b"", stderr=b"cat: can't open: No such file or directory\n")
        return Answer(status=0, stdout=self._outputs[name], stderr=b"")


FORMS = {
    "kernel-config": (hardening._OPTION, hardening._NOT_SET, hardening._LINES),
    "vulnerabilities": (hardening._FLAW,),
    "sysctl": (hardening._SYSCTL,),
}


def ask(outputs: dict[str, bytes]) -> Seen:
    """What is made of these outputs."""
    return ask_hardening(cast(Shell, RecordedShell(outputs)))


def recorded(name: str) -> dict[str, bytes]:
    """The outputs of a real guest."""
    files = {each: RECORDINGS / f"{name}-{each}.txt" for each in COMMANDS}
    return {each: file.read_bytes() for each, file in files.items() if file.exists()}


def by_name(settings: tuple[Setting, ...] | Unknown) -> dict[str, Setting]:
    """Settings by their name; they must not be unknown."""
    assert not isinstance(settings, Unknown), settings
    return {each.name: each for each in settings}


def test_debian_is_read_as_it_is() -> None:
    """Debian's defences would be reported wrongly, above all those that it lacks."""
    outputs = recorded("debian-12-nocloud")
    options = by_name(parse_config(outputs["kernel-config"]))
    assert len(options) == len(JUDGED)
    assert options["CONFIG_STRICT_KERNEL_RWX"].met is True
    assert options["CONFIG_VMAP_STACK"].found == "y"
    assert options["CONFIG_DEFAULT_MMAP_MIN_ADDR"].found == "65536"
    assert (options["CONFIG_MODULES"].found, options["CONFIG_MODULES"].met) == ("y", False)
    assert (options["CONFIG_CFI_CLANG"].found, options["CONFIG_CFI_CLANG"].met) == ("absent", False)
    assert options["CONFIG_MITIGATION_PAGE_TABLE_ISOLATION"].found == "y"
    sysctls = by_name(parse_sysctls(outputs["sysctl"]))
    assert sysctls["kernel.randomize_va_space"].met is True
    assert sysctls["fs.protected_symlinks"].found == "1"
    flaws = parse_vulnerabilities(outputs["vulnerabilities"])
    assert not isinstance(flaws, Unknown)
    assert "meltdown" in {each.name for each in flaws}
    modules = parse_modules(outputs["lsm"])
    assert not isinstance(modules, Unknown)
    assert "apparmor" in modules
    for name, forms in FORMS.items():
        assert all(any(form.fullmatch(line) for form in forms) for line in outputs[name].splitlines())
    found = ask(outputs)
    assert found.raw == {f"hardening-{name}.txt": text for name, text in outputs.items()}
    assert set(outputs) == set(COMMANDS)
    assert not found.gaps
    figures = {(s.metric, s.labels.get("kind", "")): s for s in found.samples}
    assert figures["surface.lsms", ""].value == len(modules)
    met = figures["surface.hardening_met", "options"].value
    assert met + figures["surface.hardening_unmet", "options"].value == len(JUDGED)


def test_guest_that_shows_nothing_is_unknown_not_unhardened() -> None:
    """A guest without these files would be reported as one that has every protection turned off."""
    found = ask({})
    assert not found.samples
    assert {gap.metric for gap in found.gaps} == set(hardening.METRICS)
    assert all(gap.reason.startswith("unknown: ") for gap in found.gaps)


def test_setting_that_a_kernel_does_not_have_is_unknown() -> None:
    """A setting of a newer kernel would count as turned off."""
    found = by_name(parse_sysctls(b"kernel/kptr_restrict:2\n"))
    assert found["kernel.kptr_restrict"].met is True
    assert isinstance(found["kernel.warn_limit"].met, Unknown)


def test_shell_that_stops_leaves_reasons() -> None:
    """One command that hangs would lose all that the others told."""

    class LostShell:
        def run(self, command: str, *, timeout_s: float) -> Answer:
            if command == COMMANDS["lsm"]:
                return Answer(status=0, stdout=b"lockdown,yama\n", stderr=b"")
            raise ShellError("the guest's shell stopped answering", "hint")

    found = ask_hardening(cast(Shell, LostShell()))
    assert [(s.metric, s.value, s.detail) for s in found.samples] == [("surface.lsms", 2, "lockdown, yama")]
    assert {gap.reason for gap in found.gaps} == {"unknown: the guest's shell stopped answering"}
    assert set(found.raw) == {"hardening-lsm.txt"}


@pytest.mark.parametrize(
    "line",
    [
        b"CONFIG_MODULES=\x1b[2J",
        b"CONFIG_MODULES=n y",
        b"CONFIG_MODULES=" + b"y" * 100,
        b" CONFIG_MODULES=y",
        b"CONFIG_MODULES\xff=y",
        b"<script>CONFIG_MODULES=y",
    ],
)
def test_hostile_lines_are_skipped(line: bytes) -> None:
    """Escape codes or markup of a guest would reach a terminal or a report."""
    found = parse_config(b"lines: 9000\n" + line + b"\n")
    assert by_name(found)["CONFIG_MODULES"].found == "absent"


def test_first_answer_counts() -> None:
    """A guest could print what it likes to be, after what it is."""
    found = parse_config(b"lines: 9000\nCONFIG_MODULES=y\n# CONFIG_MODULES is not set\n")
    assert by_name(found)["CONFIG_MODULES"].found == "y"


@given(st.binary(), st.sampled_from(sorted(COMMANDS)))
def test_any_bytes_leave_printable_values(data: bytes, name: str) -> None:
    """A guest could stop a run, or put control codes into its results."""
    found = ask({name: b"lines: 9000\n" + data if name == "kernel-config" else data})
    assert all(32 <= byte < 127 for byte in msgspec.json.encode((found.samples, found.gaps)))


def test_tables_name_each_setting_once() -> None:
    """A setting would be counted twice, or be wanted both on and off."""
    for table in (JUDGED, SYSCTLS):
        names = [each.name for each in table]
        assert len(set(names)) == len(names)
        assert all(each.wanted and each.why for each in table)


def test_commands_change_nothing() -> None:
    """A probe would change the guest that it measures."""
    for command in COMMANDS.values():
        assert ">" not in command.replace("2>/dev/null", "")
    assert hardening.COMMAND_S <= 60
