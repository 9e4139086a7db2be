"""``dgl-mutual distill``: ``dgl-mutual run``, and an MLP after it."""

from __future__ import annotations

from typing import Any

import click

from dgl_mutual.cli.run import command as run_command

#: Options of `run` for several processes or machines, which do not distill.
_OF_RUN_ALONE = ("servers", "divide")


@click.command(params=[option for option in run_command.params if option.name not in _OF_RUN_ALONE])
@click.option(
    "--positions",
    type=int,
    metavar="N",
    help="Random-walk steps of the MLP's positional features (default: 0, no such features). For students, set training.positions.",
)
@click.option("--unseen", type=float, metavar="SHARE", help="Share of the test nodes hidden from training (default: 0).")
@click.option("--mlp-hidden", type=int, metavar="N", help="Units of the MLP's hidden layers (default: 128).")
@click.option("--supervised-weight", type=float, metavar="W", help="W in W CE + (1 - W) KL (default: 0).")
def command(assignments: tuple[str, ...], **values: Any) -> None:
    """Train a cohort like 'run', then distill its ensemble into an MLP, which needs no graph: the member 'mlp' in trials.csv.

    With --unseen, a share of the test nodes and their edges is hidden from training, and the test column is computed on them (inductive).

    \b
    Examples:
      dgl-mutual distill --seeds 1 --epochs 50
      dgl-mutual distill --dataset Cora --positions 8
      dgl-mutual distill --dataset Cora --unseen 0.2 --set distill.supervised_weight=0.1
    """
    assert run_command.callback is not None
    run_command.callback(assignments=("distill={}", *assignments), servers=None, divide="samples", **values)
