"""`guestbench digest`: the digests of image files, as reports have them."""

from __future__ import annotations

from pathlib import Path

import click

from guestbench.cli.talk import say


@click.command("digest")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
def command(files: tuple[Path, ...]) -> None:
    """Print the digest of each FILE, as reports and reproduce.sh have it.

    That is its SHA-256; of a file of more than 4 GiB, `blocks:` and the SHA-256 of its blocks that are not
    all zeros, for which holes are not read.
    """
    from guestbench.provision.cache import read_image

    for file in files:
        click.echo(f"{read_image(file, say).sha256}  {file}")
