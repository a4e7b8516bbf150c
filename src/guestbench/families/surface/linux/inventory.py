"""What a Linux guest offers an attacker inside it, as it tells over its shell; nothing is installed into it.

Every figure comes from a command whose output is kept as evidence, except for password hashes, which are
turned into a word in the guest and never leave it. What the guest prints is hostile bytes: lines that do not
have the form of an answer are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from guestbench.errors import ShellError
from guestbench.families.surface.seen import Seen
from guestbench.guest.shell import Shell
from guestbench.images.contents.known import NAMES, drop_version
from guestbench.model import Frozen

COMMAND_S = 240.0
"""How long a command may take: a search of a whole file system under software emulation takes 10 s."""

Figures = Iterator[tuple[str, int, dict[str, str]]]
"""Metrics with their values and labels."""


class Question(Frozen):
    """A command whose output is the evidence of some figures; `name` is that of the file it is kept in.

    `count` makes the figures of the lines of an answer. It yields nothing where they are no such answer.
    """

    name: str
    metrics: tuple[str, ...]
    count: Callable[[list[bytes]], Figures]
    command: str


def ask_inventory(shell: Shell) -> Seen:
    """Ask every question; one that fails leaves a gap, and the others are asked all the same."""
    seen = Seen()
    for question in QUESTIONS:
        try:
            answer = shell.run(question.command, timeout_s=COMMAND_S)
        except ShellError as error:
            seen.miss(question.metrics, error.message)
            continue
        evidence = f"surface-{question.name}"
        seen.keep({evidence: answer.stdout})
        # Nothing printed is an answer only of a command that was there and went well.
        lost = answer.status != 0 and not answer.stdout
        found = [] if lost else list(question.count(answer.stdout.splitlines()))
        for metric, value, labels in found:
            seen.add(metric, value, evidence, labels=labels)
        answered = {metric for metric, _, _ in found}
        reason = f"unknown: the guest gave no such answer to {question.command[:60]!r}"
        seen.miss([metric for metric in question.metrics if metric not in answered], reason)
    seen.keep({"surface-commands": "".join(f"{q.name}: {q.command}\n" for q in QUESTIONS).encode()})
    return seen


def count_syscalls(lines: list[bytes]) -> Figures:
    """Handlers of x86-64 system calls that the kernel has, by its symbols."""
    names = {line.split()[1] for line in lines if re.fullmatch(rb" [Tt] __x64_sys_[a-z0-9_]+", line)}
    if names:
        yield "surface.syscalls", len(names), {}


def count_processes(lines: list[bytes]) -> Figures:
    """Processes, kernel threads apart; those of our own login are not counted."""
    stats = [match for line in lines if (match := _STAT.match(line)) is not None]
    if len(stats) < 2:
        return
    own_session = stats[0]["session"]
    user = kernel = 0
    for stat in stats[1:]:
        if stat["pid"] == b"2" or stat["parent"] == b"2":
            kernel += 1
        elif stat["session"] != own_session and b"/user.slice/" not in stat["rest"]:
            user += 1
    yield "surface.processes", user + kernel, {}
    yield "surface.processes", user, {"kind": "user"}
    yield "surface.processes", kernel, {"kind": "kernel-thread"}


_STAT = re.compile(
    rb"(?P<pid>\d{1,9}) \(.*\) [A-Za-z] (?P<parent>\d{1,9}) \d+ (?P<session>\d{1,9}) (?P<rest>.*)", re.DOTALL
)
"""proc(5), /proc/PID/stat: the name may hold anything, so that its last parenthesis counts."""


def count_sockets(lines: list[bytes]) -> Figures:
    """Ports on which something listens, by the guest's own account; loopback apart."""
    table = ""
    ports: dict[tuple[str, bool], set[int]] = {("tcp", True): set(), ("tcp", False): set()}
    ports |= {("udp", True): set(), ("udp", False): set()}
    seen = False
    for line in lines:
        if line.startswith(b"# "):
            table = line[2:].decode("ascii", "replace")
            continue
        match = _SOCKET.match(line)
        kind = table.removesuffix("6")
        if line.lstrip().startswith(b"sl"):
            seen = True
        if match is None or kind not in ("tcp", "udp"):
            continue
        # proc(5): state 0A is LISTEN; a UDP socket without a peer is in state 07.
        if match["state"] == {"tcp": b"0A", "udp": b"07"}[kind]:
            ports[kind, _is_loopback(match["address"])].add(int(match["port"], 16))
    if seen:
        for (kind, local), found in ports.items():
            yield f"surface.listening_{kind}", len(found), {"reach": "loopback" if local else "network"}


