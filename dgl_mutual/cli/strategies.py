"""``dgl-mutual strategies``."""

from __future__ import annotations

import click

from dgl_mutual.cli.output import say


@click.command()
@click.option("--format", "style", type=click.Choice(["text", "markdown"]), default="text", show_default=True, help="How to show the list.")
def command(style: str) -> None:
    """List the ways in which students can teach each other, each with its formula and source.

    \b
    Examples:
      dgl-mutual strategies
      dgl-mutual strategies --format markdown
    """
    from dgl_mutual.experiments.strategy_table import as_markdown, as_text

    say(as_markdown() if style == "markdown" else as_text())
