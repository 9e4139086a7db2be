"""``dgl-mutual run``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgl_mutual.cli import completion
from dgl_mutual.cli.arguments import JOBS, PATH, THREADS, data_dir_option, offline_option, targets_option, track_option, trust_option
from dgl_mutual.cli.output import say
from dgl_mutual.store.files import FAILURES_FILE, TRIALS_FILE
from dgl_mutual.utils.wording import counted

if TYPE_CHECKING:
    from dgl_mutual.strategies.base.setting import Divided

#: Flag -> the key of the configuration that it sets. Other keys are set with --set.
KEYS = {
    name: name
    for name in (
        *("task", "dataset", "targets", "metric", "protocol", "students", "strategy"),
        *("label_rate", "unlabelled", "noise", "seeds", "folds"),
    )
} | {
    "epochs": "training.epochs",
    "checkpoint_every": "training.checkpoint_every",
    "sampler": "training.sampler",
    "fanout": "training.fanout",
    "batch_size": "training.batch_size",
    "unlabelled_ratio": "training.unlabelled_ratio",
    # Those of `dgl-mutual distill`:
    "positions": "distill.positions",
    "unseen": "distill.unseen",
    "mlp_hidden": "distill.hidden",
    "supervised_weight": "distill.supervised_weight",
}


@click.command()
@click.option(
    "--task",
    metavar="node|graph",
    shell_complete=completion.one(lambda: completion.TASKS),
    help="Classify nodes or graphs (default: the task of the dataset).",
)
@click.option(
    "--dataset",
    metavar="NAME|DIR",
    shell_complete=completion.one(completion.datasets, path="dir"),
    help="A known dataset (see 'dgl-mutual data list') or a folder (default: digits).",
)
@targets_option
@click.option(
    "--metric",
    metavar="NAME",
    shell_complete=completion.one(completion.metrics),
    help="Metric to select by and to report: accuracy, balanced-accuracy, macro-f1, micro-f1, rocauc or ap (default: the dataset's).",
)
@click.option(
    "--students",
    metavar="NAMES",
    shell_complete=completion.several(completion.students),
    help="The cohort, for example gcn,gat,gin,sage (the default). Also gatv2, appnp, gcn2, sgc, tag, chebnet, mlp, bag, mypkg.nets:MyNet.",
)
@click.option(
    "--strategy",
    metavar="NAME",
    shell_complete=completion.one(completion.strategies),
    help="How the students learn from each other (default: gml; see 'dgl-mutual strategies'), or package.module:Class.",
)
@click.option(
    "--label-rate",
    metavar="SHARE|N",
    help="Keep only some labels of the training part: a share (0.1), or an integer number per class (20). 1 means one label per class, "
    "1.0 all labels. The other training samples are used without labels (default: keep all).",
)
@click.option("--unlabelled", metavar="NAME|DIR", help="Dataset whose graphs are additional training samples, without labels.")
@click.option(
    "--unlabelled-ratio",
    type=float,
    metavar="R",
    help="Unlabelled samples in an epoch, per labelled sample (default: all unlabelled samples; with --sampler, 1).",
)
@click.option(
    "--noise",
    metavar="KIND:AMOUNT",
    shell_complete=completion.one(lambda: completion.NOISES),
    help="Add noise to the data: feature:0.2, edge:0.2, edge-add:0.2, edge-remove:0.2, label:0.2 or label-asymmetric:0.2.",
)
@click.option("--seeds", type=int, metavar="N", help="Number of seeds (default: 10 with a single split, 1 with folds).")
@click.option(
    "--folds",
    type=int,
    metavar="N",
    help="Number of folds (default: 10 under nested; under splits, all splits of the dataset). Other protocols have none.",
)
@click.option(
    "--protocol",
    metavar="NAME",
    shell_complete=completion.one(lambda: completion.PROTOCOLS),
    help="How samples are split: public, splits, random, nested, holdout or scaffold (default: the dataset's).",
)
@click.option("--epochs", type=int, metavar="N", help="Maximum number of epochs (default: 200).")
@click.option(
    "--sampler", metavar="neighbor", help="Train on sampled neighbourhoods (node tasks), for graphs too large for full-batch training."
)
@click.option("--fanout", metavar="N,N", help="Number of neighbours to sample in each convolution, -1 for all (default: 10 in each).")
@click.option(
    "--batch-size",
    type=int,
    metavar="N",
    help="Number of graphs in a batch (default: 32), or with --sampler of training nodes (default: 1024).",
)
@click.option(
    "--checkpoint-every",
    type=int,
    metavar="N",
    help="Save the state of each training every N epochs, to resume from there (default: off).",
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any key of the configuration, e.g. student.hidden=32.")
@click.option(
    "--recipe",
    metavar="NAME",
    shell_complete=completion.one(completion.recipes),
    help="Start from a recipe (see 'dgl-mutual recipes list'); --config and flags override it.",
)
@click.option("--config", "file", type=PATH, metavar="FILE.yaml", help="Start from a configuration; flags override it.")
@trust_option
@click.option("--out", type=PATH, default=Path("results"), show_default=True, help="Parent folder of run folders.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Run only missing trials, or start over.")
@click.option(
    "--jobs",
    type=JOBS,
    metavar="N",
    help="Number of trials to run in parallel, each in its own process (default: one per CPU core; 1 on a GPU).",
)
@click.option(
    "--threads",
    type=THREADS,
    default=1,
    show_default=True,
    metavar="N",
    help="Number of threads per trial. It changes rounding errors, which training with batch norm amplifies.",
)
@click.option("--servers", type=PATH, metavar="FILE", help="Addresses of the servers of a partitioned graph (see 'dgl-mutual serve').")
@click.option(
    "--divide",
    type=click.Choice(["samples", "students"]),
    default="samples",
    show_default=True,
    help="How torchrun's processes share the work: samples (data parallel) or students (each process trains some of them).",
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]", help="Device to train on.")
@track_option
@data_dir_option
@offline_option
def command(
    assignments: tuple[str, ...],
    recipe: str | None,
    file: Path | None,
    trust: bool,
    out: Path,
    resume: bool,
    jobs: int | None,
    threads: int,
    servers: Path | None,
    divide: Divided,
    device: str,
    track: tuple[str, ...],
    data_dir: Path | None,
    offline: bool,
    **flags: Any,
) -> None:
    """Train a cohort with every seed on every fold, and write a run folder with trials.csv and summary.csv.

    \b
    Examples:
      dgl-mutual run --seeds 2 --epochs 50
      dgl-mutual run --task graph --dataset MUTAG --students gcn,gin --jobs 2
      dgl-mutual run --recipe cora-small --seeds 3
      dgl-mutual run --dataset Cora --strategy dml --set strategy_options.temperature=2
      dgl-mutual run --dataset PROTEINS --label-rate 0.1
      dgl-mutual run --dataset MUTAG --metric macro-f1
      dgl-mutual run --dataset ogbg-molbace --unlabelled ogbg-molhiv --unlabelled-ratio 2
      dgl-mutual run --dataset digits-multi --targets digit,even --set task_weights=uncertainty
      dgl-mutual run --dataset ogbn-products --sampler neighbor --fanout 10,10 --batch-size 1024 --seeds 1
      torchrun --nproc-per-node 2 -m dgl_mutual run --task graph --dataset PROTEINS
      torchrun --nproc-per-node 2 -m dgl_mutual run --dataset Cora --divide students
      dgl-mutual run --dataset Cora --students gcn,mypkg.nets:MyNet --strategy mypkg.ideas:MyStrategy --track tensorboard
      dgl-mutual run --config results/<run>/config.yaml
    """
    from dgl_mutual.experiments.compute import Compute
    from dgl_mutual.experiments.configuration.layers import from_command_line
    from dgl_mutual.experiments.configuration.trust import trusted_config
    from dgl_mutual.experiments.configuration.without_effect import refuse_untrained
    from dgl_mutual.experiments.progress import display
    from dgl_mutual.experiments.runner import run
    from dgl_mutual.store.summary import table
    from dgl_mutual.training.distributed.process_group import leads

    overrides = from_command_line({KEYS[flag]: value for flag, value in flags.items()}, assignments)
    config = trusted_config(file, overrides, trust=trust, recipe=recipe)
    refuse_untrained(config.strategy, overrides, ["--track"] if track else [])
    with display() if leads() else nullcontext() as progress:
        report = run(
            config,
            out=out,
            data_dir=data_dir,
            offline=offline,
            compute=Compute(device=device, jobs=jobs, threads=threads),
            resume=resume,
            progress=progress,
            servers=servers,
            divide=divide,
            track=track,
        )
    if not leads():
        return
    if len(report.summary):
        say(table(report.summary))
        say(f"Written to {report.folder / TRIALS_FILE}")
    if report.failed:
        where = report.folder / FAILURES_FILE
        say("\n".join((f"{counted(len(report.failed), 'trial')} failed ({where}):", *report.failed)), err=True)
        raise click.exceptions.Exit(1)
