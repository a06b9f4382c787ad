"""`taskqueue lambda-layer`: the client as a layer that AWS Lambda puts on every function's path."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import click

import taskqueue
from taskqueue.cli.output import as_json, print_json

_FILES = ("__init__.py", "client.py", "py.typed")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first date a zip file can hold
_READABLE_BY_ALL = 0o100644 << 16  # Lambda does not run functions as the owner of their files


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@as_json
def lambda_layer(*, out: Path, as_json: bool) -> None:
    """Write an AWS Lambda layer that holds taskqueue.client to OUT, a zip file."""
    build_layer(out)
    if as_json:
        print_json({"path": str(out), "bytes": out.stat().st_size})
        return
    click.echo(f"{out} is ready. Publish it with: aws lambda publish-layer-version --layer-name taskqueue", nl=False)
    click.echo(f" --zip-file fileb://{out}")


def build_layer(out: Path) -> None:
    """Write the layer to ``out``; the same client gives the same bytes, on every machine and day."""
    source = Path(taskqueue.__file__).parent
    with ZipFile(out, "w", ZIP_STORED) as layer:
        for name in _FILES:
            entry = ZipInfo(f"python/taskqueue/{name}", _LONG_AGO)
            entry.create_system, entry.external_attr = 3, _READABLE_BY_ALL
            layer.writestr(entry, (source / name).read_bytes())
