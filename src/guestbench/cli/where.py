"""Where commands have trials made: the options that name a fleet, and the way there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from guestbench.cli.talk import say
from guestbench.errors import HostError

if TYPE_CHECKING:
    from guestbench.run.fleet import Fleet

ON = click.option(
    "--on",
    metavar="WHERE",
    help="Use the workers of a Dask scheduler: tcp://HOST:PORT, tls://HOST:PORT, a scheduler file, or "
    "local:N for N workers of this machine.",
)
INSECURE = click.option(
    "--insecure", is_flag=True, help="With --on, talk to others without TLS, on a network of your own."
)


@contextmanager
def open_fleet(on: str | None, insecure: bool) -> Iterator[Fleet | None]:
    """The fleet that `--on` names, None without it.

    Raises:
        UsageError: it names none, or others could talk to it.
        HostError: Dask is not installed, or nobody answers there.
    """
    if on is None:
        yield None
        return
    try:
        from guestbench.run import fleet
    except ModuleNotFoundError as error:
        line = "pip install 'guestbench[fleet]'"
        raise HostError(f"--on needs Dask's library distributed: {error}", line) from error
    with fleet.open_fleet(on, say, insecure=insecure) as found:
        yield found
