"""How a Linux guest is hardened, as it tells over its shell; no setting is changed.

Each answer is kept as evidence. What the guest prints is hostile bytes: values are short printable ASCII or
they are no values, and lines of another form are passed over. What is wanted follows the Kernel Self
Protection Project's recommended settings for x86-64 (https://kspp.github.io/Recommended_Settings), as far as
Debian's 6.1 and later kernels know them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from guestbench.errors import ShellError
from guestbench.families.surface.seen import Seen, name_some
from guestbench.guest.shell import Shell
from guestbench.images.contents.hardening import ABSENT, OPTIONS, read_wanted
from guestbench.model import Frozen, Unknown

COMMAND_S = 60.0
UNSET = "n"
LEAST_LINES = 100
"""A kernel's configuration has thousands of lines; a file with fewer is something else."""
METRICS = ("surface.hardening_met", "surface.hardening_unmet", "surface.cpu_flaws", "surface.lsms")

JUDGED = tuple(option for option in OPTIONS if option.wanted)
SYSCTLS = read_wanted(Path(__file__).with_name("sysctls.toml"))

_names = "|".join(name for option in JUDGED for name in option.names)
COMMANDS = {
    "kernel-config": (
        'config() { cat "/boot/config-$(uname -r)" 2>/dev/null || zcat /proc/config.gz 2>/dev/null; }; '
        # The number of lines says that this was a configuration; only what is asked for is sent: 5 KB of 250.
        'echo "lines: $(config | grep -c CONFIG_)"; '
        f"config | grep -E '^(CONFIG_({_names})=|# CONFIG_({_names}) is not set)'"
    ),
    "vulnerabilities": "cd /sys/devices/system/cpu/vulnerabilities && grep -H . *",
    "sysctl": "cd /proc/sys && grep -Hs . " + " ".join(each.name.replace(".", "/") for each in SYSCTLS),
    "lsm": "cat /sys/kernel/security/lsm",
    # Evidence only: the level of lockdown, and the actions that filters of system calls can take.
    "lockdown": "cat /sys/kernel/security/lockdown",
    "seccomp": "cat /proc/sys/kernel/seccomp/actions_avail",
}
"""What is run, by the name under which its output is kept."""


class Setting(Frozen):
    """A setting, what it was found to be, and whether that is as wanted.

    A kernel option is `y`, `m`, `n` (not set), a value, or `absent`: this kernel does not know it, or what it
    needs is off. The protection is missing either way, so `met` says what holds.
    """

    name: str
    found: str | Unknown
    met: bool | Unknown


class Flaw(Frozen):
    """A flaw that CPUs have, and what the kernel says of this one, in its own words."""

    name: str
    state: str


def ask_hardening(shell: Shell) -> Seen:
    """Run every command; one that fails makes its figures unknown, and the others are run all the same."""
    seen = Seen()
    answers: dict[str, bytes | Unknown] = {}
    for name, command in COMMANDS.items():
        try:
            answers[name] = said = shell.run(command, timeout_s=COMMAND_S).stdout
            seen.keep({f"hardening-{name}": said})
        except ShellError as error:
            answers[name] = Unknown(reason=error.message)
    seen.take(
        count_settings("options", parse_config(answers["kernel-config"]), "hardening-kernel-config"),
        count_settings("sysctls", parse_sysctls(answers["sysctl"]), "hardening-sysctl"),
        count_flaws(parse_vulnerabilities(answers["vulnerabilities"])),
    )
    modules = parse_modules(answers["lsm"])
    count, names = (modules, "") if isinstance(modules, Unknown) else (len(modules), name_some(modules))
    seen.add("surface.lsms", count, "hardening-lsm", detail=names)
    return seen


# --- the figures --------------------------------------------------------------------------------------


def count_settings(kind: str, settings: Sequence[Setting] | Unknown, evidence: str) -> Seen:
    """How many settings are as recommended, and which are not; one that is not known counts as neither."""
    seen = Seen()
    labels = {"kind": kind}
    for metric, wanted in (("surface.hardening_met", True), ("surface.hardening_unmet", False)):
        if isinstance(settings, Unknown):
            seen.add(metric, settings, labels=labels)
            continue
        names = [setting.name for setting in settings if setting.met is wanted]
        seen.add(metric, len(names), evidence, detail="" if wanted else name_some(names), labels=labels)
    return seen


