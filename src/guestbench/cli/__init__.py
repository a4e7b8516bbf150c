"""The command line: parses, calls, prints. Standard output is data; talk, progress and errors go to stderr.

Each command is a module of its own, imported when it is called.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

import click

from guestbench.cli.lazy import LazyGroup
from guestbench.cli.streams import guard_streams
from guestbench.cli.talk import fail
from guestbench.errors import GuestbenchError, HostError, Interrupted, UsageError, hint_of
from guestbench.version import __version__


def main() -> None:
    """Run the command line and exit with its status."""
    guard_streams()
    _end_in_order()
    sys.exit(run_cli(sys.argv[1:]))


def _end_in_order() -> None:
    """Have SIGTERM, and a terminal that goes away, end a command as Ctrl-C does; nohup holds."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # a shell's background job, which SIGINT does not end
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            # As SIGINT, so that it is put off wherever that is.
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command line; errors become text on standard error. Returns the exit status."""
    try:
        cli.main(args=list(arguments), prog_name="guestbench", standalone_mode=False, obj=tuple(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
    except GuestbenchError as error:
        fail(error.messages, error.hint)
        return error.exit_code
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "guestbench"
        fail([error.format_message()], f"{command} --help")
        return UsageError.exit_code
    except click.ClickException as error:
        fail([error.format_message()], "guestbench --help")
        return UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        fail(["interrupted"], "guestbench --help")
        return Interrupted.exit_code
    except MemoryError:
        fail(["this host has no memory left for guestbench"], "free -h")
        return HostError.exit_code
    except OSError as error:
        # What nobody on the way knew more of.
        named = f"{error.filename}: " if error.filename is not None else ""
        place = error.filename if isinstance(error.filename, str) else "."
        fail([f"{named}{error.strerror or error}"], hint_of(error, place))
        return HostError.exit_code
    return 0


@click.group(
    cls=LazyGroup,
    package=__name__,
    helps={
        "ab": "Tell whether NEW is worse than OLD, both measured in one run and compared block by block.",
        "artifact": "Pack the run in DIR for others to check and repeat, or with --check do check ARCHIVE.",
        "bisect": "Find the commit that made a guest worse, by measuring commits beside GOOD until the data "
        "decide.",
        "cache": "What guestbench keeps: images, programs, snapshots; and how to have less of it.",
        "calibrate": "Measure what this host can tell apart: planted delays and memory, and guests against "
        "themselves.",
        "diff": "Compare the run in NEW with the run in OLD, such as two versions of a unikernel.",
        "digest": "Print the digest of each FILE, as reports and reproduce.sh have it.",
        "doctor": "Tell what this host has and lacks for measuring, each with the line that mends it.",
        "export": "Print the run in DIR in a format that other programs read.",
        "history": "Show many runs of the same guests over time, and where a figure changed its level.",
        "inspect": "Tell what is in IMAGE (a disk, initramfs, kernel, UKI or unikernel) without booting it.",
        "profile": "Tell where the instructions of a boot of SYSTEM go, or with --diff which symbols grew "
        "from OLD to NEW.",
        "report": "Write the reports of the run in DIR again, from its store alone.",
        "run": "Run EXPERIMENT (a name or a .toml file, by default the seed comparison) and write its "
        "report.",
        "setup": "Print the line that installs the Debian packages which this host lacks, or with --install "
        "run it.",
        "status": "Tell how far the run in DIR is: what is made, what runs now, what is to come, and when it "
        "may end.",
        "systems": "The guests: what there is, and their images.",
        "workloads": "List the workloads: what each does, with which program, and which systems can do it.",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "--version", message="guestbench %(version)s")
def cli() -> None:
    """Boot virtual machine guests side by side and measure what they cost."""
