"""``dgl-mutual recipes``."""

from __future__ import annotations

import click

from dgl_mutual.cli import completion
from dgl_mutual.cli.output import say


@click.group()
def command() -> None:
    """List the recipes, or show one: configurations for known datasets, for 'run --recipe NAME'.

    A 'small' recipe has students of at most 100,000 parameters and three layers; a 'reference' recipe is a published configuration.

    \b
    Examples:
      dgl-mutual recipes list
      dgl-mutual recipes show cora-small
      dgl-mutual run --recipe cora-small --seeds 3
    """


@command.command("list")
def list_() -> None:
    """List the recipes, each with a short description.

    \b
    Example:
      dgl-mutual recipes list
    """
    from dgl_mutual.experiments.recipes import recipes

    width = max(map(len, recipes()))
    say("\n".join(f"{name:<{width}}  {description}" for name, description in recipes().items()))


@command.command()
@click.argument("name", shell_complete=completion.one(completion.recipes))
def show(name: str) -> None:
    """Show the file of a recipe, with the sources of its values. It can also be given to 'run --config'.

    \b
    Example:
      dgl-mutual recipes show cora-small
    """
    from dgl_mutual.experiments.recipes import recipe_text

    say(recipe_text(name).rstrip("\n"))