_SOCKET = re.compile(
    rb"\s*\d+: (?P<address>[0-9A-F]{8}|[0-9A-F]{32}):(?P<port>[0-9A-F]{4}) "
    rb"[0-9A-F]+:[0-9A-F]{4} (?P<state>[0-9A-F]{2}) "
)


def _is_loopback(address: bytes) -> bool:
    """Whether an address as /proc/net prints it, in words of host order, is of 127.0.0.0/8 or ::1."""
    return address[6:8] == b"7F" if len(address) == 8 else address == b"0" * 24 + b"01000000"


def count_programs(lines: list[bytes]) -> Figures:
    """Shells, interpreters and package managers among the programs on the usual paths, each name once."""
    names = {line.rpartition(b"/")[2].decode("ascii", "replace") for line in lines if line.startswith(b"/")}
    if names:
        known = {drop_version(name) for name in names}
        for kind, of_kind in NAMES.items():
            yield f"surface.{kind.value}", len(known & of_kind), {}


def count_users(lines: list[bytes]) -> Figures:
    """Accounts in /etc/passwd."""
    rows = [line.split(b":") for line in lines if line.count(b":") == 6]
    if rows:
        yield "surface.users", len(rows), {}
        shells = [row for row in rows if row[6].rpartition(b"/")[2] not in (b"nologin", b"false", b"sync")]
        yield "surface.users", len(shells), {"kind": "with-shell"}


def count_passwords(lines: list[bytes]) -> Figures:
    """Accounts by the state of their password."""
    states = [
        match[1].decode() for line in lines if (match := re.fullmatch(rb"\S+ (empty|locked|set)", line))
    ]
    if states:
        for state in ("empty", "locked", "set"):
            yield "surface.passwords", states.count(state), {"state": state}


def count_files(metric: str, lines: list[bytes]) -> Figures:
    """Files that a search has found; none found is an answer too."""
    yield metric, sum(line.startswith(b"/") for line in lines), {}


def count_modules(lines: list[bytes]) -> Figures:
    """Kernel modules that are loaded; none is an answer too."""
    rows = [line for line in lines if re.match(rb"\w{1,80} \d{1,12} -?\d{1,9} ", line)]
    if rows or not lines:
        yield "surface.modules", len(rows), {}


QUESTIONS = (
    Question(
        name="kallsyms",
        metrics=("surface.syscalls",),
        count=count_syscalls,
        # Weak symbols are stand-ins for calls that this kernel does not have: they return ENOSYS.
        command="grep -o ' [Tt] __x64_sys_[a-z0-9_]*$' /proc/kallsyms | sort -u",
    ),
    Question(
        name="processes",
        metrics=("surface.processes",),
        count=count_processes,
        # One line each: the process's stat, a tab, and its cgroup. Our own session is told apart by its id.
        command="cat /proc/self/stat; for p in /proc/[0-9]*; do "
        'IFS= read -r s <$p/stat && { c=; while IFS= read -r l; do c="$c $l"; done <$p/cgroup; '
        'printf "%s\\t%s\\n" "$s" "$c"; }; done 2>/dev/null',
    ),
    Question(
        name="sockets",
        metrics=("surface.listening_tcp", "surface.listening_udp"),
        count=count_sockets,
        command='for f in tcp tcp6 udp udp6 raw raw6; do echo "# $f"; cat /proc/net/$f; done 2>/dev/null',
    ),
    Question(
        name="programs",
        metrics=("surface.shells", "surface.interpreters", "surface.package_managers"),
        count=count_programs,
        command="for d in /bin /sbin /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin; do "
        'for f in "$d"/*; do [ -x "$f" ] && [ ! -d "$f" ] && printf "%s\\n" "$f"; done; done',
    ),
    Question(name="passwd", metrics=("surface.users",), count=count_users, command="cat /etc/passwd"),
    Question(
        name="passwords",
        metrics=("surface.passwords",),
        count=count_passwords,
        command="while IFS=: read -r n p r; do "
        "case $p in '') s=empty;; '!'*|'*'*) s=locked;; *) s=set;; esac; "
        'printf "%s %s\\n" "$n" $s; done </etc/shadow',
    ),
    Question(
        name="suid",
        metrics=("surface.suid",),
        count=partial(count_files, "surface.suid"),
        command="find / -xdev -type f -perm -4000 2>/dev/null",
    ),
    Question(
        name="sgid",
        metrics=("surface.sgid",),
        count=partial(count_files, "surface.sgid"),
        command="find / -xdev -type f -perm -2000 2>/dev/null",
    ),
    Question(name="modules", metrics=("surface.modules",), count=count_modules, command="cat /proc/modules"),
)
METRICS = tuple(metric for question in QUESTIONS for metric in question.metrics)
