"""`overbook runtime`: the environments that inference servers run in."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import click

from overbook.cli.failures import Failed

_NARROWEST: Final = 20
_WIDEST: Final = 120


@click.group(short_help="Environments that inference servers run in.")
def runtime() -> None:
    """Install, list and remove the environments that inference servers run in.

    `overbook up` installs what it needs by itself, the first time with a network.

    \b
    overbook runtime install mlserver
    overbook runtime list
    """


@runtime.command("list")
def list_() -> None:
    """List runtimes, whether they are installed, their extras, and the packages in them with versions.

    EXTRAS are in the environment (or would be, when it is not installed); MORE can be added with
    `overbook runtime install NAME --with EXTRA,...`, and so can other versions: `--with PACKAGE==VERSION`.

    \b
    overbook runtime list
    """
    from overbook.cli.tables import Column, table
    from overbook.cli.terminal import terminal_width
    from overbook.cli.words import size
    from overbook.runtimes.install import RuntimeInstallError, list_runtimes

    columns = (
        Column("NAME"),
        Column("INSTALLED"),
        Column("SIZE", right=True),
        Column("EXTRAS", shrinks=True),
        Column("MORE", shrinks=True),
        Column("PATH", shrinks=True),
    )
    try:
        found = list_runtimes()
    except RuntimeInstallError as error:
        raise Failed(f"Error: {error}") from None
    rows = [
        (
            each.name,
            "yes" if each.installed else "no",
            size(each.size_bytes),
            ", ".join(each.extras) or "-",
            ", ".join(each.more) or "-",
            str(each.path) if each.installed else "-",
        )
        for each in found
    ]
    width = terminal_width()
    click.echo(table(columns, rows, width=width))
    for each in found:
        click.echo(f"\n{each.name} {'has' if each.installed else 'would have'}")
        for line in _packages(each.packages, width):
            click.echo(f"  {line}")
        for extra, packages in each.more.items():
            click.echo(f"  with {extra}: {', '.join(each.replace('==', ' ') for each in packages)}")


@runtime.command()
@click.argument("name")
@click.option(
    "--with",
    "words",
    multiple=True,
    metavar="EXTRA|PACKAGE==VERSION,...",
    help="More frameworks, and versions in place of the pinned ones; what it has already stays.",
)
@click.option("--reinstall", is_flag=True, help="Install it again, even when it is there.")
def install(name: str, words: tuple[str, ...], reinstall: bool) -> None:
    """Install a runtime; nothing happens when it is there already.

    With `PACKAGE==VERSION` the whole runtime gets that version. One Server alone gets it by `environment` in its
    manifest, and then others run beside it as they are.

    `overbook up` notices another environment within seconds: servers of the runtime are started again in it, one
    replica after the other, and models that waited for what it adds are placed.

    \b
    overbook runtime install mlserver
    overbook runtime install mlserver --with xgboost,lightgbm
    overbook runtime install mlserver --with scikit-learn==1.6.1
    """
    from overbook.runtimes.catalogue import runtime as known_runtime
    from overbook.runtimes.install import RuntimeInstallError, UnknownRuntime
    from overbook.runtimes.install import install as install_runtime
    from overbook.runtimes.recipe import UnusableRequirement, chosen, split_words

    try:
        extras, packages = chosen(known_runtime(name), split_words(words))
        with _progress(f"runtime {name}") as progress:
            path = install_runtime(
                name, progress, extras=extras, packages=packages, reinstall=reinstall
            )
    except (RuntimeInstallError, UnknownRuntime, UnusableRequirement) as error:
        raise Failed(f"Error: {error}") from None
    click.echo(f"runtime/{name} installed at {path}")


@runtime.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove a runtime's environment; it can be installed again. Not while an inference server runs from it.

    \b
    overbook runtime remove mlserver
    """
    from overbook.runtimes.install import RuntimeInstallError, UnknownRuntime
    from overbook.runtimes.install import remove as remove_runtime

    try:
        removed = remove_runtime(name)
    except (RuntimeInstallError, UnknownRuntime) as error:
        raise Failed(f"Error: {error}") from None
    click.echo(f"runtime/{name} removed" if removed else f"runtime/{name} was not installed")


def _packages(packages: Iterable[str], width: int) -> list[str]:
    """Lines that list them with their versions, none longer than the terminal is wide."""
    # A name and its version stay together.
    joined = ", ".join(each.replace("==", "\0") for each in packages)
    longest = max(_NARROWEST, min(width, _WIDEST) - 2)
    lines = textwrap.wrap(joined, longest, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


@contextmanager
def _progress(title: str) -> Iterator[Callable[[str, float | None], None]]:
    """Shows how far it is: a bar on a terminal, a line for each new step elsewhere. Both on stderr."""
    if not sys.stderr.isatty():
        last = ""

        def line(message: str, _: float | None) -> None:
            nonlocal last
            if message != last:
                click.echo(f"{title}: {message}", err=True)
            last = message

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def advance(message: str, share: float | None) -> None:
            bar.update(
                task,
                description=f"{title}: {message}",
                total=None if share is None else 1.0,
                completed=share or 0.0,
            )

        yield advance
