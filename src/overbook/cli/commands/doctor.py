"""`overbook doctor`: is everything here that Overbook needs, and is it running?"""

from __future__ import annotations

from pathlib import Path

import click

from overbook.cli.failures import Failed
from overbook.cli.options import api_url_option, url_option
from overbook.machine.home import state_folder


@click.command(short_help="Check this machine and a running Overbook.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where state lives.  [env: OVERBOOK_STATE_DIR; default: ~/.local/state/overbook]",
)
@api_url_option
@url_option
def doctor(state_dir: Path | None, api_url: str, url: str) -> None:
    """Check this machine and a running Overbook, and say what to do about what is wrong.

    Exit code 1 when something would keep Overbook from working.

    \b
    overbook doctor
    """
    from overbook.cli.checks import Level, run_checks
    from overbook.cli.words import plural

    checks = run_checks(
        state_dir=state_folder(state_dir),
        api_url=api_url,
        url=url,
    )
    width = max(len(check.name) for check in checks)
    for check in checks:
        click.echo(f"{check.level.value:<4}  {check.name:<{width}}  {check.found}")
        if check.advice:
            click.echo(f"{'':<{width + 6}}  → {check.advice}")
    failed = sum(check.level is Level.FAIL for check in checks)
    if failed:
        raise Failed(f"Error: {plural(failed, 'check')} failed; see above for what to do")
