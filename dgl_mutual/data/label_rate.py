"""Label rates: labels of some training samples are hidden, and these samples remain as unlabelled training samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.several_targets import one_by_one
from dgl_mutual.data.values.arrays import FloatArray, IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import SplitError, UsageError, listed, shortened
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

#: A share of the labels, or an integer number of labels per class, as in scikit-learn: 1.0 is all of them, 1 is one per class.
LabelRate = int | float


def parse_label_rate(rate: Any) -> LabelRate:
    """Parse a label rate from a number or a string: ``0.1``, ``"0.1"``, ``20``.

    Raises:
        ValueError: not a number, a share outside (0, 1], or fewer than one label per class.
    """
    number = rate.item() if isinstance(rate, np.integer | np.floating) else rate
    for kind in (float, int) if isinstance(rate, str) else ():  # of 20, which both can read, the integer counts
        with suppress(ValueError):
            number = kind(rate)
    if isinstance(number, bool) or not isinstance(number, int | float) or not (number >= 1 if isinstance(number, int) else 0 < number <= 1):
        raise ValueError(
            f"the label rate is {rate!r}: give a share of the labels in (0, 1], for example 0.1, or an integer number of labels per class, "
            "for example 20 (1 means one label per class, and 1.0 all labels)"
        )
    return number


def hide_labels(dataset: Dataset, split: Split, rate: LabelRate, *, seed: int, fold: int | None = None) -> Split:
    """Keep a share of the training samples, or a number per class, in `train`, and move the others to `unlabelled`.

    A class with n labelled training samples keeps rate * n of them, rounded to the nearest integer (halves up), or `rate` of them if
    that is an integer. The seed determines the order in which samples are hidden, so a higher rate keeps all samples that a lower one
    keeps.

    The classes are those of a single-label target or of one binary label. Where a sample has several labels, its class is the rarest
    value among them (of all labels, counted in the training part), after the iterative stratification of Sechidis et al. (ECML PKDD 2011).
    Training samples without any known label become unlabelled ones.

    A class with fewer labels than an integer `rate` keeps all of them, with a warning.

    Args:
        seed: from 0 on.
        fold: the index of the split among several, for messages.

    Raises:
        SplitError: a class, or one of several labels, would have no labelled training sample; no label would be hidden; or there is none.
        UsageError: a number of labels per class where samples have several labels.
    """
    columns = list(_label_columns(dataset))
    if isinstance(rate, int) and len(columns) > 1:
        raise UsageError(
            f"A label rate of {counted(rate, 'label')} per class has no meaning for {dataset.name}, whose samples have "
            f"{counted(len(columns), 'label')} each. Give a share of the labels, for example --label-rate 0.1."
        )
    codes = np.column_stack([column.codes for column in columns])[split.train]
    stratum = _rarest_value(codes)
    order = np.random.default_rng(seed).permutation(len(stratum))
    order = order[np.argsort(stratum[order], kind="stable")]
    sizes = np.bincount(stratum[order] + 1)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    num_kept = [rate if isinstance(rate, int) else math.floor(Fraction(str(rate)) * size + Fraction(1, 2)) for size in sizes.tolist()]
    keeps = np.zeros(len(stratum), dtype=np.bool_)
    keeps[order] = (rank < np.repeat(num_kept, sizes)) & (stratum[order] >= 0)
    _check_kept(name_with_fold(dataset, fold), columns, codes, keeps, rate)
    return replace(split, train=split.train[keeps], unlabelled=np.sort(np.concatenate([split.unlabelled, split.train[~keeps]])))


def separate_unlabelled(dataset: Dataset, split: Split) -> Split:
    """Move training samples without a known label to `unlabelled`; the split itself if all have one, or none has."""
    known = dataset.is_labelled[split.train]
    if known.all() or not known.any():
        return split
    return replace(split, train=split.train[known], unlabelled=np.union1d(split.unlabelled, split.train[~known]))


def name_with_fold(dataset: Dataset, fold: int | None) -> str:
    """The name of the dataset, with the fold if there are several, for a message."""
    return dataset.name if fold is None else f"{dataset.name} (fold {fold})"


def warn_of_unlearned(dataset: Dataset, split: Split, fold: int | None = None) -> None:
    """Warn of classes, and of positives or negatives of a label, that occur in validation or test but not in training, and of a test part
    without labels.

    Args:
        fold: the index of the split among several, for messages.
    """
    where = name_with_fold(dataset, fold)
    assessed = np.concatenate([split.val, split.test])
    missing = []
    for column in _label_columns(dataset):
        for code, value in enumerate(column.values):
            has_value = column.codes == code
            if has_value[assessed].any() and not has_value[split.train].any():
                missing.append(f"the class {value!r}" if dataset.target.kind == "single-label" else f"{column.name!r} = {value}")
    if missing:
        warn(
            f"The training part of {where} has no sample with {listed(missing)}, but the parts for validation and test have some: "
            "this cannot be learned. Use another split, such as that of another seed or protocol, or label more samples."
        )
    if not dataset.is_labelled[split.test].any():
        warn(f"None of {counted(len(split.test), 'test sample')} of {where} has a known label, so the test metrics are nan.")


def without_labels(dataset: Dataset, samples: IntArray) -> Dataset:
    """The dataset with the labels of these samples unknown; the dataset itself if there are no samples."""
    if not len(samples):
        return dataset
    labels: npt.NDArray[Any] = dataset.labels.copy()
    labels[samples] = dataset.target.unknown
    return dataset.replaced(labels=labels)


class _LabelColumn(NamedTuple):
    """The labels of one target or label: its name, the names of its values, and their indices, (samples,), NaN where unknown."""

    name: str
    values: tuple[str, ...]
    codes: FloatArray


def _label_columns(dataset: Dataset) -> Iterator[_LabelColumn]:
    for part in one_by_one(dataset):
        if part.target.kind == "single-label":
            codes = np.where(part.labels >= 0, part.labels, np.nan).astype(np.float32)
            yield _LabelColumn(part.target.name or "label", part.target.names, codes)
        else:
            for name, marks in zip(part.target.names, part.labels.T, strict=True):
                yield _LabelColumn(name, ("0", "1"), marks.astype(np.float32))


def _rarest_value(codes: FloatArray) -> IntArray:
    """The index of the rarest value among each sample's labels, over all label columns; -1 for samples without a label."""
    known = ~np.isnan(codes)
    width = int(codes[known].max()) + 1 if known.any() else 1
    values = np.where(known, codes, 0).astype(np.int64) + width * np.arange(codes.shape[1])
    counts = np.bincount(values[known], minlength=width * codes.shape[1])
    rarest = np.where(known, counts[values], len(codes) + 1).argmin(axis=1)
    return np.where(known.any(axis=1), values[np.arange(len(codes)), rarest], -1)


