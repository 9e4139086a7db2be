"""Datasets of several targets: each alone, and the choice of targets by name."""

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
    """What its parts are called, or the one target, if it has a name."""
    if target.parts is None:
        return () if target.name is None else (target.name,)
    return tuple(part.name for part in parts_of(target))


def named_targets(targets: str | Sequence[str]) -> tuple[str, ...]:
    """Names of targets, of a list or of a string such as ``digit,even``.

    Raises:
        UsageError: neither of the two.
    """
    if isinstance(targets, str):
        return tuple(name.strip() for name in targets.split(","))
    return tuple(names_in("targets", targets, "['digit', 'even']"))


def one_by_one(dataset: Dataset) -> list[Dataset]:
    """The dataset once for each of its targets, with that target alone; the dataset itself where it has one."""
    if dataset.target.parts is None:
        return [dataset]
    return [dataset.replaced(target=part.target, labels=part.labels_of(dataset.labels)) for part in parts_of(dataset.target)]


def select_targets(dataset: Dataset, names: str | Sequence[str]) -> Dataset:
    """The dataset with these of its targets, in this order: a list of names, or a string such as ``digit,even``.

    In a dataset with one multi-label target, names are those of its labels, and each chosen label becomes a target of its own.

    Raises:
        UsageError: a name that none of its targets has, or the same twice.
    """
    names = named_targets(names)
    if dataset.target.kind == "multi-label" and dataset.target.num_outputs > 1:
        labels, target = choose_labels(dataset.target, dataset.labels, names)
        return dataset.replaced(target=target, labels=labels)
    if dataset.target.parts is None:
        raise UsageError(f"{dataset.name} has one target only, so there is none to choose ({', '.join(names)}). Leave targets out.")
    found = {one.target.name: one for one in one_by_one(dataset)}
    check_target_names(names, [name for name in found if name is not None])
    chosen = [found[name] for name in names]
    if len(chosen) == 1:
        return chosen[0]
    target, labels = join_targets([one.target for one in chosen], [one.labels for one in chosen])
    return dataset.replaced(target=target, labels=labels)


def choose_labels(target: Target, labels: IntArray | FloatArray, names: Sequence[str]) -> tuple[IntArray | FloatArray, Target]:
    """These labels of a multi-label target, each as a target of its own.

    Raises:
        UsageError: a name that none of its labels has, or the same twice.
    """
    check_target_names(names, target.names)
    places = [target.names.index(name) for name in names]
    chosen = [replace(target, names=(name,), name=name) for name in names]
    if len(chosen) == 1:
        return labels[:, places], chosen[0]
    joint, columns = join_targets(chosen, [labels[:, [place]] for place in places])
    return columns, joint


def check_target_names(names: Sequence[str], choices: Sequence[str]) -> None:
    """Raise `UsageError` for a name that is not a choice, or that is given twice."""
    for name in names:
        if name not in choices:
            raise unknown("target", name, choices)
    if len(set(names)) < len(names):
        raise UsageError(f"A target is named twice: {', '.join(names)}. Name each once.")


def strata(dataset: Dataset) -> tuple[Target, IntArray] | None:
    """The target by whose classes samples are split, and each sample's class (-1 where unknown); None where there are no such classes.

    Of a joint target it is the first single-label part, if that is known for every sample that has any label.
    """
    if dataset.target.kind == "single-label":
        return dataset.target, dataset.labels.astype(np.int64)
    if dataset.target.parts is not None:
        some = ~np.isnan(dataset.labels).all(axis=1)
        for one in one_by_one(dataset):
            if one.target.kind == "single-label" and (one.labels[some] >= 0).all():
                return one.target, one.labels.astype(np.int64)
    return None
