"""Protocols: how samples are split into training, validation and test parts. The test part of a fold is never trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dgl_mutual.data.arrays import IntArray
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.label_rate import is_labelled
from dgl_mutual.data.several_targets import strata
from dgl_mutual.data.split import Split
from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.utils.wording import counted

TRAIN_PER_CLASS, VALIDATION_PER_CLASS = 20, 30
#: Of the samples outside the held-out fold: 10 % of all with ten folds.
VALIDATION_SHARE = 1 / 9
#: With this many folds a class needs more samples than folds: two must be left outside of each fold.
_SMALLEST = {2: 4}
_GIVE_SPLIT = (
    "Give the dataset a split of its own: in Python split=dgl_mutual.Split(train, val, test), in a DGL or PyG graph and in a folder in CSV "
    "form train_mask, val_mask and test_mask."
)
#: The protocols that give one split for each of `folds`; the others give one.
FOLDED_PROTOCOLS = ("nested",)
#: The protocols whose split is the dataset's own.
OFFICIAL_PROTOCOLS = ("public", "scaffold")


def make_splits(dataset: Dataset, protocol: str, *, seed: int, folds: int = 10) -> list[Split]:
    """The splits of one repetition under `protocol`; the same for the same arguments. Samples without any label are in no part.

    - ``public``, ``scaffold``: the official split, whatever the seed.
    - ``random`` (node task, single-label): 20 samples per class train, 30 per class validate, the rest test (Shchur et al., 2018).
    - ``nested`` (graph task): outer folds are held out for test; a stratified ninth of the rest validates, and at least one
      sample of each class. Multi-label sets have no classes to stratify by: their folds and validation parts are plain random ones.

    The classes of several targets are those of one of them (see `dgl_mutual.data.several_targets.strata`).

    Args:
        seed: from 0 on. It selects the folds or the random samples.
        folds: outer folds of ``nested``; the other protocols give one split.

    Raises:
        UsageError: an unknown protocol, one that the dataset does not have, no labels, fewer than two folds, or a class with too few
            samples.
    """
    if protocol not in _PROTOCOLS:
        raise unknown("protocol", protocol, _PROTOCOLS)
    if protocol not in available_protocols(dataset):
        others = ", ".join(available_protocols(dataset))
        raise UsageError(
            f"The protocol {protocol!r} does not fit {dataset.name} (a {dataset.target.kind} dataset for the {dataset.task} task, "
            f"{'with' if dataset.official_split is not None else 'without'} an official split). "
            + (f"Choose from: {others}." if others else f"No other does, either. {_GIVE_SPLIT}")
        )
    if seed < 0:
        raise UsageError(f"The seed of a split must not be negative, found {seed}. Give a whole number from 0 on.")
    refuse_unlearnable(dataset)
    splits = list(_PROTOCOLS[protocol](dataset, seed % 2**32, folds))  # what scikit-learn takes as a seed
    for split in splits:
        empty = [name for name, part in (("training", split.train), ("validation", split.val), ("test", split.test)) if not len(part)]
        if empty:
            raise UsageError(
                f"The protocol {protocol!r} leaves no {empty[0]} samples of {dataset.name} ({counted(dataset.num_samples, 'sample')})."
            )
    return splits


def refuse_unlearnable(dataset: Dataset) -> None:
    """Refuse a dataset of which nothing can be learned.

    Raises:
        UsageError: no sample has a label, or all are of one class.
    """
    if not is_labelled(dataset).any():
        why = dataset.no_labels or "all are unknown (-1, NaN or empty). Give some, from data that have them"
        raise UsageError(f"The dataset {dataset.name!r} has no labels: {why}.")
    if dataset.target.kind == "single-label" and len(np.unique(dataset.labels[dataset.labels >= 0])) < 2:
        raise UsageError(f"All samples of {dataset.name} are of one class, so there is nothing to learn. Correct its labels.")


def available_protocols(dataset: Dataset) -> tuple[str, ...]:
    """The protocols that `make_splits` accepts for this dataset, the default first."""
    if dataset.task == "graph":
        by_task: tuple[str, ...] = FOLDED_PROTOCOLS
    else:
        by_task = ("random",) if strata(dataset) is not None else ()
    if dataset.official_split is None:
        return by_task
    # Only OGB's datasets have an evaluator, and the official split of its molecules is the scaffold split.
    return ("scaffold" if dataset.evaluator is not None and dataset.task == "graph" else "public", *by_task)


def default_protocol(dataset: Dataset) -> str:
    """The official split where there is one, else ``random`` for nodes and ``nested`` for graphs.

    Raises:
        UsageError: a node dataset without an official split and without classes has no protocol.
    """
    available = available_protocols(dataset)
    if not available:
        raise UsageError(
            f"{dataset.name} is a {dataset.target.kind} node dataset without an official split, and no protocol splits those. {_GIVE_SPLIT}"
        )
    return available[0]


def graphs_of(nodes: IntArray, node_offsets: IntArray) -> IntArray:
    """The graphs that hold these nodes, in order, each once."""
    return np.unique(np.searchsorted(node_offsets, nodes, side="right") - 1)


def is_inductive(dataset: Dataset, split: Split) -> bool:
    """Whether a node task's graphs belong to one part of the split each, so that no step of training need see those of other parts."""
    if dataset.task != "node" or dataset.num_graphs == 1:
        return False
    graphs = [graphs_of(part, dataset.node_offsets) for part in (split.seen, split.val, split.test)]
    return len(np.unique(np.concatenate(graphs))) == sum(map(len, graphs))


