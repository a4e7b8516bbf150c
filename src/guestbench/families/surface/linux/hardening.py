"""How a Linux guest is hardened, as it tells over its shell; it changes no setting and judges no guest.

Each answer is kept with the command that got it. What the guest prints is hostile bytes: values are short
printable ASCII or they are no values, and lines of another form are passed over and counted. What is wanted
follows the Kernel Self Protection Project's recommended settings for x86-64
(https://kspp.github.io/Recommended_Settings), as far as Debian's 6.1 and later kernels know them.
"""

from __future__ import annotations

import re

from guestbench.errors import ShellError
from guestbench.guest.shell import Shell
from guestbench.images.contents.hardening import OPTIONS, Wanted
from guestbench.model import Frozen, Unknown

COMMAND_S = 60.0
SET, UNSET, ABSENT = "y", "n", "absent"
LEAST_LINES = 100
"""A kernel's configuration has thousands of lines; a file with fewer is something else."""

JUDGED = tuple(option for option in OPTIONS if option.wanted)
SYSCTLS = (
    Wanted("kernel.kptr_restrict", ("2",), "no kernel addresses in /proc, not even for root"),
    Wanted("kernel.dmesg_restrict", ("1",), "kernel messages are for root"),
    Wanted("kernel.perf_event_paranoid", ("3", "4"), "users cannot measure the CPU (3 needs a patch)"),
    Wanted("kernel.unprivileged_bpf_disabled", ("1", "2"), "users cannot load BPF programs"),
    Wanted("net.core.bpf_jit_harden", ("2",), "constants in compiled BPF programs are hidden"),
    Wanted("kernel.yama.ptrace_scope", ("3",), "nobody traces another program"),
    Wanted("kernel.randomize_va_space", ("2",), "all regions of a program are at random places"),
    Wanted("kernel.kexec_load_disabled", ("1",), "the running kernel cannot be replaced by another"),
    Wanted("kernel.modules_disabled", ("1",), "no more code can be added to the kernel"),
    Wanted("kernel.warn_limit", ("1",), "a kernel that has warned does not go on"),
    Wanted("kernel.oops_limit", ("1",), "nor one that has met an error"),
    Wanted("user.max_user_namespaces", ("0",), "users cannot become root of a namespace"),
    Wanted("dev.tty.ldisc_autoload", ("0",), "users cannot load terminal drivers"),
    Wanted("dev.tty.legacy_tiocsti", ("0",), "nobody can type on another's terminal"),
    Wanted("vm.unprivileged_userfaultfd", ("0",), "users cannot hold the kernel at a page fault"),
    Wanted("vm.mmap_min_addr", ("65536",), "programs cannot map NULL (as CONFIG_DEFAULT_MMAP_MIN_ADDR)"),
    Wanted("fs.protected_symlinks", ("1",), "no following of others' links in shared folders"),
    Wanted("fs.protected_hardlinks", ("1",), "no links to others' files"),
    Wanted("fs.protected_fifos", ("2",), "no opening of others' pipes in shared folders"),
    Wanted("fs.protected_regular", ("2",), "nor of others' files, where one meant to make one"),
    Wanted("fs.suid_dumpable", ("0",), "no core files of programs that changed user"),
    # The project has no network settings: Linux's Documentation/networking/ip-sysctl.
    Wanted("net.ipv4.conf.all.rp_filter", ("1", "2"), "packets with a forged source are dropped"),
    Wanted("net.ipv4.conf.default.rp_filter", ("1", "2"), "also from interfaces to come"),
    Wanted("net.ipv4.conf.all.accept_redirects", ("0",), "routers cannot send traffic elsewhere"),
    Wanted("net.ipv4.conf.all.accept_source_route", ("0",), "nor can senders"),
    Wanted("net.ipv4.tcp_syncookies", ("1",), "a flood of connections does not fill the tables"),
)

_names = "|".join(name for option in JUDGED for name in (option.name, option.older) if name)
CONFIG = (
    'config() { cat "/boot/config-$(uname -r)" 2>/dev/null || zcat /proc/config.gz 2>/dev/null; }; '
    # The number of lines says that this was a configuration; only what is asked for is sent: 5 KB of 250.
    'echo "lines: $(config | grep -c CONFIG_)"; '
    f"config | grep -E '^(CONFIG_({_names})=|# CONFIG_({_names}) is not set)'"
)
VULNERABILITIES = "cd /sys/devices/system/cpu/vulnerabilities && grep -H . *"
SYSCTL = "cd /proc/sys && grep -Hs . " + " ".join(each.name.replace(".", "/") for each in SYSCTLS)
LSMS = "cat /sys/kernel/security/lsm"
LOCKDOWN = "cat /sys/kernel/security/lockdown"
SECCOMP = "cat /proc/sys/kernel/seccomp/actions_avail"

COMMANDS = {
    "kernel-config": CONFIG,
    "vulnerabilities": VULNERABILITIES,
    "sysctl": SYSCTL,
    "lsm": LSMS,
    "lockdown": LOCKDOWN,
    "seccomp": SECCOMP,
}
"""What is run, by the name under which its output is kept."""


