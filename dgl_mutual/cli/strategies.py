"""``dgl-mutual strategies``."""

from __future__ import annotations

import shutil

import click

from dgl_mutual.cli import completion
from dgl_mutual.cli.output import say


@click.command()
@click.argument("name", required=False, metavar="[NAME]", shell_complete=completion.one(completion.strategies))
@click.option("--format", "style", type=click.Choice(["text", "markdown"]), default="text", show_default=True, help="Output format.")
def command(name: str | None, style: str) -> None:
    """List the strategies, each with its loss and source, or show one with the defaults and ranges of its options.

    NAME is the name of a strategy, or the import path package.module:Class of a custom one.

    \b
    Examples:
      dgl-mutual strategies
      dgl-mutual strategies gml
      dgl-mutual strategies --format markdown
    """
    from dgl_mutual.experiments.strategy_table import as_markdown, as_text, describe, options_as_markdown

    if name is None:
        say(as_markdown() if style == "markdown" else as_text())
    elif style == "markdown":
        say(options_as_markdown(name))
    else:
        say(describe(name, width=min(100, shutil.get_terminal_size().columns)))
