"""``dgl-mutual doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dgl_mutual.cli.output import say

if TYPE_CHECKING:
    from dgl_mutual.experiments.doctor import Finding


@click.command()
@click.option(
    "--determinism", is_flag=True, help="Also train a small trial several times, and report which results are bit-equal (takes minutes)."
)
def command(determinism: bool) -> None:
    """Check whether training works in this environment, and suggest repairs. Exit status 1 if it does not work.

    \b
    Examples:
      dgl-mutual doctor
      dgl-mutual doctor --determinism
    """
    from dgl_mutual.experiments.doctor import diagnose

    findings = diagnose()
    _show(findings)
    if _can_work(findings) and determinism:
        from dgl_mutual.experiments.determinism import check_determinism

        repeated = check_determinism()
        _show(repeated)
        findings += repeated
    if not _can_work(findings):
        raise click.exceptions.Exit(1)
    say("Training can work here.")


def _can_work(findings: list[Finding]) -> bool:
    return all(finding.ok or finding.optional for finding in findings)


def _show(findings: list[Finding]) -> None:
    for finding in findings:
        say(f"{'ok' if finding.ok else 'optional' if finding.optional else 'WRONG':<9} {finding.subject:<16} {finding.state}")
        if finding.hint:
            say(f"{'':<9} {'':<16} {'to install it' if finding.optional else 'to fix it'}: {finding.hint}")
