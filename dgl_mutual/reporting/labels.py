"""Labels of runs in tables and plots: strategy, dataset, and the options that differ."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dgl_mutual.reporting.run import Run
from dgl_mutual.store.configuration import ROLES, Role, identity
from dgl_mutual.utils.wording import counted

#: Keys of the data and the cohort, which are the same for compared methods.
_OF_THE_DATA = ("label_rate", "pool", "noise", "students", "targets", "metric")
#: Keys of the training samples and their scoring: runs that differ in one of these have separate columns in a table.
_COLUMN_OF_ITS_OWN = ("label_rate", "noise", "task", "targets", "metric", "folds")
#: Training options that do not affect results: recorded values, and snapshots of interrupted trials.
_RECORDING = ("diversity", "checkpoint_every")
#: Keys that are not options of the method: they belong to the data, are shown elsewhere, or do not affect results.
_NO_OPTION = (
    {"strategy", "students", "pool"}
    | {key for key, role in ROLES.items() if role is not Role.METHOD}
    | {f"training.{name}" for name in _RECORDING}
)
#: Optional parts of a run; the options of a missing part are not named.
_PARTS = ("distill", "grid")
#: Maximum length of a label.
MAX_LABEL = 60


def label_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with `method` and `data` filled in if a suite has not set them.

    Runs of the same strategy and dataset with different configurations are distinguished by their given options that differ:
    ``gml (entropy_weight=0.1)`` and ``gml``. Label rate and noise belong to the data, and so do task, targets, metric, cohort, protocol
    and folds if a dataset has several: ``Cora (10% labels)``, ``Cora (feature:0.2)``, ``digits (graph)``, ``MUTAG (5 folds)``.
    If runs on a dataset differ in their pool of unlabelled graphs, it belongs to the method, so that methods with and without a pool are
    compared: ``gml (unlabelled=ogbg-molhiv)``. If all have the same pool, it belongs to the data: ``MUTAG (and NCI1)``.
    """
    flat = _with_common_pools([_flat(run) for run in runs])
    datas = [
        run.data or _data_label(values, [other for other in flat if other["dataset"] == values["dataset"]])
        for run, values in zip(runs, flat, strict=True)
    ]
    groups = defaultdict(list)
    for run, values, data in zip(runs, flat, datas, strict=True):
        if not run.method:
            groups[run.config["strategy"], data].append((values, flatten(run.given)))
    differing: dict[str, list[str]] = defaultdict(list)
    for (strategy, _), group in groups.items():
        differing[strategy] += [key for key in _described(group) if key not in differing[strategy]]
    keys_of = [differing[run.config["strategy"]] for run in runs]
    full = [_method_label(values, keys) for values, keys in zip(flat, keys_of, strict=True)]
    short = [_method_label(values, _given(run, keys)) for run, values, keys in zip(runs, flat, keys_of, strict=True)]
    meanings: dict[tuple[str, str], set[str]] = defaultdict(set)
    for data, short_label, full_label in zip(datas, short, full, strict=True):
        meanings[data, short_label].add(full_label)
    # The given options are enough, unless two configurations would have the same name.
    unclear = {run.config["strategy"] for run, data, label in zip(runs, datas, short, strict=True) if len(meanings[data, label]) > 1}
    return [
        replace(run, data=data, method=run.method or (full_label if run.config["strategy"] in unclear else short_label))
        for run, data, short_label, full_label in zip(runs, datas, short, full, strict=True)
    ]


