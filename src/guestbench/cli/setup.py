"""`guestbench setup`: the line that installs the Debian packages which this host lacks."""

from __future__ import annotations

import shlex

import click

from guestbench.errors import HostError


@click.command("setup")
@click.option("--install", is_flag=True, help="Install them, with sudo unless you are root.")
def command(install: bool) -> None:
    """Print the line that installs the Debian packages which this host lacks, or with --install run it.

    Nothing is printed where all of them are there. What else a host may lack is told by guestbench doctor.
    """
    from guestbench.cli.talk import say
    from guestbench.host.doctor import find_apt_line
    from guestbench.host.process import find_tool, run_in_foreground

    argv = find_apt_line()
    if not argv:
        say("every program that guestbench needs is here")
        return
    if not install:
        click.echo(shlex.join(argv))
        return
    for program in argv[: argv.index("apt-get") + 1]:
        find_tool(program)
    # Lists of packages that are old or of another source fail to update, and may do all the same.
    run_in_foreground([*argv[: argv.index("apt-get") + 1], "update"])
    if run_in_foreground(argv) != 0 or find_apt_line():
        raise HostError("apt-get could not install what is missing", "guestbench doctor")
