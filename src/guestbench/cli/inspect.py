"""`guestbench inspect`: what is in an image file, and its packages as a bill of materials."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from guestbench.cli.output import write_file
from guestbench.cli.talk import say, slowly
from guestbench.model import Inspector
from guestbench.text import visible


@click.command("inspect")
@click.argument("image", type=click.Path(path_type=Path), metavar="IMAGE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all items of every list.")
@click.option(
    "--sbom",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the packages as a CycloneDX bill of materials.",
)
def command(image: Path, as_json: bool, sbom: Path | None) -> None:
    """Tell what is in IMAGE (a disk, initramfs, kernel, UKI or unikernel) without booting it."""
    from guestbench.inspect import inspect_image
    from guestbench.provision.cache import read_image, scratch
    from guestbench.provision.inspector import build_inspector
    from guestbench.report.inspection import describe_inspection
    from guestbench.report.sbom import render_sbom
    from guestbench.report.terminal import render_text

    def prepare() -> tuple[Inspector, str]:
        return build_inspector(say), read_image(image, say).sha256

    doing = slowly(f"looking into {visible(image)}: files, programs and code")
    with scratch("inspect") as folder, doing:
        found = inspect_image(image, folder, prepare)
    if sbom is not None:
        write_file(sbom, render_sbom(found, image))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        click.echo(render_text(describe_inspection(found)), nl=False)
