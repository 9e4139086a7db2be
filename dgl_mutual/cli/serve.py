"""``dgl-mutual serve``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--part", type=click.IntRange(min=0), required=True, metavar="P", help="The part to serve, from 0.")
@click.option("--servers", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A line 'ADDRESS PORT' for each part.")
@click.option("--trainers", type=click.IntRange(min=1), required=True, metavar="N", help="Processes that train, on all machines together.")
def command(folder: Path, part: int, servers: Path, trainers: int) -> None:
    """Serve one part of a partitioned graph until the training is over. If a trainer was killed, a server may have to be ended by hand.

    \b
    Example, on the machine of the first part:
      dgl-mutual serve my-parts --part 0 --servers servers.txt --trainers 2
    """
    from dgl_mutual.data.partition import read_partition
    from dgl_mutual.experiments.graph_store import serve

    serve(read_partition(folder), servers, part=part, trainers=trainers)
