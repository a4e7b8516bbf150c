"""Writes the shell script that makes a run again; it quotes every word, and runs nothing itself.

The script says on which host and with which versions the run was made, checks that each image is still the
file that was booted, and then types the run's own command. The command line of every guest stands in it as
a comment: it is what the run did, and can be pasted to boot one guest by hand.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from guestbench.model import Header, Record
from guestbench.text import visible

HEAD = """\
#!/bin/sh
# Makes a run of guestbench again: the same command, once the images are known to be the same files.
set -eu
"""


def render_script(header: Header, records: Sequence[Record]) -> str:
    """The script. Its comments are printable ASCII, whatever the run's names are; its command is quoted."""
    lines = [HEAD, *begin_script(header, "sha256sum")]
    lines.append("# The images, by their digests. One that differs makes another experiment.\n")
    digests = {
        image.path: image.sha256
        for guest in header.guests
        for image in guest.pristine.values()
        if image.sha256
    }
    for path, digest in digests.items():
        line = shlex.quote(f"{digest}  {path}")
        if ":" in digest:
            wrong = shlex.quote(f"{path}: FAILED")
            lines.append(
                f'[ "$(guestbench digest {shlex.quote(path)})" = {line} ] || '
                f"{{ echo {wrong} >&2; exit 1; }}\n"
            )
        else:
            lines.append(f"echo {line} | sha256sum --check --quiet -\n")
    lines.append(f"\n# What {header.vmm} was started with, first for each guest and purpose:\n")
    seen = set()
    for record in records:
        key = record.trial.system, record.trial.purpose
        if record.argv and key not in seen:
            seen.add(key)
            lines.append(f"# {comment(' '.join(key))}: {comment(shlex.join(record.argv))}\n")
    lines.append(f'\nexec {shlex.join(("guestbench", *without_output(header.command)))} "$@"\n')
    return "".join(lines)


def begin_script(header: Header, *tools: str) -> Iterator[str]:
    """Lines of a script, as comments, on where and when the run was made; then a look for its tools."""
    host = header.host
    facts = {
        "run": header.run,
        "guestbench": header.tool,
        "begun": header.created,
        "host": f"{host.cpu_model}, {host.cpus} CPUs, {host.memory_mib} MiB, Linux {host.kernel}, {host.os}",
        header.vmm: f"{host.vmm_version}, accelerator {header.accel.used.value}",
        "seed": str(header.experiment.seed),
    }
    yield from (f"# {name}: {comment(value)}\n" for name, value in facts.items())
    needed = shlex.join(filter(None, ("guestbench", Path(host.vmm_path).name, *tools)))
    yield f"\nfor tool in {needed}; do\n"
    yield '    command -v "$tool" >/dev/null || { echo "error: $tool is not installed" >&2; exit 1; }\n'
    yield "done\n\n"


def comment(text: str) -> str:
    """A text that stays within a comment's line."""
    return visible(text).encode("ascii", "backslashreplace").decode()


def without_output(command: Sequence[str]) -> tuple[str, ...]:
    """The command's words without the folder of its results, which is there already."""
    kept: list[str] = []
    words = iter(command)
    for word in words:
        if word in ("-o", "--output"):
            next(words, None)
        elif not word.startswith("--output="):
            kept.append(word)
    return tuple(kept)
