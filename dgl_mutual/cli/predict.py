"""``dgl-mutual predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgl_mutual.cli.arguments import PATH, data_dir_option, file_option, offline_option
from dgl_mutual.cli.output import deliver

if TYPE_CHECKING:
    from dgl_mutual.data.values.target import TaskName


@click.command()
@click.argument("checkpoint", type=PATH)
@click.argument("data", metavar="DATA")
@click.option(
    "--member", metavar="NAME", help="Member of a checkpoint folder: gcn-0, ..., best_by_val, mlp or ensemble (default: ensemble)."
)
@click.option("--trust", is_flag=True, help="Import, and so execute, the module of a custom student.")
@click.option("--task", type=click.Choice(["node", "graph"]), help="Refuse a checkpoint of another task.")
@file_option(metavar="FILE.csv", help="Output file (default: standard output).")
@data_dir_option
@offline_option
def command(
    checkpoint: Path,
    data: str,
    member: str | None,
    trust: bool,
    task: TaskName | None,
    out: Path | None,
    data_dir: Path | None,
    offline: bool,
) -> None:
    """Predict the nodes or graphs of DATA, labelled or not: one CSV row each, with the predicted label and all probabilities.

    CHECKPOINT is the file of a student, or the folder of a trial with its students. DATA is the name of a dataset, or a folder in the
    format of TU or of DGL's CSVDataset. Feature columns are matched by name. Unknown and missing columns are refused, except that missing
    boolean columns count as false, with a warning unless they are named like a value of a one-hot encoding (colour=red).

    \b
    Examples:
      dgl-mutual predict results/<run>/checkpoints/seed-0-fold-0 digits --out predictions.csv
      dgl-mutual predict results/<run>/checkpoints/seed-0-fold-0/gin-2.safetensors path/to/new-graphs
      dgl-mutual predict results/<run>/checkpoints/seed-0-fold-0 path/to/new-graphs --member mlp
    """
    from dgl_mutual.experiments.predictions import predict_dataset
    from dgl_mutual.store.outputs import refuse_kept, refuse_other_endings
    from dgl_mutual.utils.files import check_writable, is_special
    from dgl_mutual.utils.safe_text import csv_text

    if out is not None and not is_special(out):
        refuse_other_endings(out, (".csv", ".txt"))
        refuse_kept(out)
        check_writable(out.parent)
    table = predict_dataset(checkpoint, data, task, member=member, trust=trust, data_dir=data_dir, offline=offline)
    deliver(csv_text(table), out, f": {len(table)} predictions")