def _check_kept(where: str, columns: list[_LabelColumn], codes: FloatArray, keeps: npt.NDArray[np.bool_], rate: LabelRate) -> None:
    """Refuse a rate that hides no label or leaves a value without a labelled sample, and warn of classes that keep all labels.

    Args:
        codes, keeps: of the training samples, (samples, columns) and (samples,).
    """
    asked = f"A label rate of {rate}"
    labelled = ~np.isnan(codes).all(axis=1)
    if not labelled.any():
        raise SplitError(f"{asked} has nothing to keep: none of the {len(codes)} training samples of {where} has a known label.")
    if keeps[labelled].all():
        raise SplitError(
            f"{asked} hides no label of {where}: its training part has {int(labelled.sum())} labelled samples, "
            "no class with more than that. Give a lower rate, or leave it out."
        )
    bare: list[tuple[int, str]] = []
    for column, own_codes in zip(columns, codes.T, strict=True):
        # With several labels, some values are too rare for any small share: it is enough that each label is known of some sample.
        if len(columns) > 1 and len(column.values) == 2:
            groups = [(f"the label {shortened(column.name)!r}", ~np.isnan(own_codes))]
        else:
            groups = [(f"the class {shortened(value)!r}", own_codes == code) for code, value in enumerate(column.values)]
        bare += [(int(among.sum()), what) for what, among in groups if among.any() and not among[keeps].any()]
    if bare:
        count, what = min(bare)
        other = ""
        if len(columns) == 1:
            share = min(math.ceil(1000 * 0.6 / count) / 1000, 1.0)  # half a sample is enough, but other splits may have fewer
            other = f", for example --label-rate {share:g}, or a number of labels per class, for example --label-rate 1"
        raise SplitError(
            f"{asked} leaves {what} of {where} without a labelled training sample: it has {count} in the training part. "
            f"Give a higher share{other}."
        )
    if isinstance(rate, int):
        sizes = {value: int((codes[:, 0] == code).sum()) for code, value in enumerate(columns[0].values)}
        small = [f"{size} of {value!r}" for value, size in sizes.items() if 0 < size < rate]
        if small:
            warn(f"{asked} per class keeps all labels of classes that have fewer in the training part of {where}: {listed(small)}.")
