"""``dgl-mutual partition``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_mutual.cli import completion
from dgl_mutual.cli.arguments import PATH, data_dir_option, offline_option, targets_option
from dgl_mutual.cli.output import say


@click.command()
@click.argument("dataset", metavar="NAME|DIR", shell_complete=completion.one(completion.datasets, path="dir"))
@click.option("--parts", type=click.IntRange(min=1), required=True, metavar="P", help="Number of parts, one per machine.")
@click.option("--out", type=PATH, required=True, help="Folder to create.")
@targets_option
@data_dir_option
@offline_option
def command(dataset: str, parts: int, out: Path, targets: str | None, data_dir: Path | None, offline: bool) -> None:
    """Partition a large graph for DGL's distributed graph store.

    The folder must not exist: nothing is overwritten. Its partition.json holds the secret key by which trainers and servers
    recognise each other: copy it only to machines that train.

    \b
    Example:
      dgl-mutual partition ./my-graph --parts 2 --out my-parts
    """
    from dgl_mutual.data.sources.load import load_dataset
    from dgl_mutual.data.sources.partition import write_partition
    from dgl_mutual.errors import TaskMismatchError, UsageError
    from dgl_mutual.utils.files import refuse_taken
    from dgl_mutual.utils.paths import user_path

    source, target = user_path(dataset).resolve(), out.resolve()
    if source.exists() and (target == source or target in source.parents):
        raise UsageError(f"--out {str(out)!r} is the dataset's own folder, or contains it. Choose another folder.")
    refuse_taken(out)
    try:
        loaded = load_dataset(dataset, "node", data_dir=data_dir, offline=offline, progress=True, targets=targets)
    except TaskMismatchError:
        raise UsageError(
            f"{dataset} is a dataset for the graph task. Only the graph of a node task can be divided: name such a dataset."
        ) from None
    write_partition(loaded, parts, out)
    say(f"Written to {out}")
