"""`guestbench doctor`: what this host has and lacks for measuring."""

from __future__ import annotations

import click
import msgspec

from guestbench.cli.talk import slowly
from guestbench.cli.where import INSECURE, ON, open_fleet
from guestbench.errors import HostError


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@ON
@INSECURE
def command(as_json: bool, on: str | None, insecure: bool) -> None:
    """Tell what this host has and lacks for measuring, each with the line that mends it."""
    from guestbench.host.doctor import find_lacks, judge, render_checks, take_readings
    from guestbench.provision.cache import cache_folder
    from guestbench.run.prepare import try_kvm

    if on is not None:
        _examine_fleet(on, insecure, as_json)
        return
    with slowly("looking at this host, and trying whether KVM boots the guests that are here"):
        checks = judge(take_readings(try_kvm, cache_folder()))
    click.echo(msgspec.json.encode(checks) if as_json else render_checks(checks))
    lacks = find_lacks(checks)
    if lacks:
        names = ", ".join(check.name for check in lacks)
        raise HostError(f"the default comparison cannot run on this host: {names}", lacks[0].mend)


def _examine_fleet(on: str, insecure: bool, as_json: bool) -> None:
    """Tell the same of each worker of a fleet."""
    from guestbench.host.doctor import find_lacks, render_checks

    with open_fleet(on, insecure) as fleet:
        found = fleet.examine() if fleet is not None else {}
    if as_json:
        click.echo(msgspec.json.encode(found))
    for worker, checks in found.items() if not as_json else ():
        click.echo(f"the worker at {worker}\n{render_checks(checks)}\n")
    lacking = {worker: lacks for worker, checks in found.items() if (lacks := find_lacks(checks))}
    if not found:
        raise HostError(f"{on} has no workers", f"dask worker {on} --nthreads 1 --resources core=1")
    if lacking:
        worker, lacks = next(iter(lacking.items()))
        names = ", ".join(check.name for check in lacks)
        raise HostError(
            f"{len(lacking)} of {len(found)} workers lack something; that at {worker}: {names}", lacks[0].mend
        )
