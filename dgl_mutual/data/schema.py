"""The schema of a dataset (the meaning of its columns and labels), and alignment of new data with the columns of a trained student."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence, Set
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import FeatureKind
from dgl_mutual.data.values.features import Columns, compact, degree_names, one_hot
from dgl_mutual.errors import DataError, listed
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

#: Kinds of columns that count as zero if a dataset lacks them.
_ZERO_KINDS = ("indicator", "edge-sum")
#: The default owner of the expected columns, at the start of a message.
_MODEL = "The model"
#: The most characters of a name that a schema shows.
_MAX_LETTERS = 40
#: The most names that a message or a schema shows.
_MAX_NAMES = 8
#: The name of a column for one code of node or edge labels in a TU dataset.
_CODE = re.compile(r"(?:edge )?label(?: \d+)?=")
#: A default name, which only gives the column's position.
_PLACE = re.compile(r"(?:edge )?feature \d+")


class Schema(Protocol):
    """The columns of a dataset, or those that a trained student expects. See `Dataset` for the attributes."""

    @property
    def feature_names(self) -> tuple[str, ...]: ...
    @property
    def feature_kinds(self) -> tuple[FeatureKind, ...]: ...
    @property
    def edge_feature_names(self) -> tuple[str, ...]: ...
    @property
    def edge_feature_kinds(self) -> tuple[FeatureKind, ...]: ...
    @property
    def codes_of(self) -> str | None: ...


def schema_of(dataset: Dataset) -> dict[str, str]:
    """The meaning of the columns and labels of a dataset, which its fingerprint does not cover.

    Returns:
        A text for each part: the first few of its names or kinds, and a digest of all of them. Parts of edge features exist only if there
        are some.
    """
    targets = dataset.target.parts or (dataset.target,)
    parts: dict[str, Sequence[str]] = {
        "feature columns": dataset.feature_names,
        "kinds of feature columns": dataset.feature_kinds,
        "targets": [f"{'' if target.name is None else f'{target.name}: '}{target.kind} with {target.num_outputs}" for target in targets],
        "classes": dataset.target.names,
        "metrics": [target.metric for target in targets],
    }
    if dataset.edge_features is not None:
        parts |= {"edge feature columns": dataset.edge_feature_names, "kinds of edge feature columns": dataset.edge_feature_kinds}
    return {part: f"{_shown(values)} ({_digest(values)})" for part, values in parts.items()}


def differences(before: Mapping[str, Any], now: Mapping[str, str]) -> str:
    """The differences of two schemas, for a message; empty if there are none. Parts that only one of them has are not compared."""
    parts = [part for part, value in now.items() if before.get(part, value) != value]
    return "; ".join(f"the {part} were {before[part]} and are {now[part]}" for part in parts)


def _shown(values: Sequence[str]) -> str:
    """The first few values, with equal neighbours counted, for example ``3 x number``."""
    groups = [(value[:_MAX_LETTERS], len(list(group))) for value, group in groupby(values)]
    return listed([value if count == 1 else f"{count} x {value}" for value, count in groups], _MAX_NAMES) or "none"


def _digest(values: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:8]


def align_to(dataset: Dataset, known: Schema, *, edge_features: bool = True, owner: str = _MODEL) -> Dataset:
    """Reorder the feature columns of the dataset as in `known`, by name, and with `edge_features` also those of edges.

    An indicator column that the dataset lacks becomes all zeros: none of its nodes has that label or degree. There is a warning unless the
    name is that of one value, such as ``degree=3``, or ``colour_red`` if one other ``colour_...`` is 1 in each row. If all columns are
    one-hot degrees, those above the highest of `known` count as the highest, with a warning. There are warnings, too, for columns whose
    kind differs in a way that changes their meaning (see `_warn_of_kinds`), and for codes of labels numbered by different TU datasets.

    Args:
        owner: the owner of the columns of `known`, at the start of a message.

    Raises:
        DataError: the dataset has a column that `known` lacks, or lacks one that is not an indicator (both sides are shown), or its edges
            have no features.
    """
    given = Columns(dataset.features, dataset.feature_names, dataset.feature_kinds)
    columns = _aligned(given, known.feature_names, known.feature_kinds, data=dataset.name, what="feature", owner=owner)
    aligned = dataset
    if columns is not given:
        aligned = dataset.replaced(features=columns.values, feature_names=columns.names, feature_kinds=columns.kinds)
    names, kinds = (known.edge_feature_names, known.edge_feature_kinds) if edge_features else ((), ())
    if not names:
        aligned = aligned.without_edge_features()
    elif dataset.edge_features is not None:
        given = Columns(dataset.edge_features, dataset.edge_feature_names, dataset.edge_feature_kinds)
        columns = _aligned(given, names, kinds, data=f"the edges of {dataset.name}", what="edge feature", owner=owner)
        if columns is not given:
            aligned = aligned.replaced(edge_features=columns.values, edge_feature_names=names, edge_feature_kinds=kinds)
    elif not dataset.num_edges:
        none = np.zeros((0, len(names)), dtype=np.float32)
        aligned = aligned.replaced(edge_features=none, edge_feature_names=names, edge_feature_kinds=kinds)
    else:
        raise DataError(
            f"{owner} expects edge features (columns: {listed(names, _MAX_NAMES)}), but the edges of {dataset.name} have none. Give edge "
            "features that are encoded as those of the training data."
        )
    if None not in (dataset.codes_of, known.codes_of) and dataset.codes_of != known.codes_of:
        expected = {name for name in (*known.feature_names, *names) if _CODE.match(name)}
        _warn_of_codes(dataset, [name for name in (*dataset.feature_names, *dataset.edge_feature_names) if name in expected], known, owner)
    return aligned


def _warn_of_codes(dataset: Dataset, shared: Sequence[str], known: Schema, owner: str) -> None:
    if shared:
        warn(
            f"Columns of {dataset.name} are codes of node or edge labels ({listed(shared, _MAX_NAMES)}) as {dataset.codes_of} "
            f"numbers them, but {_within(owner)} has them as {known.codes_of} numbers them. They are matched by number, and each TU "
            f"dataset numbers its labels in its own way: a code may stand for different atoms in the two. Recode the labels of "
            f"{dataset.name} as those of {known.codes_of}. If the codes are the same already, name its files {known.codes_of}_A.txt "
            f"and so on (in Python: dataset.replaced(codes_of={known.codes_of!r}))."
        )


def _higher_degrees(given: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """The names in `given` of higher degrees than those in `names`, if both are one-hot degrees (see `degree_features`)."""
    if tuple(given) != degree_names(len(given)) or tuple(names) != degree_names(len(names)):
        return ()
    return given[len(names) :]


def _aligned(given: Columns, names: tuple[str, ...], kinds: tuple[FeatureKind, ...], *, data: str, what: str, owner: str) -> Columns:
    """The given columns of `data`, reordered by name as `names` with these kinds; `given` itself if its names are equal."""
    _warn_of_kinds(given, names, kinds, data, owner)
    if given.names == names:
        return given
    higher = () if what.startswith("edge") else _higher_degrees(given.names, names)
    if higher:
        warn(
            f"Nodes of {data} have in-degrees up to {len(given.names) - 1}, and those of the training data at most {len(names) - 1}. "
            f"Higher degrees count as {len(names) - 1}. If there are many of them, train on data that have such nodes, too."
        )
    # A name that only gives a column's position is not that of a value that may be absent: data without that column have fewer columns.
    optional = {name for name, kind in zip(names, kinds, strict=True) if kind in _ZERO_KINDS and not _PLACE.fullmatch(name)}
    place = {name: position for position, name in enumerate(names)}
    given_names = set(given.names)
    repeated = len(place) < len(names) or len(given_names) < len(given.names)
    place.update(dict.fromkeys(higher, len(names) - 1))
    absent = [name for name in names if name not in given_names]
    missing = [name for name in absent if name not in optional]
    surplus = [name for name in given.names if name not in place]
    if repeated or missing or surplus:
        fix = "Encode the new data as the training data was encoded."
        if len(given.names) == len(names) and not repeated:
            fix = (
                "There are as many columns, under other names. If they mean the same, in the same order, give them the names of the "
                f"training data: in a file in its header, or in Dataset.from_arrays or from_dgl with {_names_of(owner, what)}. Else encode "
                "the new data as the training data was encoded."
            )
        has = "have" if what.startswith("edge") else "has"
        lacks, also_has, expected, has_all = (listed(part, _MAX_NAMES) or "none" for part in (missing, surplus, names, given.names))
        raise DataError(
            f"{owner} expects {counted(len(names), f'{what} column')} and {data} {has} {len(given.names)}. "
            f"Missing: {lacks}; not expected: {also_has}. {owner}'s columns: {expected}. The data's columns: {has_all}. "
            f"{fix}"
        )
    unclear = _unclear_values([name for name in absent if "=" not in name], given, optional)
    if unclear:
        warn(
            f"These {what} columns are missing in {data}, and count as 0 everywhere: {listed(unclear, _MAX_NAMES)}. If each is a value of "
            "a one-hot encoding that does not occur there, that is right, and a name with =, such as colour=red, avoids this warning. "
            "Else give them: predictions depend on them."
        )
    moved = one_hot(np.array([place[name] for name in given.names]), len(names))
    return Columns(compact(sparse.csr_matrix(given.values) @ moved), names, kinds)


def _unclear_values(absent: Sequence[str], given: Columns, indicators: Set[str]) -> list[str]:
    """The absent columns that are not clearly values of a one-hot encoding, as ``colour_red`` if each row has one other ``colour_...``.

    Args:
        absent: indicator columns that are missing in the data.
        indicators: the expected indicators.
    """
    wanted = {prefix for name in absent for prefix in _prefixes(name)}
    places: dict[str, list[int]] = {}
    for place, name in enumerate(given.names):
        for prefix in _prefixes(name) if name in indicators else ():
            if prefix in wanted:
                places.setdefault(prefix, []).append(place)
    one_hot_prefixes = {prefix for prefix, group in places.items() if bool((given.values[:, group].sum(axis=1) == 1).all())}
    return [name for name in absent if not any(prefix in one_hot_prefixes for prefix in _prefixes(name))]


def _prefixes(name: str) -> list[str]:
    """The possible prefixes of a name in the form ``prefix_value`` of `pd.get_dummies`, each up to an underscore."""
    return [name[: match.end()] for match in re.finditer("_", name)]


def _warn_of_kinds(given: Columns, names: Sequence[str], kinds: Sequence[FeatureKind], data: str, owner: str) -> None:
    """Warn of expected indicators that hold other values than 0 and 1, and of expected numbers that are booleans.

    The latter only for names that give just a position, such as ``feature 3``: a column with a real name is that of the training data.

    Args:
        names, kinds: the expected names and kinds.
    """
    if tuple(given.kinds) == tuple(kinds) and tuple(given.names) == tuple(names):
        return
    expected = dict(zip(names, kinds, strict=True))
    pairs = [(expected.get(name), kind) for name, kind in zip(given.names, given.kinds, strict=True)]
    to_check = [place for place, (expected_kind, kind) in enumerate(pairs) if expected_kind == "indicator" and kind != "indicator"]
    if to_check:
        entries = sparse.coo_matrix(given.values[:, to_check])
        others = [given.names[to_check[column]] for column in np.unique(entries.col[(entries.data != 0) & (entries.data != 1)])]
        if others:
            warn(
                f"These columns of {data} hold other values than 0 and 1, which is all that {_within(owner)} knows of them: "
                f"{listed(others, _MAX_NAMES)}. Check that they have the encoding and the order of the training data."
            )
    booleans = [name for name, pair in zip(given.names, pairs, strict=True) if pair == ("number", "indicator") and _PLACE.fullmatch(name)]
    if booleans:
        warn(
            f"These columns of {data} are True or False, but {_within(owner)} knows numbers there: {listed(booleans, _MAX_NAMES)}. Check "
            "that they have the encoding and the order of the training data; if those are 0 and 1, give 0 and 1 here, too."
        )


def _within(owner: str) -> str:
    """The owner of the expected columns, within a message."""
    return owner[:1].lower() + owner[1:] if owner == _MODEL else owner


def _names_of(owner: str, what: str) -> str:
    """The argument that gives columns the expected names, for a message."""
    edge = what.startswith("edge")
    argument = "edge_feature_names" if edge else "feature_names"
    if owner != _MODEL:
        return f"{argument}=dataset.{argument}"
    return f"{argument}=student.{'description.' if edge else ''}{argument} (of a result: {argument}=result.dataset.{argument})"