def count_flaws(flaws: Sequence[Flaw] | Unknown) -> Seen:
    """How many of the CPU's flaws the kernel has no remedy for."""
    seen = Seen()
    if isinstance(flaws, Unknown):
        seen.add("surface.cpu_flaws", flaws)
        return seen
    names = [flaw.name for flaw in flaws if flaw.state.startswith("Vulnerable")]
    detail = f"{name_some(names)}; of {len(flaws)}" if names else f"of {len(flaws)}"
    seen.add("surface.cpu_flaws", len(names), "hardening-vulnerabilities", detail=detail)
    return seen


# --- the answers --------------------------------------------------------------------------------------

_OPTION = re.compile(rb'CONFIG_([A-Z0-9_]{1,60})=("?[\x21-\x7e]{0,60})')
_NOT_SET = re.compile(rb"# CONFIG_([A-Z0-9_]{1,60}) is not set")
_LINES = re.compile(rb"lines: ([0-9]{1,7})")
_SYSCTL = re.compile(rb"([a-z0-9_/]{1,80}):(-?[0-9]{1,20})")
_FLAW = re.compile(rb"([a-z0-9_]{1,40}):([\x20-\x7e]{1,200})")
_WORD = re.compile(rb"[a-z0-9_]{1,40}")


def parse_config(answer: bytes | Unknown) -> tuple[Setting, ...] | Unknown:
    """The options that are asked for, in the order of the table."""
    if isinstance(answer, Unknown):
        return answer
    found: dict[str, str] = {}
    lines = 0
    for line in answer.splitlines():
        if match := _OPTION.fullmatch(line):
            found.setdefault(match[1].decode(), match[2].decode())
        elif match := _NOT_SET.fullmatch(line):
            found.setdefault(match[1].decode(), UNSET)
        elif match := _LINES.fullmatch(line):
            lines = int(match[1])
    if lines < LEAST_LINES:
        return Unknown(reason="the guest has neither /boot/config-RELEASE nor /proc/config.gz")
    states = [(option, option.state_in(found)) for option in JUDGED]
    return tuple(
        Setting(
            name=f"CONFIG_{option.name}",
            found=state,
            met=state in option.wanted or (state == ABSENT and UNSET in option.wanted),
        )
        for option, state in states
    )


def parse_sysctls(answer: bytes | Unknown) -> tuple[Setting, ...] | Unknown:
    """The sysctls that are asked for; of one that the guest does not have, nothing is known."""
    if isinstance(answer, Unknown):
        return answer
    found: dict[str, str] = {}
    for line in answer.splitlines():
        if match := _SYSCTL.fullmatch(line):
            found.setdefault(match[1].decode().replace("/", "."), match[2].decode())
    if not any(each.name in found for each in SYSCTLS):
        return Unknown(reason="the guest shows none of these settings below /proc/sys")
    missing = Unknown(reason="this kernel has no such setting, or does not show it")
    return tuple(
        Setting(
            name=each.name,
            found=found.get(each.name, missing),
            met=found[each.name] in each.wanted if each.name in found else missing,
        )
        for each in SYSCTLS
    )


def parse_vulnerabilities(answer: bytes | Unknown) -> tuple[Flaw, ...] | Unknown:
    """What the kernel says of each flaw of the CPU, in its own words."""
    if isinstance(answer, Unknown):
        return answer
    found = tuple(
        Flaw(name=match[1].decode(), state=match[2].decode().strip())
        for line in answer.splitlines()
        if (match := _FLAW.fullmatch(line))
    )
    return found or Unknown(reason="the guest has no /sys/devices/system/cpu/vulnerabilities")


def parse_modules(answer: bytes | Unknown) -> tuple[str, ...] | Unknown:
    """The security modules in force."""
    if isinstance(answer, Unknown):
        return answer
    words = answer.strip().split(b",")
    if not all(_WORD.fullmatch(word) for word in words):
        return Unknown(reason="the guest names no security modules")
    return tuple(word.decode() for word in words)
