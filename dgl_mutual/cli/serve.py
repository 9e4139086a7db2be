"""``dgl-mutual serve``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_mutual.cli.arguments import PATH


@click.command()
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--part", type=click.IntRange(min=0), required=True, metavar="P", help="Part to serve, from 0.")
@click.option("--servers", type=PATH, required=True, metavar="FILE", help="File with a line 'ADDRESS PORT' per part.")
@click.option(
    "--trainers", type=click.IntRange(min=1), required=True, metavar="N", help="Number of training processes on all machines together."
)
@click.option("--trust-network", is_flag=True, help="Serve on an address that other machines can reach.")
def command(folder: Path, part: int, servers: Path, trainers: int, trust_network: bool) -> None:
    """Serve one part of a partitioned graph until the training is over.

    The server listens at its address in the servers file until all trainers have connected. Trainers must prove that they have the same
    partition, but nothing is encrypted, so an address that other machines can reach needs --trust-network. torchrun opens its own ports
    (--master-port and random ones) without authentication: never run this where machines that you do not trust can reach these ports.

    \b
    Example, on the machine of the first part:
      dgl-mutual serve my-parts --part 0 --servers servers.txt --trainers 2
    """
    from dgl_mutual.data.sources.partition import read_partition
    from dgl_mutual.experiments.graph_store.store import serve

    serve(read_partition(folder), servers, part=part, trainers=trainers, trust_network=trust_network)
