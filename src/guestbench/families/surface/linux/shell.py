"""What a Linux guest offers an attacker inside it, as it tells over its shell; it installs nothing into it.

Every figure comes from a command whose output is kept as evidence, except for password hashes, which are
turned into a word in the guest and never leave it. What the guest prints is hostile bytes: lines that do not
have the form of an answer are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from guestbench.errors import ShellError
from guestbench.guest.shell import Shell
from guestbench.model import Frozen, Gap, Sample

COMMAND_S = 240.0
"""How long a command may take: a search of a whole file system under software emulation takes 10 s."""

SHELLS = frozenset(
    {"sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "rbash", "tcsh", "yash", "zsh"}
)
INTERPRETERS = frozenset({"awk", "gawk", "lua", "mawk", "node", "perl", "php", "python3", "ruby", "tclsh"})
PACKAGE_MANAGERS = frozenset(
    {
        "apk",
        "apt",
        "apt-get",
        "dnf",
        "dpkg",
        "flatpak",
        "opam",
        "pacman",
        "pip3",
        "rpm",
        "snap",
        "yum",
        "zypper",
    }
)

USER_MIN_UID = 1000
"""From here on user ids are people's on Debian and most others (login.defs, UID_MIN)."""


class Question(Frozen):
    """A command whose output is the evidence of some figures; `name` is that of the file it is kept in."""

    name: str
    command: str


QUESTIONS = (
    # Weak symbols are stand-ins for calls that this kernel does not have: they return ENOSYS.
    Question(name="kallsyms", command="grep -o ' [Tt] __x64_sys_[a-z0-9_]*$' /proc/kallsyms | sort -u"),
    Question(
        name="processes",
        # One line each: the process's stat, a tab, and its cgroup. Our own session is told apart by its id.
        command="cat /proc/self/stat; for p in /proc/[0-9]*; do "
        'IFS= read -r s <$p/stat && { c=; while IFS= read -r l; do c="$c $l"; done <$p/cgroup; '
        'printf "%s\\t%s\\n" "$s" "$c"; }; done 2>/dev/null',
    ),
    Question(
        name="sockets",
        command='for f in tcp tcp6 udp udp6 raw raw6; do echo "# $f"; cat /proc/net/$f; done 2>/dev/null',
    ),
    Question(
        name="programs",
        command="for d in /bin /sbin /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin; do "
        'for f in "$d"/*; do [ -x "$f" ] && [ ! -d "$f" ] && printf "%s\\n" "$f"; done; done',
    ),
    Question(name="passwd", command="cat /etc/passwd"),
    Question(
        name="passwords",
        command="while IFS=: read -r n p r; do "
        "case $p in '') s=empty;; '!'*|'*'*) s=locked;; *) s=set;; esac; "
        'printf "%s %s\\n" "$n" $s; done </etc/shadow',
    ),
    Question(name="suid", command="find / -xdev -type f -perm -4000 2>/dev/null"),
    Question(name="sgid", command="find / -xdev -type f -perm -2000 2>/dev/null"),
    Question(name="modules", command="cat /proc/modules"),
)


class Surface(Frozen):
    """What a guest told: samples, why others are missing, and the outputs by the name of their question.

    The outputs have one more, `commands`: what was asked.
    """

    samples: tuple[Sample, ...]
    gaps: tuple[Gap, ...]
    raw: dict[str, bytes]


Count = Callable[[list[bytes]], Iterator[tuple[str, int, dict[str, str]]]]
"""Makes metric, value and labels of the lines of an answer. Yields nothing where they are no such answer."""


