"""`guestbench cache list`: what the cache holds."""

from __future__ import annotations

import click
import msgspec

from guestbench.cli.output import align


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List what the cache holds, those used least recently first."""
    from guestbench.page.numbers import show_bytes
    from guestbench.provision.cache import cache_folder
    from guestbench.provision.prune import list_entries, measure

    entries = list_entries()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(entries), indent=2))
        return
    rows = [(e.used, show_bytes(e.size_bytes), e.name, "in use" if e.in_use else "") for e in entries]
    if rows:
        click.echo(align([(*row[:2], " ".join(row[2:]).strip()) for row in rows]))
    click.echo(f"{show_bytes(measure(entries))} in {len(entries)} entries of {cache_folder() / 'images'}")
