"""Protocols: how samples are split into training, validation and test parts. The test part of a fold is never trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dgl_mutual.data.conversion import as_dataset
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.several_targets import strata
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import SplitError, UsageError, shortened, unknown
from dgl_mutual.utils.arguments import whole_number
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

DEFAULT_FOLDS = 10
TRAIN_PER_CLASS, VALIDATION_PER_CLASS = 20, 30
#: Share of the samples outside the held-out fold: 10 % of all samples with ten folds.
VALIDATION_SHARE = 1 / 9
#: The fewest samples of a class for two folds: with one in each fold, only one would be left for training and validation.
_MIN_FOR_TWO_FOLDS = 4
#: Share of the labelled samples that ``holdout`` takes for validation, and again for test.
HOLDOUT_SHARE = 0.2
#: The fewest samples of a class that give one in each part of ``holdout``.
_MIN_TO_STRATIFY = 5
#: The protocols with one split for each of `folds`; the others have a single split.
FOLDED_PROTOCOLS = ("nested", "splits")
#: The protocols whose split is the dataset's own.
OFFICIAL_PROTOCOLS = ("public", "scaffold", "splits")


def make_splits(dataset: Dataset | Any, protocol: str, *, seed: int, folds: int | None = None) -> list[Split]:
    """Split a dataset by a protocol, deterministically for the same arguments. Samples without any label are in no part.

    - ``public``, ``scaffold``: the official split, whatever the seed.
    - ``splits``: the official splits if there are several, whatever the seed: each is a fold.
    - ``random`` (node task, single-label): 20 samples per class train, 30 per class validate, the rest test (Shchur et al., 2018).
    - ``nested`` (graph task): outer folds are held out for test; a stratified ninth of the rest validates, and at least one
      sample of each class. Multi-label sets have no classes to stratify by: their folds and validation parts are plain random ones.
    - ``holdout``: a fifth of the labelled samples, rounded, is held out for test, another fifth validates, the rest train. Both fifths
      are stratified by class; a single binary label counts as two classes. Classes with fewer than five samples are drawn as one class.
      If all of these have fewer than five samples together, they are drawn with the largest class. Samples with several labels are drawn
      without strata. In a node task of several graphs the nodes of all graphs are drawn together, as in ``random``.

    The classes of several targets are those of one of them (see `dgl_mutual.data.several_targets.strata`).

    Args:
        dataset: a dataset, or one or several graphs of DGL or PyG.
        protocol: one of the names above (see `available_protocols`).
        seed: from 0 on. It selects the folds or the random samples. `fit` and runs derive this seed from their own; ``result.split`` is
            the split of a training.
        folds: outer folds of ``nested`` (default: 10), or the number of official splits that ``splits`` takes, from the first (default:
            all). Other protocols ignore it.

    Returns:
        One split, or one for each fold. Parts are disjoint, sorted arrays of sample indices; official splits are returned unchanged.

    Raises:
        UsageError: an unknown protocol, one that the dataset does not have, a seed or folds that are not integers in range, or fewer
            than two folds.
        SplitError: no labels, all samples of one class, more folds than official splits, or too few samples, in all or of a class.
    """
    dataset = as_dataset(dataset)
    if not isinstance(protocol, str) or protocol not in _PROTOCOLS:
        raise unknown("protocol", protocol, _PROTOCOLS)
    if protocol not in _of_this_kind(dataset):
        raise UsageError(
            f"The protocol {protocol!r} does not fit {dataset.name} (a {dataset.target.kind} dataset for the {dataset.task} task, "
            f"with {counted(len(dataset.official_splits), 'official split')}). "
            f"Choose from: {', '.join(available_protocols(dataset))}."
        )
    seed = whole_number("seed", seed, 0)
    refuse_unlearnable(dataset)
    folds = None if folds is None else whole_number("folds", folds, 1)
    num_folds = default_folds(dataset, protocol) or 1
    if folds is not None and protocol in FOLDED_PROTOCOLS:
        num_folds = folds
    splits = list(_PROTOCOLS[protocol](dataset, seed % 2**32, num_folds))  # scikit-learn takes seeds below 2^32
    if protocol not in OFFICIAL_PROTOCOLS and dataset.evaluator is None:  # in OGB's datasets some samples have no label
        _warn_of_graphs_without_labels(dataset)
    for split in splits:
        empty = [name for name, part in (("training", split.train), ("validation", split.val), ("test", split.test)) if not len(part)]
        if empty:
            raise SplitError(
                f"The protocol {protocol!r} leaves no {empty[0]} samples of {dataset.name} ({counted(dataset.num_samples, 'sample')})."
            )
    return splits


def refuse_unlearnable(dataset: Dataset) -> None:
    """Refuse a dataset from which nothing can be learned.

    Raises:
        SplitError: no sample has a label, or all have the same class.
    """
    if not dataset.is_labelled.any():
        why = dataset.no_labels or "all are unknown (-1, NaN or empty). Give some, from data that have them"
        raise SplitError(f"The dataset {dataset.name!r} has no labels: {why}.")
    if dataset.target.kind == "single-label" and len(np.unique(dataset.labels[dataset.labels >= 0])) < 2:
        raise SplitError(f"All samples of {dataset.name} are of one class, so there is nothing to learn. Correct its labels.")


def _warn_of_graphs_without_labels(dataset: Dataset) -> None:
    """Warn of graphs that are in no part of a split: unlike nodes without labels, students never see them."""
    num_graphs = dataset.num_graphs - dataset.num_pool
    num_unlabelled = num_graphs - int(dataset.is_labelled.sum())
    if dataset.task == "graph" and num_unlabelled:
        warn(
            f"{dataset.name} has {counted(num_unlabelled, 'graph', form=',')} of {num_graphs:,} without a label, in no part of the split. "
            "To train on such graphs, too, remove them from the dataset and give them as a pool (--unlabelled, in Python unlabelled=...)."
        )


def available_protocols(dataset: Dataset | Any) -> tuple[str, ...]:
    """The protocols that split this dataset, the default first.

    `make_splits` may still refuse a number of folds of ``nested``, and any dataset with fewer than three labelled samples.

    Raises:
        UsageError, DataError: it is neither a dataset nor graphs that can be converted to one.
    """
    dataset = as_dataset(dataset)
    return tuple(name for name in _of_this_kind(dataset) if name != "random" or _has_enough_of_each_class(dataset))


def default_folds(dataset: Dataset, protocol: str) -> int | None:
    """The default number of folds of a protocol; None if it has no folds."""
    if protocol not in FOLDED_PROTOCOLS:
        return None
    return len(dataset.official_splits) if protocol == "splits" else DEFAULT_FOLDS


def default_protocol(dataset: Dataset | Any) -> str:
    """The official split or splits if there are any; otherwise ``nested`` for graphs, and ``random`` or ``holdout`` for nodes.

    ``random`` is impossible if nodes have several labels, or a class has too few nodes.

    Raises:
        UsageError, DataError: it is neither a dataset nor graphs that can be converted to one.
    """
    return available_protocols(dataset)[0]


def _of_this_kind(dataset: Dataset) -> tuple[str, ...]:
    """The protocols for this kind of data, the default first, whether or not its classes are large enough."""
    if dataset.task == "graph":
        by_task: tuple[str, ...] = ("nested", "holdout")
    else:
        by_task = ("holdout",) if strata(dataset) is None else ("random", "holdout")
    if not dataset.official_splits:
        return by_task
    if len(dataset.official_splits) > 1:
        return ("splits", *by_task)
    # Only OGB's datasets have an evaluator, and the official split of its molecules is the scaffold split.
    return ("scaffold" if dataset.evaluator is not None and dataset.task == "graph" else "public", *by_task)


def graphs_of(nodes: IntArray, node_offsets: IntArray) -> IntArray:
    """The graphs of these nodes, sorted and unique."""
    return np.unique(np.searchsorted(node_offsets, nodes, side="right") - 1)


def splits_whole_graphs(dataset: Dataset, split: Split) -> bool:
    """Whether each graph of a node task belongs to a single part of the split, so that training need not see graphs of other parts."""
    if dataset.task != "node" or dataset.num_graphs == 1:
        return False
    graphs = [graphs_of(part, dataset.node_offsets) for part in (split.seen, split.val, split.test)]
    return len(np.unique(np.concatenate(graphs))) == sum(map(len, graphs))


def splits_whole_graphs_under(dataset: Dataset, protocol: str) -> bool:
    """Whether the protocol uses official splits, one of which satisfies `splits_whole_graphs`."""
    return protocol in OFFICIAL_PROTOCOLS and any(splits_whole_graphs(dataset, split) for split in dataset.official_splits)


def unlabelled_samples(dataset: Dataset, split: Split, *, transductive: bool) -> IntArray:
    """The samples that training may see without labels: all others, or only those of the training graphs if the split is by graph.

    Args:
        transductive: return all others in any case.
    """
    others = np.setdiff1d(np.arange(dataset.num_samples), split.train)
    if transductive or not splits_whole_graphs(dataset, split):
        return others
    graph_of = np.repeat(np.arange(dataset.num_graphs), np.diff(dataset.node_offsets))
    return others[np.isin(graph_of[others], graph_of[split.seen])]


def _official(dataset: Dataset, seed: int, folds: int) -> Iterator[Split]:
    if not 1 <= folds <= len(dataset.official_splits):
        raise SplitError(
            f"{dataset.name} has {len(dataset.official_splits)} official splits, so there are no {folds} folds. Give --folds "
            f"{len(dataset.official_splits)} or fewer, or leave it out for all of them."
        )
    yield from dataset.official_splits[:folds]


def _random(dataset: Dataset, seed: int, folds: int) -> Iterator[Split]:
    needed = TRAIN_PER_CLASS + VALIDATION_PER_CLASS
    why = f"{TRAIN_PER_CLASS} train, {VALIDATION_PER_CLASS} validate, one is tested"
    other = f"Train on the official split (--protocol {default_protocol(dataset)})." if dataset.official_splits else ""
    _require_per_class(dataset, np.flatnonzero(dataset.is_labelled), needed + 1, why, lambda count: other)
    generator = np.random.default_rng(seed)
    stratification = strata(dataset)
    assert stratification is not None
    target, classes = stratification
    shuffled = [generator.permutation(np.flatnonzero(classes == label)) for label in range(target.num_outputs)]
    parts = [(members[:TRAIN_PER_CLASS], members[TRAIN_PER_CLASS:needed], members[needed:]) for members in shuffled]
    yield Split(*(np.sort(np.concatenate(part)) for part in zip(*parts, strict=True)))


def _nested(dataset: Dataset, seed: int, folds: int) -> Iterator[Split]:
    from sklearn.model_selection import train_test_split

    for fold, (rest, held_out) in enumerate(_outer_folds(dataset, seed, folds)):
        inner_seed = int(np.random.SeedSequence([seed, fold]).generate_state(1)[0])
        classes = _classes(dataset, rest)
        num_classes = 1 if classes is None else len(np.unique(classes))
        # The validation part has at least one sample for each class, or it could not be stratified.
        size = VALIDATION_SHARE if math.ceil(VALIDATION_SHARE * len(rest)) >= num_classes else num_classes
        train, val = train_test_split(rest, test_size=size, random_state=inner_seed, stratify=classes)
        yield Split(np.sort(train), np.sort(val), held_out)


def _holdout(dataset: Dataset, seed: int, folds: int) -> Iterator[Split]:
    from sklearn.model_selection import train_test_split

    samples = np.flatnonzero(dataset.is_labelled)
    if len(samples) < 3:
        raise SplitError(
            f"{dataset.name} has {counted(len(samples), 'labelled sample')}, but 3 are needed (one each to train, validate and test). "
            "Label more samples."
        )
    size = max(1, round(HOLDOUT_SHARE * len(samples)))
    groups = _holdout_strata(dataset, samples)
    state = np.random.RandomState(seed)
    rest, test, groups_of_rest, _ = train_test_split(samples, groups, test_size=size, random_state=state, stratify=groups)
    train, val = train_test_split(rest, test_size=size, random_state=state, stratify=groups_of_rest)
    yield Split(np.sort(train), np.sort(val), np.sort(test))


def _holdout_strata(dataset: Dataset, samples: IntArray) -> IntArray:
    """The stratum of each sample in ``holdout``, (number of samples,). Unless there is just one, each has at least five samples."""
    if dataset.target.kind == "multi-label" and dataset.target.num_outputs == 1:
        classes: IntArray | None = dataset.labels[samples, 0].astype(np.int64)
    else:
        classes = _classes(dataset, samples)
    if classes is None:
        return np.zeros(len(samples), dtype=np.int64)
    counts = np.bincount(classes)
    is_rare = counts < _MIN_TO_STRATIFY
    together = len(counts) if counts[is_rare].sum() >= _MIN_TO_STRATIFY else counts.argmax()
    return np.where(is_rare[classes], together, classes)


_PROTOCOLS: dict[str, Callable[[Dataset, int, int], Iterator[Split]]] = {
    "public": _official,
    "scaffold": _official,
    "splits": _official,
    "random": _random,
    "nested": _nested,
    "holdout": _holdout,
}


def _outer_folds(dataset: Dataset, seed: int, folds: int) -> list[tuple[IntArray, IntArray]]:
    from sklearn.model_selection import KFold, StratifiedKFold

    if folds < 2:
        raise UsageError(f"Cross-validation needs at least 2 folds, found {folds}. Give --folds 2 or more (10 is the custom).")
    samples = np.flatnonzero(dataset.is_labelled)
    classes = _classes(dataset, samples)
    needed = _MIN_FOR_TWO_FOLDS if folds == 2 else folds
    why = f"one for each of {folds} folds, and two outside of each for training and validation"
    splitter: Any
    if classes is None:
        if len(samples) < needed:
            raise SplitError(
                f"{dataset.name} has {counted(len(samples), 'labelled sample')}, but {needed} are needed ({why}). "
                f"{_fewer_folds(len(samples)) or 'Give more data.'}"
            )
        splitter = KFold(folds, shuffle=True, random_state=seed)
    else:
        _require_per_class(dataset, samples, needed, why, _fewer_folds)
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [(samples[rest], samples[held_out]) for rest, held_out in splitter.split(samples, classes)]


def _fewer_folds(count: int) -> str:
    """Advice on the number of folds that `count` samples of a class allow; empty if they allow none."""
    return f"Ask for {count} folds (--folds {count}){' or fewer' if count >= _MIN_FOR_TWO_FOLDS else ''}." if count >= 3 else ""


def _classes(dataset: Dataset, samples: IntArray) -> IntArray | None:
    stratification = strata(dataset)
    return None if stratification is None else stratification[1][samples]


def _has_enough_of_each_class(dataset: Dataset) -> bool:
    """Whether each class with samples has enough of them for ``random``."""
    classes = _classes(dataset, np.flatnonzero(dataset.is_labelled))
    return classes is not None and bool((np.unique(classes, return_counts=True)[1] > TRAIN_PER_CLASS + VALIDATION_PER_CLASS).all())


def _require_per_class(dataset: Dataset, samples: IntArray, needed: int, why: str, hint: Callable[[int], str]) -> None:
    """Refuse a class that has samples, but fewer than `needed`; `hint` gives further advice for their number."""
    stratification = strata(dataset)
    assert stratification is not None
    target, classes = stratification
    counts = np.bincount(classes[samples], minlength=target.num_outputs)
    rarest = int(np.where(counts > 0, counts, len(samples) + 1).argmin())
    count = int(counts[rarest])
    if count < needed:
        advice = hint(count)
        raise SplitError(
            f"Class {shortened(target.names[rarest])!r} of {dataset.name} has {counted(count, 'sample')}, but {needed} are needed ({why}). "
            f"{f'{advice} Or use' if advice else 'Use'} --protocol holdout, for which no class is too small, or merge or remove rare "
            "classes."
        )
