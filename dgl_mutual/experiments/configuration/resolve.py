"""Resolution of a partial configuration on a dataset."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.label_rate import LabelRate, separate_unlabelled
from dgl_mutual.data.protocols import OFFICIAL_PROTOCOLS, default_folds, default_protocol, splits_whole_graphs, splits_whole_graphs_under
from dgl_mutual.data.several_targets import target_names
from dgl_mutual.data.sources.catalog import known_datasets
from dgl_mutual.data.sources.folders import fetched_as
from dgl_mutual.data.sources.load import find_source
from dgl_mutual.data.sources.partition import is_partition
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.given import plain_values
from dgl_mutual.nn.architectures import STUDENT_REGISTRY
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import resolve_student
from dgl_mutual.options import parse_options
from dgl_mutual.store.configuration import identity
from dgl_mutual.strategies import STRATEGY_REGISTRY, resolve_strategy
from dgl_mutual.strategies.base.options import StrategyOptions, Unlabelled, resolved_options
from dgl_mutual.strategies.base.propagation import check_propagation
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.checked_strategy import extra_members
from dgl_mutual.training.members import check_members
from dgl_mutual.training.options import TrainingOptions, resolve_training
from dgl_mutual.utils.custom_code import errors_attributed_to
from dgl_mutual.utils.imports import import_path_of, not_importable
from dgl_mutual.utils.paths import utf8_path
from dgl_mutual.weightings import WEIGHTING_REGISTRY

DEFAULT_SEEDS = 10


def resolve(config: RunConfig, dataset: Dataset, split: Split | None = None) -> RunConfig:
    """Resolve all open options of a configuration on a dataset.

    Args:
        split: the split that is given in place of a protocol.

    Raises:
        UsageError: a name or option does not exist, or does not fit the task or the labels.
        DataError: the configuration was made for another dataset.
    """
    dataset = dataset.with_metric(config.metric)
    has_edge_features = dataset.without_edge_features() is not dataset
    students = tuple(resolve_student(student, dataset.task, has_edge_features=has_edge_features) for student in config.cohort)
    digest = fingerprint(dataset if any(student.edge_features for student in students) else dataset.without_edge_features())
    if config.fingerprint != digest:
        check_fingerprint(config, dataset, "remove 'fingerprint' from the configuration")
    target = dataset.target
    if config.task_weights is not None and target.parts is None:
        raise UsageError(
            f"task_weights = {config.task_weights!r} applies to several targets, but {dataset.name} has one here. Leave it out."
        )
    if config.unlabelled is not None and not dataset.num_pool:
        raise UsageError(
            f"The pool of unlabelled graphs {config.unlabelled!r} is not loaded here. Pass its graphs, name or folder to fit again "
            "(unlabelled=...), or use a configuration without a pool."
        )
    protocol = default_protocol(dataset) if config.protocol is None else config.protocol
    _check_batch_size(config.training, dataset, protocol, split)
    folds = default_folds(dataset, protocol)
    strategy_class = resolve_strategy(config.strategy)
    if strategy_class.propagates:
        check_propagation(strategy_class.name, dataset)
        if config.distill is not None:
            raise UsageError(
                f"An MLP is distilled from predictions of the students, and {strategy_class.name!r} makes its predictions after training. "
                "Leave out 'distill', or choose another strategy, for example independent."
            )
    label_rate = None if config.label_rate == 1 and isinstance(config.label_rate, float) else config.label_rate  # 1.0: all of them
    options = strategy_options_of(config)
    if config.distill is not None and config.distill.unseen:
        _check_inductive(options)
    strategy_options = resolved_options(options, config.training.epochs, dataset.task, _unlabelled(dataset, protocol, split, label_rate))
    training = resolve_training(config.training, dataset)
    _check_views(strategy_class, training, dataset.task)
    if strategy_class.trains:
        check_members(students, training)
    return config.model_copy(
        update={
            "task": dataset.task,
            "fingerprint": digest,
            "targets": target_names(target) or None,
            "metric": target.metric if target.default_metric else None,  # the dataset's own metric is left out
            "task_weights": (config.task_weights or "equal") if target.parts else None,
            "protocol": protocol,
            "label_rate": label_rate,
            "seeds": config.seeds or (1 if folds else DEFAULT_SEEDS),
            "folds": (config.folds or folds) if folds else None,
            "students": students,
            "student": StudentOptions(),
            "strategy_options": _dumped(strategy_options),
            "training": training,
        }
    )


def strategy_options_of(config: RunConfig) -> StrategyOptions:
    """The options of the strategy of a configuration.

    Raises:
        UsageError: an unknown strategy, option or value.
    """
    return parse_options(resolve_strategy(config.strategy).Options, config.strategy_options, "strategy_options")


def check_fingerprint(config: RunConfig, dataset: Dataset, hint: str) -> None:
    """Check that a dataset has the fingerprint of a configuration, if there is one.

    Args:
        hint: advice for users who do not want the former files.

    Raises:
        DataError: the fingerprints differ.
    """
    if config.fingerprint is None:
        return
    digest = fingerprint(dataset)
    # The files are the same whether or not students take edge features.
    if config.fingerprint != digest and config.fingerprint != fingerprint(dataset.without_edge_features()):
        of_what, why = f"{config.dataset!r}", "its files differ"
        if config.unlabelled is not None:
            of_what, why = f"{of_what} with the pool {config.unlabelled!r}", "files of one of the two differ"
            if dataset.edge_features is not None:  # they decide which graphs the two share
                why += ", or only then or now do students take edge features, so that other graphs of the pool are left out"
        raise DataError(
            f"The configuration was made for a dataset with fingerprint {config.fingerprint}, but {of_what} has {digest}: {why}. Use the "
            f"former files, or {hint}."
        )


def _check_batch_size(training: TrainingOptions, dataset: Dataset, protocol: str, split: Split | None) -> None:
    """Refuse a batch size if a step sees all nodes."""
    in_steps = splits_whole_graphs(dataset, split) if split is not None else splits_whole_graphs_under(dataset, protocol)
    if dataset.task == "node" and training.sampler is None and training.batch_size is not None and not in_steps:
        seen = "one graph" if dataset.num_graphs == 1 else "graphs whose nodes the split mixes"
        raise UsageError(
            f"A step on the nodes of {seen} sees all of them, so a batch size of {training.batch_size} has no effect. Leave it "
            "out (training.batch_size=null, if it comes from a recipe or file), or sample neighbourhoods with --sampler neighbor."
        )


def _unlabelled(dataset: Dataset, protocol: str, split: Split | None, label_rate: LabelRate | None) -> Unlabelled | None:
    """A description of the unlabelled training samples; None if there will be none. For `split` see `resolve`."""
    official = dataset.official_splits if protocol in OFFICIAL_PROTOCOLS else ()
    fixed = [separate_unlabelled(dataset, whole) for whole in ((split,) if split else official)]
    if label_rate is None and not dataset.num_pool and not any(len(separated.unlabelled) for separated in fixed):
        return None
    # A number of labels per class hides the class sizes, except for random and Planetoid's public split, which have 20 training nodes of
    # each class. Labels are not looked at, since those that will be hidden must not choose an option.
    entry = known_datasets().get(dataset.name)
    is_planetoid = entry is not None and entry.family == "planetoid" and protocol == "public"
    one_size = split is None and (is_planetoid or protocol == "random")
    return Unlabelled(equal_counts=isinstance(label_rate, int) and not one_size, pool=dataset.num_pool > 0)


def _check_views(strategy_class: type[Strategy], training: TrainingOptions, task: TaskName) -> None:
    """Refuse views with dropped nodes if the strategy compares the states of all nodes."""
    if training.node_drop and task == "graph" and strategy_class.needs_all_states:
        raise UsageError(
            f"Strategy {strategy_class.name!r} compares the states of all nodes, and training.node_drop = {training.node_drop:g} removes "
            "nodes from graphs. Leave node_drop out; edge_drop and feature_mask keep all nodes."
        )


def _check_inductive(options: StrategyOptions) -> None:
    """Refuse a weighting that only has weights for its training nodes."""
    weighting = getattr(options, "weighting", None)
    if weighting is not None and not WEIGHTING_REGISTRY.resolve(weighting).inductive:
        name = weighting if isinstance(weighting, str) else weighting.__name__
        raise UsageError(
            f"strategy_options.weighting = {name} only has weights for the nodes that it was trained on, so distill.unseen must be 0. "
            "Choose another weighting, or leave out --unseen."
        )


def added_members(config: RunConfig) -> tuple[tuple[str, StudentOptions], ...]:
    """The members that the strategy of a resolved configuration adds to the students (see `extra_members`).

    Raises:
        UsageError: as there.
    """
    return extra_members(resolve_strategy(config.strategy), strategy_options_of(config), config.students)


def anchored(config: RunConfig) -> RunConfig:
    """The same run with its dataset and pool given by known names or absolute paths."""
    if config.unlabelled is not None:
        config = config.model_copy(update={"unlabelled": _anchor(config.unlabelled)})
    return config if "dataset" not in config.model_fields_set else config.model_copy(update={"dataset": _anchor(config.dataset)})


def _anchor(dataset: str) -> str:
    """The known name or absolute path of a dataset. Raises UsageError for a path that is not UTF-8, which no configuration can hold."""
    if is_partition(dataset):
        return utf8_path(Path(dataset).expanduser().resolve())
    source = find_source(dataset)
    if source.folder is not None:
        return utf8_path(source.folder.resolve())
    return str(source) if source.entry is None else fetched_as(source.entry)


def resolved_values(config: RunConfig) -> dict[str, Any]:
    """A resolved configuration as plain values.

    Raises:
        UsageError: its strategy or a student is a class that cannot be imported again, or an option is not a plain value.
    """
    if not isinstance(config.strategy, str):
        STRATEGY_REGISTRY.name_of(config.strategy)
    for student in config.students:
        if not isinstance(student.architecture, str):
            STUDENT_REGISTRY.name_of(student.architecture)
    for name, value in config.strategy_options.items():
        if inspect.isclass(value) and not_importable(value):
            raise UsageError(
                f"strategy_options.{name}: {import_path_of(value)} cannot be found again later or by another process: "
                f"{not_importable(value)}. Define it at the top level of a module (a .py file) and import it from there."
            )
    return plain_values(config, exclude={"student"})


def values_or_objects(config: RunConfig) -> dict[str, Any]:
    """Like `resolved_values`, but classes that cannot be imported and options that are not plain values stay as they are."""
    return _dumped(config, exclude={"student"})


def _dumped(options: BaseModel, exclude: set[str] | None = None) -> dict[str, Any]:
    """Options as plain values; those that have no such form stay as they are."""
    with errors_attributed_to(f"The options {type(options).__name__!r}", options, "cannot be turned into plain values"):
        try:
            values = options.model_dump(mode="json", exclude=exclude)
        except PydanticSerializationError:
            values = options.model_dump(exclude=exclude)
    return values


def run_name(config: RunConfig) -> str:
    """``<task>-<dataset>-<strategy>-<hash>`` of a resolved configuration: the same for any number of seeds."""
    decisive = identity(resolved_values(config))
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    dataset = re.sub(r"[^A-Za-z0-9_.-]+", "-", decisive["dataset"])
    strategy = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(config.strategy))
    return f"{config.task}-{dataset}-{strategy}-{digest[:8]}"
