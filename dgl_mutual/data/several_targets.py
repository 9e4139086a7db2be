"""Datasets with several targets: separation into single targets, and selection by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import FloatArray, IntArray
from dgl_mutual.data.values.target import Target, join_targets, parts_of
from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.utils.arguments import names_in


def target_names(target: Target) -> tuple[str, ...]:
    """The names of the parts of a joint target, or of a single target if it has one."""
    if target.parts is None:
        return () if target.name is None else (target.name,)
    return tuple(part.name for part in parts_of(target))


def named_targets(targets: str | Sequence[str]) -> tuple[str, ...]:
    """Names of targets from a list or a string such as ``digit,even``.

    Raises:
        UsageError: neither a list of names nor a string.
    """
    if isinstance(targets, str):
        return tuple(name.strip() for name in targets.split(","))
    return tuple(names_in("targets", targets, "['digit', 'even']"))


def one_by_one(dataset: Dataset) -> list[Dataset]:
    """The dataset with each of its targets alone; the dataset itself if it has a single target."""
    if dataset.target.parts is None:
        return [dataset]
    return [dataset.replaced(target=part.target, labels=part.labels_of(dataset.labels)) for part in parts_of(dataset.target)]


def select_targets(dataset: Dataset, names: str | Sequence[str]) -> Dataset:
    """Select targets of the dataset, in this order: a list of names, or a string such as ``digit,even``.

    In a dataset with one multi-label target, names are those of its labels, and each chosen label becomes a target of its own.

    Raises:
        UsageError: an unknown name, or the same name twice.
    """
    names = named_targets(names)
    if dataset.target.kind == "multi-label" and dataset.target.num_outputs > 1:
        labels, target = choose_labels(dataset.target, dataset.labels, names)
        return dataset.replaced(target=target, labels=labels)
    if dataset.target.parts is None:
        raise UsageError(f"{dataset.name} has one target only, so there is none to choose ({', '.join(names)}). Leave targets out.")
    by_name = {part.target.name: part for part in one_by_one(dataset)}
    check_target_names(names, [name for name in by_name if name is not None])
    chosen = [by_name[name] for name in names]
    if len(chosen) == 1:
        return chosen[0]
    labels, target = join_targets([part.target for part in chosen], [part.labels for part in chosen])
    return dataset.replaced(target=target, labels=labels)


def choose_labels(target: Target, labels: IntArray | FloatArray, names: Sequence[str]) -> tuple[IntArray | FloatArray, Target]:
    """Select labels of a multi-label target, each as a target of its own.

    Raises:
        UsageError: an unknown name, or the same name twice.
    """
    check_target_names(names, target.names)
    places = [target.names.index(name) for name in names]
    chosen = [replace(target, names=(name,), name=name) for name in names]
    if len(chosen) == 1:
        return labels[:, places], chosen[0]
    return join_targets(chosen, [labels[:, [place]] for place in places])


def check_target_names(names: Sequence[str], choices: Sequence[str]) -> None:
    """Raise `UsageError` for an unknown or repeated name."""
    for name in names:
        if name not in choices:
            raise unknown("target", name, choices)
    if len(set(names)) < len(names):
        raise UsageError(f"A target is named twice: {', '.join(names)}. Name each once.")


def strata(dataset: Dataset) -> tuple[Target, IntArray] | None:
    """The target whose classes stratify splits, and each sample's class (-1 where unknown); None if there are no such classes.

    For a joint target, it is the first single-label part that is known for every sample with any label.
    """
    if dataset.target.kind == "single-label":
        return dataset.target, dataset.labels.astype(np.int64)
    if dataset.target.parts is not None:
        for part in one_by_one(dataset):
            if part.target.kind == "single-label" and (part.labels[dataset.is_labelled] >= 0).all():
                return part.target, part.labels.astype(np.int64)
    return None
