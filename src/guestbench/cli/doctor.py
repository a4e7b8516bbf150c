"""`guestbench doctor`: what this host has and lacks for measuring."""

from __future__ import annotations

import click
import msgspec

from guestbench.cli.talk import slowly
from guestbench.errors import HostError


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Tell what this host has and lacks for measuring, each with the line that mends it."""
    from guestbench.host.doctor import find_lacks, judge, render_checks, take_readings
    from guestbench.provision.cache import cache_folder
    from guestbench.run.prepare import try_kvm

    with slowly("looking at this host, and trying whether KVM boots the guests that are here"):
        checks = judge(take_readings(try_kvm, cache_folder()))
    click.echo(msgspec.json.encode(checks) if as_json else render_checks(checks))
    lacks = find_lacks(checks)
    if lacks:
        names = ", ".join(check.name for check in lacks)
        raise HostError(f"the default comparison cannot run on this host: {names}", lacks[0].mend)
