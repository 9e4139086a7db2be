"""``dgl-mutual doctor``."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Say whether training can work here; for each obstacle, the one line that mends it. Exit status 1 if it cannot.

    \b
    Example:
      dgl-mutual doctor
    """
    from dgl_mutual.experiments.doctor import diagnose

    findings = diagnose()
    for finding in findings:
        click.echo(f"{'ok' if finding.ok else 'optional' if finding.optional else 'WRONG':<9} {finding.subject:<16} {finding.state}")
        if finding.mend:
            click.echo(f"{'':<9} {'':<16} {'to have it' if finding.optional else 'to mend it'}: {finding.mend}")
    if any(not finding.ok and not finding.optional for finding in findings):
        raise click.exceptions.Exit(1)
    click.echo("Training can work here.")
