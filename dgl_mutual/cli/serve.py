"""``dgl-mutual serve``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_mutual.cli.arguments import PATH


@click.command()
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--part", type=click.IntRange(min=0), required=True, metavar="P", help="The part to serve, from 0.")
@click.option("--servers", type=PATH, required=True, metavar="FILE", help="A line 'ADDRESS PORT' for each part.")
@click.option("--trainers", type=click.IntRange(min=1), required=True, metavar="N", help="Processes that train, on all machines together.")
@click.option("--trust-network", is_flag=True, help="Serve on an address that other machines can reach.")
def command(folder: Path, part: int, servers: Path, trainers: int, trust_network: bool) -> None:
    """Serve one part of a partitioned graph until the training is over.

    The server listens at its address in the servers file, until all trainers are there. They prove that they have the same partition;
    nothing is encrypted, so an address that other machines can reach needs --trust-network. torchrun opens ports of its own
    (--master-port and random ones), without any proof: never run this where a machine that you do not trust reaches these ports.

    \b
    Example, on the machine of the first part:
      dgl-mutual serve my-parts --part 0 --servers servers.txt --trainers 2
    """
    from dgl_mutual.data.sources.partition import read_partition
    from dgl_mutual.experiments.graph_store.store import serve

    serve(read_partition(folder), servers, part=part, trainers=trainers, trust_network=trust_network)
