"""`overbook import`: manifests of the models that lie in a model repository."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command(name="import")
@click.argument("repository", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.pass_context
def import_(ctx: click.Context, repository: Path) -> None:
    """Write a manifest for each model in a model repository.

    A repository is a folder with a folder for each model, as Triton and MLServer read them; the folder's name is the
    model's. Folders that hold no model are named on stderr, and the exit code is 1 then; all others get a manifest.

    \b
    overbook import models/ > models.yaml
    overbook import models/ | overbook apply -f -
    """
    import yaml

    from overbook.cli.terminal import safe
    from overbook.machine.checking import models_in
    from overbook.manifests.problems import shown
    from overbook.manifests.specs import GROUP

    where = str(repository.absolute())
    try:
        where.encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter(
            f"{shown(where)} is not UTF-8, and a manifest cannot name it; rename the folder, or those around it",
            param_hint="REPOSITORY",
        ) from error
    try:
        found = models_in(Path(where))
    except OSError as error:
        raise click.BadParameter(
            f"{shown(where)} cannot be read as a folder: {error.strerror}", param_hint="REPOSITORY"
        ) from error
    documents = [
        {
            "apiVersion": GROUP,
            "kind": "Model",
            "metadata": {"name": each.name},
            "spec": {
                "storageUri": str(Path(where) / each.name),
                **({"requirements": list(each.words)} if each.words else {}),
            },
        }
        for each in found
        if not each.refused
    ]
    yaml.safe_dump_all(documents, sys.stdout, sort_keys=False, allow_unicode=True)
    for each in found:
        if each.refused:
            name = each.name if each.name.isprintable() else shown(each.name)
            click.echo(safe(f"{name}: {each.refused}"), err=True)
    if not found:
        click.echo(safe(f"{where} has no folders; expected one for each model"), err=True)
    if len(documents) < len(found) or not found:
        ctx.exit(1)