def is_inductive_under(dataset: Dataset, protocol: str) -> bool:
    """Whether `is_inductive` holds for the official split, and the protocol is that split."""
    return protocol == "public" and dataset.official_split is not None and is_inductive(dataset, dataset.official_split)


def unlabelled_samples(dataset: Dataset, split: Split, *, transductive: bool) -> IntArray:
    """What training may see beside its labelled samples: all others, or those of its own graphs where the split is by graph.

    Args:
        transductive: all others in any case.
    """
    others = np.setdiff1d(np.arange(dataset.num_samples), split.train)
    if transductive or not is_inductive(dataset, split):
        return others
    graph_of = np.repeat(np.arange(dataset.num_graphs), np.diff(dataset.node_offsets))
    return others[np.isin(graph_of[others], graph_of[split.seen])]


def _official(dataset: Dataset, seed: int, folds: int) -> Iterator[Split]:
    assert dataset.official_split is not None
    yield dataset.official_split


def _random(dataset: Dataset, seed: int, folds: int) -> Iterator[Split]:
    needed = TRAIN_PER_CLASS + VALIDATION_PER_CLASS
    why = f"{TRAIN_PER_CLASS} train, {VALIDATION_PER_CLASS} validate, one is tested"
    other = "Train on the official split (--protocol public)." if dataset.official_split is not None else _GIVE_SPLIT
    _require_per_class(dataset, np.flatnonzero(is_labelled(dataset)), needed + 1, why, lambda count: other)
    generator = np.random.default_rng(seed)
    groups = strata(dataset)
    assert groups is not None
    target, classes = groups
    shuffled = [generator.permutation(np.flatnonzero(classes == label)) for label in range(target.num_outputs)]
    parts = [(members[:TRAIN_PER_CLASS], members[TRAIN_PER_CLASS:needed], members[needed:]) for members in shuffled]
    yield Split(*(np.sort(np.concatenate(part)) for part in zip(*parts, strict=True)))


def _nested(dataset: Dataset, seed: int, folds: int) -> Iterator[Split]:
    from sklearn.model_selection import train_test_split

    for fold, (rest, held_out) in enumerate(_outer_folds(dataset, seed, folds)):
        inner_seed = int(np.random.SeedSequence([seed, fold]).generate_state(1)[0])
        classes = _classes(dataset, rest)
        num_classes = 1 if classes is None else len(np.unique(classes))
        # A validation part that is too small for one sample of each class is enlarged to that: it could not be stratified.
        size = VALIDATION_SHARE if math.ceil(VALIDATION_SHARE * len(rest)) >= num_classes else num_classes
        train, val = train_test_split(rest, test_size=size, random_state=inner_seed, stratify=classes)
        yield Split(np.sort(train), np.sort(val), held_out)


_PROTOCOLS: dict[str, Callable[[Dataset, int, int], Iterator[Split]]] = {
    "public": _official,
    "scaffold": _official,
    "random": _random,
    "nested": _nested,
}


def _outer_folds(dataset: Dataset, seed: int, folds: int) -> list[tuple[IntArray, IntArray]]:
    from sklearn.model_selection import KFold, StratifiedKFold

    if folds < 2:
        raise UsageError(f"Cross-validation needs at least 2 folds, found {folds}. Give --folds 2 or more (10 is the custom).")
    samples = np.flatnonzero(is_labelled(dataset))
    classes = _classes(dataset, samples)
    needed = max(folds, _SMALLEST[folds]) if folds in _SMALLEST else folds
    why = f"one for each of {folds} folds, and two outside of each for training and validation"
    splitter: Any
    if classes is None:
        if len(samples) < needed:
            found = f"{dataset.name} has {counted(len(samples), 'labelled sample')}, but {needed} are needed ({why})."
            raise UsageError(f"{found} {_fewer_folds(len(samples)) or 'Give more data.'}")
        splitter = KFold(folds, shuffle=True, random_state=seed)
    else:
        _require_per_class(dataset, samples, needed, why, _fewer_folds)
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [(samples[rest], samples[held_out]) for rest, held_out in splitter.split(samples, classes)]


def _fewer_folds(count: int) -> str:
    """How many folds so many samples of a class allow; nothing where none do."""
    return f"Ask for {count} folds (--folds {count}){' or fewer' if count > max(_SMALLEST.values()) else ''}." if count >= 3 else ""


def _classes(dataset: Dataset, samples: IntArray) -> IntArray | None:
    groups = strata(dataset)
    return None if groups is None else groups[1][samples]


def _require_per_class(dataset: Dataset, samples: IntArray, needed: int, why: str, hint: Callable[[int], str]) -> None:
    """Refuse a class that has samples, but fewer than `needed`; `hint` says what else to do about so many."""
    groups = strata(dataset)
    assert groups is not None
    target, classes = groups
    counts = np.bincount(classes[samples], minlength=target.num_outputs)
    rarest = int(np.where(counts > 0, counts, len(samples) + 1).argmin())
    if counts[rarest] < needed:
        found = f"{counted(int(counts[rarest]), 'sample')}, but {needed} are needed ({why})"
        other = hint(int(counts[rarest]))
        merge = f"{other} Or merge or remove rare classes." if other else "Merge or remove rare classes."
        raise UsageError(f"Class {target.names[rarest]!r} of {dataset.name} has {found}. {merge}")