class Setting(Frozen):
    """A setting, what it was found to be, what is wanted, and whether that is so.

    A kernel option is `y`, `m`, `n` (not set), a value, or `absent`: this kernel does not know it, or what it
    needs is off. The protection is missing either way, so `met` says what holds.
    """

    name: str
    found: str | Unknown
    wanted: tuple[str, ...]
    met: bool | Unknown
    why: str


class Flaw(Frozen):
    """A flaw that CPUs have, and what the kernel says of this one, in its own words."""

    name: str
    state: str


class Evidence(Frozen):
    """A command that was run in the guest: its exit status, and the lines that were no answer."""

    name: str
    command: str
    status: int | Unknown
    skipped: int = 0


class Hardening(Frozen):
    """What a Linux guest says of its own defences; `raw` holds its answers by the name of their evidence.

    `lockdown` is `none`, `integrity` or `confidentiality`; `seccomp` are the actions that filters can take.
    """

    options: tuple[Setting, ...] | Unknown
    sysctls: tuple[Setting, ...] | Unknown
    vulnerabilities: tuple[Flaw, ...] | Unknown
    lsms: tuple[str, ...] | Unknown
    lockdown: str | Unknown
    seccomp: tuple[str, ...] | Unknown
    evidence: tuple[Evidence, ...]
    raw: dict[str, bytes] = {}


def ask_hardening(shell: Shell) -> Hardening:
    """Run every command; one that fails makes its value unknown, and the others are run all the same."""
    raw: dict[str, bytes] = {}
    evidence: list[Evidence] = []
    answers: dict[str, bytes | Unknown] = {}
    for name, command in COMMANDS.items():
        try:
            answer = shell.run(command, timeout_s=COMMAND_S)
        except ShellError as error:
            answers[name] = Unknown(reason=error.message)
            evidence.append(Evidence(name=name, command=command, status=Unknown(reason=error.message)))
            continue
        raw[f"{name}.txt"] = answer.stdout
        answers[name] = answer.stdout
        skipped = count_skipped(name, answer.stdout)
        evidence.append(Evidence(name=name, command=command, status=answer.status, skipped=skipped))
    return Hardening(
        options=parse_config(answers["kernel-config"]),
        sysctls=parse_sysctls(answers["sysctl"]),
        vulnerabilities=parse_vulnerabilities(answers["vulnerabilities"]),
        lsms=parse_words(answers["lsm"], b",", "the guest names no security modules"),
        lockdown=parse_lockdown(answers["lockdown"]),
        seccomp=parse_words(answers["seccomp"], b" ", "the guest names no seccomp actions"),
        evidence=tuple(evidence),
        raw=raw,
    )


# --- the answers --------------------------------------------------------------------------------------

_OPTION = re.compile(rb'CONFIG_([A-Z0-9_]{1,60})=("?[\x21-\x7e]{0,60})')
_NOT_SET = re.compile(rb"# CONFIG_([A-Z0-9_]{1,60}) is not set")
_LINES = re.compile(rb"lines: ([0-9]{1,7})")
_SYSCTL = re.compile(rb"([a-z0-9_/]{1,80}):(-?[0-9]{1,20})")
_FLAW = re.compile(rb"([a-z0-9_]{1,40}):([\x20-\x7e]{1,200})")
_WORD = re.compile(rb"[a-z0-9_]{1,40}")
_FORMS = {
    "kernel-config": (_OPTION, _NOT_SET, _LINES),
    "vulnerabilities": (_FLAW,),
    "sysctl": (_SYSCTL,),
}


def count_skipped(name: str, text: bytes) -> int:
    """How many lines of an answer have no form that is read."""
    forms = _FORMS.get(name)
    if forms is None:
        return 0
    return sum(1 for line in text.splitlines() if not any(form.fullmatch(line) for form in forms))


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
    return tuple(
        Setting(
            name=f"CONFIG_{option.name}",
            found=(value := option.state_in(found)),
            wanted=option.wanted,
            met=value in option.wanted or (value == ABSENT and UNSET in option.wanted),
            why=option.why,
        )
        for option in JUDGED
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
            wanted=each.wanted,
            met=found[each.name] in each.wanted if each.name in found else missing,
            why=each.why,
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


def parse_words(answer: bytes | Unknown, between: bytes, otherwise: str) -> tuple[str, ...] | Unknown:
    """The words of an answer of one line; `otherwise` says why there are none."""
    if isinstance(answer, Unknown):
        return answer
    words = answer.strip().split(between)
    if not all(_WORD.fullmatch(word) for word in words):
        return Unknown(reason=otherwise)
    return tuple(word.decode() for word in words)


def parse_lockdown(answer: bytes | Unknown) -> str | Unknown:
    """The level of lockdown, which the kernel shows in brackets among those there are."""
    if isinstance(answer, Unknown):
        return answer
    match = re.fullmatch(rb"(?:[a-z]+ )*\[([a-z]{1,20})\](?: [a-z]+)*\n?", answer)
    return match[1].decode() if match else Unknown(reason="the guest shows no level of lockdown")
