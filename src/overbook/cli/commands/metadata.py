"""`overbook metadata`: what a model takes and gives, by the word of the data plane."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import click

from overbook.cli.options import header_option, parse_limit, url_option

if TYPE_CHECKING:
    from overbook.client.http import Json, JsonObject


@click.command(short_help="Show what a model takes and gives.")
@click.argument("model")
@click.option("--grpc", "use_grpc", is_flag=True, help="Ask over gRPC instead of REST.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: as the Open Inference Protocol has it.",
)
@click.option(
    "--timeout",
    type=parse_limit,
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="How long it may take.",
)
@header_option
@url_option
def metadata(
    model: str,
    use_grpc: bool,
    output: Literal["table", "json"],
    timeout: float,
    headers: dict[str, str],
    url: str,
) -> None:
    """Show a model's inputs and outputs, with their datatypes and shapes.

    A model that is not in memory is not loaded for it: what its files tell is shown.

    \b
    overbook metadata iris
    overbook metadata iris -o json
    """
    from overbook.cli.asking import inference_client
    from overbook.cli.terminal import safe_json

    client = inference_client(url, use_grpc)
    try:
        found = client.metadata(model, timeout=timeout, headers=headers)
    finally:
        client.close()
    if output == "json":
        click.echo(safe_json(json.dumps(found, indent=2, ensure_ascii=False)))
    else:
        click.echo(_text(found))


def _text(found: JsonObject) -> str:
    from overbook.cli.reading import objects, text
    from overbook.cli.tables import Column, table

    versions = found.get("versions")
    listed = [text(each) for each in versions] if isinstance(versions, list) else []
    lines = [
        f"Name:      {text(found.get('name'))}",
        f"Platform:  {text(found.get('platform')) or '-'}",
        f"Versions:  {', '.join(listed) or '-'}",
    ]
    columns = (Column("NAME"), Column("DATATYPE"), Column("SHAPE"))
    for title in ("inputs", "outputs"):
        tensors = objects(found.get(title))
        rows = [
            (text(each.get("name")), text(each.get("datatype")), _shape(each.get("shape")))
            for each in tensors
        ]
        said = table(columns, rows) if rows else "not known; the model's files do not say"
        lines += ["", title.capitalize(), said]
    return "\n".join(lines)


def _shape(shape: Json) -> str:
    """`? x 4`: sizes that any request may choose are questions."""
    if not isinstance(shape, list):
        return "-"
    return " x ".join("?" if each == -1 else str(each) for each in shape) or "scalar"