def _with_common_pools(flat: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same values, with a pool that all runs on a dataset share renamed from `unlabelled` to `pool`."""
    pools: dict[object, set[object]] = defaultdict(set)
    for values in flat:
        pools[values["dataset"]].add(values.get("unlabelled"))
    common = [len(pools[values["dataset"]]) == 1 for values in flat]
    return [
        {**values, "pool": values.get("unlabelled"), "unlabelled": None} if shared else dict(values)
        for values, shared in zip(flat, common, strict=True)
    ]


def data_of_suite(runs: Sequence[Run]) -> list[Run]:
    """Return the runs of a suite, with data that have different training samples or metrics distinguished as in `label_runs`.

    A suite's methods may have their own label rates, noise, targets, metrics and folds: ``MUTAG (30% labels)`` and ``MUTAG``.
    """
    flat = [_flat(run) for run in runs]
    of_data: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for run, values in zip(runs, flat, strict=True):
        of_data[run.data].append(values)
    differing = {
        data: [key for key in _COLUMN_OF_ITS_OWN if len({str(values.get(key)) for values in group}) > 1] for data, group in of_data.items()
    }
    return [replace(run, data=_named(run.data, values, differing[run.data])) for run, values in zip(runs, flat, strict=True)]


def line_names(runs: Sequence[Run], shown: str) -> list[str]:
    """Name the lines of a figure, given a run of each, by their methods; lines of the same method with their differences.

    For example, ``gml (5 labels a class)`` and ``gml``. Lines with equal configurations have the name of the run's folder.

    Args:
        shown: the key on the figure's axis, `noise` or `students`.
    """
    of_method = defaultdict(list)
    for run in runs:
        of_method[run.method].append(run)
    names = {id(run): name for group in of_method.values() for run, name in zip(group, _namesakes(group, shown), strict=True)}
    return [names[id(run)] for run in runs]


def _namesakes(runs: Sequence[Run], shown: str) -> list[str]:
    method, flat = runs[0].method, [_flat(run) for run in runs]
    keys = [key for key in (*_OF_THE_DATA, "protocol", "folds") if key != shown and len({str(values.get(key)) for values in flat}) > 1]
    by_data = [_named(method, values, keys) for values in flat]
    by_options = [_method_label({**values, "strategy": name}, _differing(flat)) for name, values in zip(by_data, flat, strict=True)]
    for names in ([method] * len(runs), by_data, by_options):
        if len(set(names)) == len(runs):
            return names
    return [f"{method} ({run.folder.name})" for run in runs]


def data_name(run: Run) -> str:
    """The dataset of a run with its label rate and noise, without its targets: ``digits-multi (10% labels)``."""
    return _data_label(_flat(run), [])


def all_but(run: Run, key: str) -> dict[str, Any]:
    """The values that determine the results of a run's trials (see `identity`), except for its dataset and this key."""
    values = identity(run.config)
    training = {name: value for name, value in values.get("training", {}).items() if name not in _RECORDING}
    return {name: value for name, value in {**values, "training": training}.items() if name not in ("dataset", key)}


def unsplit_name(run: Run) -> str:
    """The data of a run without protocol and folds: ``digits-multi (digit+even)``."""
    values = _flat(run)
    return _named(Path(str(values["dataset"])).name, values, [key for key in _COLUMN_OF_ITS_OWN if key != "folds"])


def _flat(run: Run) -> dict[str, Any]:
    values = flatten(run.config)
    if values.get("distill.unseen"):
        values["protocol"] = f"{values.get('protocol')}-inductive"
    return values


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten plain values to dotted keys; targets as ``digit+even``, the cohort as ``gcn+gat``, its options as ``student.<option>``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif prefix == "" and key == "students" and isinstance(value, list):
            value = [student if isinstance(student, Mapping) else {"architecture": student} for student in value]
            flat["students"] = "+".join(str(student.get("architecture")) for student in value)
            flat.update(_flat_students([flatten(student) for student in value]))
        elif prefix == "" and key == "targets" and isinstance(value, list):
            flat["targets"] = "+".join(map(str, value))
        else:
            flat[prefix + key] = value
    return flat


def _flat_students(students: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """``student.hidden`` -> ``32/64``: the values of an option; options of a custom student are ``student.options.width``.

    Among students of the same architecture, those without an option that another one has show ``default``.
    """
    rows = [{"student.architecture": None, **flatten(student, "student.")} for student in students]
    flat = {}
    for option in dict.fromkeys(option for row in rows for option in row if option != "student.architecture"):
        takers = [row["student.architecture"] for row in rows if option in row]
        values = [str(row.get(option, "default")) for row in rows if row["student.architecture"] in takers]
        flat[option] = "/".join(dict.fromkeys(values))
    return flat


def _data_label(values: Mapping[str, Any], of_dataset: Sequence[Mapping[str, Any]]) -> str:
    keys = [
        key
        for key in ("task", "targets", "metric", "students", "protocol", "folds")
        if len({str(other.get(key)) for other in of_dataset}) > 1
    ]
    if "task" in keys:  # node and graph tasks have different protocols
        same_task = [other for other in of_dataset if other.get("task") == values.get("task")]
        keys = [key for key in keys if key == "task" or len({str(other.get(key)) for other in same_task}) > 1]
    return _named(Path(str(values["dataset"])).name, values, ("label_rate", "pool", "noise", *keys))


def _named(name: str, values: Mapping[str, Any], keys: Sequence[str]) -> str:
    """A name of data with its distinguishing values: ``Cora (10% labels)``."""
    extra = [_data_part(key, values[key]) for key in keys if values.get(key) is not None]
    return _short(f"{name} ({', '.join(extra)})") if extra else name


def _data_part(key: str, value: Any) -> str:
    if key == "label_rate":
        return f"{counted(value, 'label')} a class" if isinstance(value, int) else f"{100 * value:g}% labels"
    if key == "pool":
        return f"and {Path(str(value)).name}"
    return f"{value} folds" if key == "folds" else str(value)


def _described(group: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """The keys that distinguish the runs of a group: among those that differ, the given ones if they suffice.

    Args:
        group: the resolved and the given values of each run.
    """
    resolved = [values for values, _ in group]
    keys = _differing(resolved)
    given = [key for key in keys if key in _PARTS or any(key in values for _, values in group)]
    return given if _num_apart(resolved, given) == _num_apart(resolved, keys) else keys


def _given(run: Run, keys: Sequence[str]) -> list[str]:
    """The keys that were given to this run."""
    given = flatten(run.given)
    return [key for key in keys if key in given or key in _PARTS]


def _num_apart(group: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int:
    return len({repr([_has(values, key) if key in _PARTS else values.get(key) for key in keys]) for values in group})


def _differing(group: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for values in group for key in values if key not in _NO_OPTION)
    differing: dict[str, None] = {}
    for key in keys:
        part = key.partition(".")[0]
        having = [values for values in group if part not in _PARTS or _has(values, part)]
        if len(having) < len(group):
            differing[part] = None
        if len({repr(values.get(key)) for values in having}) > 1:
            differing[key] = None
    return list(differing)


def _has(values: Mapping[str, Any], part: str) -> bool:
    return any(key.startswith(f"{part}.") for key in values)


def _method_label(values: Mapping[str, Any], differing: Sequence[str]) -> str:
    """The label of a method, without options that are off: ``gml`` and ``gml (distill)``."""
    last = [key.rpartition(".")[2] for key in differing]
    options: list[tuple[str, Any]] = []
    if values.get("unlabelled") is not None:
        options.append(("unlabelled", values["unlabelled"]))
    for key, name in zip(differing, last, strict=True):
        if key in _PARTS:
            options += [(key, None)] if _has(values, key) else []
        elif values.get(key) is not None:
            options.append((name if last.count(name) == 1 else key, values[key]))
    return _listed(str(values["strategy"]), options) if options else str(values["strategy"])


def _listed(strategy: str, options: Sequence[tuple[str, Any]]) -> str:
    """``gml (hidden=8, epochs=7)``. If this is too long: rounded numbers, as many entries as fit, and a hash of all."""
    label = f"{strategy} ({', '.join(name if value is None else f'{name}={value}' for name, value in options)})"
    if len(label) <= MAX_LABEL:
        return label
    shown = f"{strategy} ("
    for name, value in options:
        entry = name if value is None else f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        if len(shown) + len(entry) > MAX_LABEL - 14:
            break
        shown += f"{entry}, "
    return _short(f"{shown}... {_digest(label)})")


def _short(label: str) -> str:
    """Shorten a label to `MAX_LABEL` characters. A hash replaces its end, so that different labels stay different."""
    if len(label) <= MAX_LABEL:
        return label
    return f"{label[: MAX_LABEL - 12].rstrip(', ')} ... {_digest(label)})"


def _digest(label: str) -> str:
    return hashlib.sha256(label.encode(errors="surrogatepass")).hexdigest()[:6]
