"""Scope of the reference, which does not have all options of the package: others are refused instead of ignored."""

from __future__ import annotations

import json

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.protocols import splits_whole_graphs_under
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.resolve import strategy_options_of
from dgl_mutual.options import Options

#: The strategies of the reference.
STRATEGIES = ("independent", "dml", "gml")
#: The architectures of the reference.
IN_REFERENCE = ("gcn", "gat", "gin", "sage")
_TRAINING = {
    *("epochs", "learning_rate", "weight_decay", "batch_size", "patience", "eval_every", "scale_inputs"),
    *("diversity", "checkpoint_every", "average", "average_decay", "average_start"),
}
_STUDENT = {
    *("architecture", "depth", "hidden", "heads", "dropout", "input_dropout", "norm", "activation", "residual", "virtual_node"),
    *("readout", "input_readout", "pooling", "edge_features"),
}
_STRATEGY = {
    *("weight", "temperature", "target_temperature", "scale_by_temperature", "targets", "ema_decay", "exchange_on", "exchange_warmup"),
    *("weighting", "mix", "weighting_options", "coordinator_inputs", "uniform_kl_weight"),
    *("entropy_weight", "entropy_schedule", "entropy_on", "class_prior_weight"),
}
_TARGETS = ("single-label", "multi-label")
_VALUES = {
    "exchange_on": ("all", "labelled"),
    "targets": ("train", "eval", "ema"),
    "coordinator_inputs": ("train", "eval"),
    "weighting": ("attention", "classwise", "confidence", "consensus", "transductive", "uniform"),
}


def check_scope(config: RunConfig, dataset: Dataset) -> None:
    """Check that the reference supports a resolved configuration.

    Raises:
        DataError: only our side can learn this dataset.
        UsageError: only our side has one of the options.
    """
    if dataset.target.kind not in _TARGETS:
        raise DataError(
            f"The reference cannot learn {dataset.name}: its target is {dataset.target.kind}, but the reference only supports "
            f"{', '.join(_TARGETS)}. Compare on a dataset with such a target."
        )
    if splits_whole_graphs_under(dataset, config.protocol or ""):
        raise DataError(f"The reference trains node tasks on one graph, but {dataset.name} has graphs that are only for test.")
    if config.strategy not in STRATEGIES:
        raise UsageError(f"The reference has no strategy {config.strategy!r}. Compare with one of: {', '.join(STRATEGIES)}.")
    for student in config.students:
        if student.architecture not in IN_REFERENCE:
            raise UsageError(
                f"The reference has no student {student.architecture_name!r}. Compare with students of: {', '.join(IN_REFERENCE)}."
            )
    if any(student.architecture == "gcn" for student in config.students) and not dataset.is_symmetric:
        raise UsageError(
            f"Some edges of {dataset.name} have one direction only. On such a graph gcn differs from torch_geometric: GCNConv "
            "normalises by in-degrees, but gcn, like DGL's GraphConv, also by out-degrees of the sources. Compare without gcn, or give "
            "both directions (Dataset.from_arrays(symmetric=True))."
        )
    strategy = strategy_options_of(config)
    # Option that is not covered -> the assignment that resets it.
    surplus = {**_surplus("training", config.training, _TRAINING), **_surplus("strategy_options", strategy, _STRATEGY)}
    for student in config.students:
        surplus |= _surplus("student", student, _STUDENT)
    for name, values in _VALUES.items():
        if (value := getattr(strategy, name, values[0])) not in values:
            surplus[f"strategy_options.{name}={value} (it has {', '.join(values)})"] = f"strategy_options.{name}={values[0]}"
    absent = ("label_rate", "unlabelled", "noise", "distill", "grid")
    surplus |= {name: f"{name}=null" for name in absent if getattr(config, name) is not None}
    if surplus:
        hints = " ".join(f"--set {assignment}" for assignment in dict.fromkeys(surplus.values()))
        singly = {tuple(_surplus("student", student, _STUDENT)) for student in config.students}
        raise UsageError(
            f"The reference does not support {'; '.join(surplus)}. Leave this out, or set it to its default"
            f"{' (for a single student in the list of students)' if len(singly) > 1 else ''}: {hints}"
        )


def _surplus(where: str, options: Options, covered: set[str]) -> dict[str, str]:
    """Options that are neither covered nor at their default -> the assignment of the default."""
    surplus = {}
    for name, field in type(options).model_fields.items():
        value, default = getattr(options, name), field.get_default(call_default_factory=True)
        if name not in covered and value != default:
            surplus[f"{where}.{name}={value}"] = f"{where}.{name}={json.dumps(default, default=str)}"
    return surplus
