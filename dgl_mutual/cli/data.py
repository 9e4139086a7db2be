"""``dgl-mutual data``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgl_mutual.cli import completion
from dgl_mutual.cli.arguments import PATH, data_dir_option, offline_option, targets_option
from dgl_mutual.cli.output import say

if TYPE_CHECKING:
    from dgl_mutual.data.values.target import TaskName

task_option = click.option("--task", type=click.Choice(["node", "graph"]), help="Task to use, if the dataset is for both.")


@click.group()
def command() -> None:
    """List, describe, fetch, generate and verify datasets.

    \b
    Example:
      dgl-mutual data describe digits
    """


@command.command("list")
@data_dir_option
def list_datasets(data_dir: Path | None) -> None:
    """List the known datasets, and whether their files are present.

    \b
    Example:
      dgl-mutual data list --data-dir data
    """
    from dgl_mutual.data.sources.catalog import known_datasets
    from dgl_mutual.data.sources.custom import DATASET_REGISTRY
    from dgl_mutual.data.sources.folders import data_folders

    folders = data_folders(data_dir)
    for entry in known_datasets().values():
        try:
            where = "built in" if entry.family == "digits" else "here" if folders.find(entry) else "to fetch"
        except PermissionError:
            where = "no access"
        say(f"{entry.name:<18} {'/'.join(entry.tasks):<11} {where:<9} {entry.citation}")
    for plug_in, origin in DATASET_REGISTRY.listed_plug_ins():
        say(f"{plug_in.name:<18} {'':<11} {'installed':<9} {origin}")
    say("Any other TU dataset: tu/NAME. A folder of your own: its path. A function of your own: package.module:function.")


@command.command()
@click.argument("dataset", shell_complete=completion.one(completion.datasets, path="dir"))
@task_option
@targets_option
@data_dir_option
@offline_option
def describe(dataset: str, task: TaskName | None, targets: str | None, data_dir: Path | None, offline: bool) -> None:
    """Show statistics of a dataset. DATASET is a name or a folder.

    \b
    Example:
      dgl-mutual data describe digits --task graph
    """
    from dgl_mutual.data.describe import describe_dataset
    from dgl_mutual.data.sources.load import load_dataset

    facts = describe_dataset(load_dataset(dataset, task, data_dir=data_dir, offline=offline, progress=True, targets=targets))
    for name, value in facts.items():
        say(f"{name:<21} {_readable(value)}")


@command.command()
@click.argument("datasets", nargs=-1, required=True, shell_complete=completion.one(completion.datasets))
@data_dir_option
def fetch(datasets: tuple[str, ...], data_dir: Path | None) -> None:
    """Download the missing files of datasets.

    \b
    Example:
      dgl-mutual data fetch digits
    """
    from dgl_mutual.data.sources.catalog import find_entry
    from dgl_mutual.data.sources.custom import find_custom
    from dgl_mutual.data.sources.load import fetch_dataset

    for dataset in datasets:
        if find_custom(dataset) is None:
            find_entry(dataset)  # a wrong name ends the command before anything is downloaded
    for dataset in datasets:
        say(f"{dataset}: {fetch_dataset(dataset, data_dir=data_dir, progress=True) or 'built in, nothing to fetch'}")


@command.command()
@click.argument("name", metavar="arxiv-twin|products-twin|power-law")
@click.option("--out", type=PATH, required=True, help="Folder to create; pass its path to --dataset.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same data.")
@click.option("--nodes", type=click.IntRange(min=1), metavar="N", help="Number of nodes of power-law (default: 100000).")
@click.option("--edges", type=click.IntRange(min=1), metavar="N", help="Number of undirected edges of power-law (default: 10 per node).")
def generate(name: str, out: Path, seed: int, nodes: int | None, edges: int | None) -> None:
    """Generate a large graph with node classes, of the size of ogbn-arxiv, of ogbn-products, or of any size.

    \b
    Example:
      dgl-mutual data generate power-law --nodes 5000 --edges 20000 --out my-graph
    """
    from dgl_mutual.data.sources.generated import generate_dataset

    say(f"Written to {generate_dataset(name, out, seed=seed, nodes=nodes, edges=edges)}")


@command.command()
@click.argument("dataset", shell_complete=completion.one(completion.datasets, path="dir"))
@task_option
@targets_option
@click.option("--no-labels", is_flag=True, help="Accept missing labels, as in data for 'predict'.")
@data_dir_option
def verify(dataset: str, task: TaskName | None, targets: str | None, no_labels: bool, data_dir: Path | None) -> None:
    """Check the files of a dataset against the rules of their format and their published hashes. DATASET is a name or a folder.

    \b
    Example:
      dgl-mutual data verify digits
    """
    from dgl_mutual.data.sources.verify import verify_dataset

    faults = verify_dataset(dataset, task, data_dir=data_dir, targets=targets, require_labels=not no_labels)
    for fault in faults:
        say(str(fault))
    if faults:
        raise click.exceptions.Exit(1)
    say(f"{dataset}: sound")


def _readable(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {entry}" for key, entry in value.items())
    if isinstance(value, list):
        return "; ".join(_readable(entry) for entry in value)
    return "-" if value is None else str(value)
