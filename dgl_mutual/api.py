"""Functions of the package for use from Python: `fit`, `load` and `load_student`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from dgl_mutual.data.conversion import as_dataset, as_unlabelled
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.protocols import refuse_unlearnable
from dgl_mutual.data.several_targets import select_targets
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import ChosenMetric, TaskName, check_task
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.compute import resolve_device
from dgl_mutual.experiments.configuration.config import Recorded, RunConfig, parse_config, read_values
from dgl_mutual.experiments.configuration.given import layer_of_file
from dgl_mutual.experiments.configuration.layers import unflatten
from dgl_mutual.experiments.configuration.recorded import config_of, with_recorded_defaults
from dgl_mutual.experiments.configuration.resolve import resolve, values_or_objects
from dgl_mutual.experiments.configuration.splits import split_of, with_unlabelled
from dgl_mutual.experiments.configuration.trust import check_trust
from dgl_mutual.experiments.configuration.without_effect import refuse_folds, refuse_untrained, warn_of_options_without_effect
from dgl_mutual.experiments.loading import joined_with_pool, read_pool, takes_edge_features
from dgl_mutual.experiments.recipes import read_recipe
from dgl_mutual.experiments.trial import Trial, fit_resolved
from dgl_mutual.joint import TaskWeights
from dgl_mutual.store.configuration import Role, has_both, keys_of
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.callbacks import Callback, ProgressBar
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.result import FitResult
from dgl_mutual.utils.arguments import check_booleans, one_or_several, whole_number
from dgl_mutual.utils.paths import user_path
from dgl_mutual.utils.wording import kind_of

__all__ = ["fit", "load", "load_student"]

#: The protocol of a split that the user gives.
GIVEN_SPLIT = "given"


def load(
    name: str | Path | Any,
    task: TaskName | None = None,
    *,
    targets: str | Sequence[str] | None = None,
    data_dir: str | Path | None = None,
    offline: bool = False,
    require_labels: bool = True,
) -> Dataset:
    """Load a dataset by name, from a folder that holds one, or from a graph in memory.

    Args:
        name: a name, a folder, or whatever `Dataset.from_dgl` or `Dataset.from_pyg` takes.
        task: ``node`` or ``graph``, if the dataset supports both. Defaults: ``node`` for the digits, ``graph`` for a folder in CSV form
            that describes graphs, and the task of the dataset that custom code makes.
        targets: targets to use, or label columns of a folder in CSV form, as a list or as a string such as ``digit,even`` (default: all
            targets; in CSV form the column ``label``).
        data_dir: the data folder (default: the environment variable DGL_MUTUAL_DATA, else ``./data``).
        offline: never try to download.
        require_labels: refuse a folder without labels. A dataset without labels can be predicted, but not trained on.

    Returns:
        The checked dataset.

    Raises:
        UsageError: an unknown name or target, or a task that the dataset does not support.
        DataError: files are missing and cannot be downloaded, or violate their format.
    """
    check_booleans(offline=offline, require_labels=require_labels)
    check_task(task)
    if not isinstance(name, str | Path):
        dataset = as_dataset(name, task)
        return dataset if targets is None else select_targets(dataset, targets)
    return load_dataset(
        name,
        task,
        data_dir=None if data_dir is None else user_path(data_dir),
        offline=offline,
        require_labels=require_labels,
        targets=targets,
    )


#: A student: an architecture's name, an import path, a class or function that makes a module, or a mapping of `StudentOptions`.
StudentLike: TypeAlias = "str | Mapping[str, Any] | Callable[..., Any]"


def fit(
    dataset: Dataset | Any,
    students: str | StudentLike | Sequence[StudentLike] | None = None,
    strategy: str | type[Strategy] | None = None,
    *,
    recipe: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    trust: bool = False,
    split: Split | None = None,
    seed: int = 0,
    protocol: str | None = None,
    fold: int = 0,
    folds: int | None = None,
    label_rate: int | float | None = None,
    unlabelled: Dataset | Any = None,
    student: Mapping[str, Any] | None = None,
    strategy_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    task_weights: TaskWeights | None = None,
    metric: ChosenMetric | None = None,
    device: str | torch.device = "auto",
    callbacks: Callback | Sequence[Callback] | None = (),
    progress: bool = False,
) -> FitResult:
    """Train one cohort with one seed on one fold.

    On the same device, with the same number of threads, the result equals that of ``dgl-mutual run``.

    That command uses one thread per trial, or ``--threads N``; here ``torch.set_num_threads(N)`` sets the number. Another number rounds
    sums differently, which training with batch norm amplifies.

    Args:
        dataset: a dataset, or what `load` takes: a name, a folder, or a DGL or PyG graph.
        students: the cohort (default: gcn,gat,gin,sage). Each is the name of an architecture, a mapping of `StudentOptions`, an import path
            ``package.module:Class``, or a class or function (in_features, num_outputs) that makes a module with ``forward(graph, feat)``
            (see `dgl_mutual.nn.custom.CustomStudent`).
        recipe: name of a configuration of this package to start from (see `dgl-mutual recipes list`). `config` and all other arguments
            override it; its dataset is not used.
        config: a configuration to start from: a mapping, or a file such as best.yaml of `dgl-mutual tune` or config.yaml of a run. The
            other arguments override it, and its dataset and number of seeds are ignored. All options in the `config` of a result count
            as given: on the same data and without further options it reproduces the result, and with another number of epochs the
            exchange still begins in the same epoch.
        trust: allow a file to name custom code, which is then imported.
        split: training, validation and test samples (default: a split of the protocol).
        student: options of all students.
        strategy, strategy_options: how they teach each other (default: gml): a name, an import path ``package.module:Class``, or a
            subclass of `Strategy`, and its options.
        training: options of optimisation and stopping, for example ``{"epochs": 100, "learning_rate": 0.005, "patience": 50}``; the page of
            options lists all.
        task_weights: weights of several targets in the loss: equal, or by learned uncertainty.
        metric: metric that replaces the dataset's (see `Dataset.from_arrays`). It selects epochs and members on validation, and is
            reported. Not for several targets, nor for datasets that OGB's evaluator scores.
        seed: seed of the initial weights and of all other randomness; the same seed gives the same result.
        protocol, fold, folds: how the samples are split (see `dgl_mutual.data.make_splits`), and the index of the split to use.
        label_rate: hides labels of the training part: the share to keep, for example 0.1, or the number of labels to keep per class, for
            example 20 (1.0 is all of them, 1 is one per class). The other training samples are used without labels.
        unlabelled: a pool of further graphs with the same feature columns: a dataset, graphs, the name of a dataset or a folder. Their
            labels, if any, are ignored.
        device: cpu, cuda, cuda:N (the N-th GPU), auto (a GPU, if there is one), or a `torch.device`.
        callbacks: code to run at fixed points of the training, in this order (see `Callback`).
        progress: show a bar on standard error.

    Returns:
        Each member's metrics at its best epoch by validation, the history, and the trained cohort.

    Raises:
        UsageError: an unknown name, key or value, or options that do not fit together.
        DataError: a graph, label or feature that cannot be trained on, or a file that cannot be read.
        TrainingError: a loss that is not finite, a metric that is undefined on the training or validation part, or too little memory.
        KeyboardInterrupt: by Ctrl-C; nothing is kept.
    """
    check_booleans(trust=trust, progress=progress)
    if split is not None and not isinstance(split, Split):
        raise UsageError(f"The split is {kind_of(split)}. Give dgl_mutual.Split(train, val, test), of sample indices or masks.")
    dataset = load(dataset) if isinstance(dataset, str | Path) else as_dataset(dataset, split=split)
    pool = read_pool(str(unlabelled)) if isinstance(unlabelled, str | Path) else unlabelled
    if pool is not None:
        pool = as_unlabelled(pool, "graph")
    if split is not None and (protocol is not None or folds is not None or fold != 0):
        raise UsageError("A split was given, so protocol, fold and folds have no effect. Give either a split or a protocol.")
    options = {
        "students": students,
        "strategy": strategy,
        "protocol": protocol if split is None else GIVEN_SPLIT,
        "folds": folds,
        "label_rate": label_rate,
        "unlabelled": None if pool is None else pool.name,
        "student": student,
        "strategy_options": strategy_options,
        "training": training,
        "task_weights": task_weights,
        "metric": metric,
    }
    given = {key: value for key, value in options.items() if value is not None}
    given["dataset"] = dataset.name
    start = {} if recipe is None else _without_data(read_recipe(recipe, {**given, "task": dataset.task}), split)
    asked = parse_config(start, given) if config is None else _read_config(config, start, given, split, trust=trust)
    _refuse_unsupported(asked)
    if pool is not None:
        dataset = joined_with_pool(dataset, pool, edge_features=takes_edge_features(asked.cohort))
    if split is not None:
        split.check(dataset.num_samples - dataset.num_pool)
    asked = with_recorded_defaults(asked, dataset, split)
    dataset = dataset.with_metric(asked.metric)
    resolved = resolve(asked, dataset, split)
    refuse_folds(asked, resolved)
    warn_of_options_without_effect([(asked, resolved)])
    watching = [callbacks] if isinstance(callbacks, Callback) else one_or_several("callbacks", callbacks)
    refuse_untrained(resolved.strategy, given, ["callbacks"] if watching else [])
    if training is not None and training.get("checkpoint_every") is not None:
        raise UsageError(
            f"training.checkpoint_every = {training['checkpoint_every']} has no effect in fit, which keeps no snapshots. Leave it "
            "out, or use dgl_mutual.experiment or 'dgl-mutual run', which take no callbacks but trackers."
        )
    fold = whole_number("fold", fold)
    split = split_of(resolved, dataset, seed, fold) if split is None else with_unlabelled(resolved, dataset, split, seed=seed, fold=fold)
    refuse_unlearnable(dataset)
    with closing(ProgressBar()) as bar:
        result = fit_resolved(
            Trial(seed, fold, split.check(dataset.num_samples)),
            resolved,
            dataset,
            callbacks=[*watching, *([bar] if progress else [])],
            placement=Placement(torch.device(resolve_device(str(device)))),
        )
    return replace(result, config=values_or_objects(resolved))


def _refuse_unsupported(asked: RunConfig) -> None:
    """Raise `UsageError` for a configuration with a grid, noise or an MLP."""
    if asked.grid:
        first = unflatten({key: choices[0] for key, choices in asked.grid.items()})
        arguments = ", ".join(f"{group}={values!r}" for group, values in first.items())
        values = "; ".join(f"{key} is one of {', '.join(map(repr, choices))}" for key, choices in asked.grid.items())
        raise UsageError(
            f"The configuration has a grid, which 'fit' does not search ({values}). Give fit a value of each, for example {arguments}, or "
            "search it with dgl_mutual.experiment or 'dgl-mutual run'."
        )
    unsupported = [key for key in ("noise", "distill") if getattr(asked, key) is not None]
    if unsupported:
        raise UsageError(
            f"The configuration asks for {', '.join(unsupported)}, which 'fit' does not support. Leave it out, or use "
            "dgl_mutual.experiment or 'dgl-mutual run'."
        )


def _read_config(
    config: str | Path | Mapping[str, Any], below: Mapping[str, Any], given: Mapping[str, Any], split: Split | None, *, trust: bool
) -> RunConfig:
    """The configuration of a file or mapping, over the layer `below` and under the layer `given`.

    Raises:
        UsageError: the file cannot be read, or names code and is not trusted.
    """
    values = config if isinstance(config, Mapping) else read_values(user_path(config))
    layer = layer_of_file(values)
    if not trust and not isinstance(config, Mapping):
        check_trust([config_of(values)], config)
    asked = parse_config(below, _without_data(layer, split), given)
    return asked.with_record(Recorded(values, below, given)) if has_both(values) else asked


def _without_data(layer: Mapping[str, Any], split: Split | None) -> dict[str, Any]:
    """A layer of configuration without the keys of data, seeds and, if a split is given, splits."""
    dropped = keys_of(Role.DATA, Role.COUNT, *([Role.SPLIT] if split is not None else []))
    return {key: value for key, value in layer.items() if key not in dropped}