def ask_surface(shell: Shell) -> Surface:
    """Ask every question; one that fails leaves a gap, and the others are asked all the same."""
    samples: list[Sample] = []
    gaps: list[Gap] = []
    raw: dict[str, bytes] = {}
    for question in QUESTIONS:
        metrics, count = COUNTS[question.name]
        try:
            answer = shell.run(question.command, timeout_s=COMMAND_S)
        except ShellError as error:
            gaps += [Gap(metric=metric, reason=error.message) for metric in metrics]
            continue
        raw[question.name] = answer.stdout
        # Nothing printed is an answer only of a command that was there and went well.
        lost = answer.status != 0 and not answer.stdout
        found = [] if lost else list(count(answer.stdout.splitlines()))
        samples += [
            Sample(metric=m, value=value, labels=labels, evidence=f"surface-{question.name}")
            for m, value, labels in found
        ]
        missing = set(metrics) - {metric for metric, _, _ in found}
        reason = f"unknown: the guest gave no such answer to {question.command[:60]!r}"
        gaps += [Gap(metric=metric, reason=reason) for metric in metrics if metric in missing]
    raw["commands"] = "".join(f"{q.name}: {q.command}\n" for q in QUESTIONS).encode()
    return Surface(samples=tuple(samples), gaps=tuple(gaps), raw=raw)


def count_syscalls(lines: list[bytes]) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Handlers of x86-64 system calls that the kernel has, by its symbols."""
    names = {line.split()[1] for line in lines if re.fullmatch(rb" [Tt] __x64_sys_[a-z0-9_]+", line)}
    if names:
        yield "surface.syscalls", len(names), {}


def count_processes(lines: list[bytes]) -> Iterator[tuple[str, int, dict[str, str]]]:
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


def count_sockets(lines: list[bytes]) -> Iterator[tuple[str, int, dict[str, str]]]:
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


def count_programs(lines: list[bytes]) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Shells, interpreters and package managers among the programs on the usual paths, each name once."""
    names = {line.rpartition(b"/")[2].decode("ascii", "replace") for line in lines if line.startswith(b"/")}
    if names:
        for metric, known in (
            ("surface.shells", SHELLS),
            ("surface.interpreters", INTERPRETERS),
            ("surface.package_managers", PACKAGE_MANAGERS),
        ):
            yield metric, len(names & known), {}


def count_users(lines: list[bytes]) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Accounts in /etc/passwd."""
    rows = [line.split(b":") for line in lines if line.count(b":") == 6]
    if rows:
        yield "surface.users", len(rows), {}
        shells = [row for row in rows if row[6].rpartition(b"/")[2] not in (b"nologin", b"false", b"sync")]
        yield "surface.users", len(shells), {"kind": "with-shell"}


def count_passwords(lines: list[bytes]) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Accounts by the state of their password."""
    states = [
        match[1].decode() for line in lines if (match := re.fullmatch(rb"\S+ (empty|locked|set)", line))
    ]
    if states:
        for state in ("empty", "locked", "set"):
            yield "surface.passwords", states.count(state), {"state": state}


def count_files(metric: str) -> Count:
    """Files that a search has found; none found is an answer too."""

    def count(lines: list[bytes]) -> Iterator[tuple[str, int, dict[str, str]]]:
        yield metric, sum(line.startswith(b"/") for line in lines), {}

    return count


def count_modules(lines: list[bytes]) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Kernel modules that are loaded; none is an answer too."""
    rows = [line for line in lines if re.match(rb"\w{1,80} \d{1,12} -?\d{1,9} ", line)]
    if rows or not lines:
        yield "surface.modules", len(rows), {}


COUNTS: dict[str, tuple[Sequence[str], Count]] = {
    "kallsyms": (("surface.syscalls",), count_syscalls),
    "processes": (("surface.processes",), count_processes),
    "sockets": (("surface.listening_tcp", "surface.listening_udp"), count_sockets),
    "programs": (
        ("surface.shells", "surface.interpreters", "surface.package_managers"),
        count_programs,
    ),
    "passwd": (("surface.users",), count_users),
    "passwords": (("surface.passwords",), count_passwords),
    "suid": (("surface.suid",), count_files("surface.suid")),
    "sgid": (("surface.sgid",), count_files("surface.sgid")),
    "modules": (("surface.modules",), count_modules),
}
"""The metrics that each question is for, and how they are counted."""
