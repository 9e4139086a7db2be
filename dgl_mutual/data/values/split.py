"""Training, validation and test samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.values.arrays import IntArray, as_array, as_integers
from dgl_mutual.data.values.row_order import refuse_other_order
from dgl_mutual.errors import DataError
from dgl_mutual.utils.arguments import whole_number
from dgl_mutual.utils.wording import value_and_kind

if TYPE_CHECKING:
    from typing_extensions import Self

#: Names of the parts of a split in graphs and files.
MASKS = ("train_mask", "val_mask", "test_mask")
#: The most splits of a dataset; more than anyone publishes.
MAX_SPLITS = 1000


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Sample indices of one fold. The parts are disjoint; they need not cover the dataset.

    Each part is given as indices from 0, or as a boolean mask over all samples, in any array-like form; it is kept as int64 indices.

    Attributes:
        train: training samples with labels.
        val: validation samples, for model selection.
        test: test samples.
        unlabelled: training samples without labels, or with hidden ones: students may train on their features and edges, and their labels
            are never read.

    Raises:
        DataError: a part that holds neither integers nor a mask, or floats that cannot represent such numbers, or a mask of pandas
            whose index implies another order.
    """

    train: IntArray
    val: IntArray
    test: IntArray
    unlabelled: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _mask_sizes: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for name in ("train", "val", "test", "unlabelled"):
            part = getattr(self, name)
            if not hasattr(part, "__len__") or isinstance(part, str | bytes | set | frozenset | Mapping):
                raise DataError(
                    f"The part {name!r} of the split is {value_and_kind(part)}. Give an array of sample indices from 0, or a boolean mask."
                )
            array = as_array(part, f"{name} samples")
            is_mask = array.dtype == np.bool_ and array.ndim == 1
            if is_mask:
                refuse_other_order({f"The mask of the part {name!r} of the split": part})
                self._mask_sizes[name] = len(array)
            numbers = np.flatnonzero(array) if is_mask else as_integers(part, f"{name} samples")
            object.__setattr__(self, name, numbers.copy())  # the user's array may change later

    @property
    def parts(self) -> dict[str, IntArray]:
        """The parts by name; unlabelled training samples are one where there are some."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return parts if not np.size(self.unlabelled) else {**parts, "unlabelled": self.unlabelled}

    @property
    def seen(self) -> IntArray:
        """All training samples, labelled or not."""
        return np.concatenate([self.train, self.unlabelled])

    def of_first(self, num_samples: int) -> Split:
        """The split restricted to the first `num_samples` samples. Graphs of a pool come last, so this leaves them out."""
        return Split(*(part[part < num_samples] for part in (self.train, self.val, self.test, self.unlabelled)))

    @property
    def test_to_train(self) -> float:
        """Ratio of test samples to training (labelled or not) and validation samples (see `corrected_resampled_t`)."""
        return len(self.test) / (len(self.seen) + len(self.val))

    def check(self, num_samples: int) -> Self:
        """Return the split if it is valid for a dataset of this many samples.

        Raises:
            UsageError: `num_samples` is not an integer.
            DataError: an empty part, a sample that does not exist or occurs twice, two parts that share samples, or a mask over another
                number of samples.
        """
        num_samples = whole_number("num_samples", num_samples)
        seen = np.zeros(num_samples, dtype=np.int8)
        for name, part in self.parts.items():
            if (size := self._mask_sizes.get(name, num_samples)) != num_samples:
                raise DataError(f"The mask of the part {name!r} of the split covers {size} samples; there are {num_samples}.")
            if len(part) == num_samples > 2 and set(np.unique(part)) <= {0, 1}:
                raise DataError(
                    f"The part {name!r} of the split is a mask of the numbers 0 and 1. Make it one of booleans: in NumPy "
                    "mask.astype(bool), in torch mask.bool()."
                )
            if not len(part):
                raise DataError(f"The part {name!r} of the split is empty. Give each of train, val and test at least one sample.")
            if part.min() < 0 or part.max() >= num_samples:
                wrong = part.min() if part.min() < 0 else part.max()
                raise DataError(f"The part {name!r} of the split names sample {wrong}; there are {num_samples}, counted from 0.")
            if (repeated := np.flatnonzero(np.bincount(part) > 1)).size:
                raise DataError(f"The part {name!r} of the split names sample {repeated[0]} twice. Name each once.")
            if (shared := part[seen[part] > 0]).size:
                raise DataError(
                    f"The part {name!r} of the split shares samples with an earlier part ({len(shared)}, for example {shared[0]}). The "
                    "parts must be disjoint: what was trained on cannot be used to choose or to test."
                )
            seen[part] = 1
        return self

    def __repr__(self) -> str:
        return f"Split({', '.join(f'{name}: {len(part):,}' for name, part in self.parts.items())})"


def as_splits(splits: Split | Sequence[Split] | None) -> tuple[Split, ...]:
    """One split, several or none as a tuple.

    Raises:
        DataError: something else.
    """
    if splits is None:
        return ()
    sequence = (splits,) if isinstance(splits, Split) else splits
    if not isinstance(sequence, Sequence) or isinstance(sequence, str) or not all(isinstance(split, Split) for split in sequence):
        raise DataError(f"The split is {value_and_kind(splits)}. Give dgl_mutual.Split(train, val, test), or a list of them.")
    return tuple(sequence)


def splits_of_masks(masks: Mapping[str, npt.NDArray[np.bool_]]) -> tuple[Split, ...]:
    """The splits of the three masks, each of shape (samples, S) for S splits, or (samples, 1) if it is the same in all of them.

    Raises:
        DataError: masks for different numbers of splits, or for too many.
    """
    counts = {name: mask.shape[1] for name, mask in masks.items()}
    number = max(counts.values())
    if not set(counts.values()) <= {1, number}:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"The masks are for different numbers of splits: {shown}. Give as many of each, or one for all splits.")
    if number > MAX_SPLITS:
        raise DataError(f"The masks are for {number} splits. Give at most {MAX_SPLITS}.")
    columns = [np.broadcast_to(masks[name], (len(masks[name]), number)).T for name in MASKS]
    return tuple(Split(*(np.flatnonzero(part) for part in parts)) for parts in zip(*columns, strict=True))
