"""What tables and plots call a run: its strategy and dataset, and whatever else of its configuration tells it from the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dgl_mutual.reporting.run import Run

#: Follows from the dataset, or is shown elsewhere.
_SHOWN_ELSEWHERE = ("dataset", "strategy", "fingerprint", "task", "protocol", "seeds", "folds")
#: Not how students teach each other, but on what, and who: methods are compared under the same of these.
_OF_THE_SETTING = ("noise", "students", "targets")


def label_runs(runs: Sequence[Run]) -> list[Run]:
    """The same runs, each with `method` and `data` filled in where a suite has not done so.

    Runs of one strategy on one dataset whose configurations differ are told apart by what differs: ``gml (entropy_weight=0.1)``. Noise, and
    task, targets and cohort where a dataset was run with several, belong to the data: ``Cora (feature:0.2)``, ``digits (graph)``.
    """
    flat = [flatten(run.config) for run in runs]
    datas = [
        run.data or _data_label(values, [other for other in flat if other["dataset"] == values["dataset"]])
        for run, values in zip(runs, flat, strict=True)
    ]
    groups = defaultdict(list)
    for run, values, data in zip(runs, flat, datas, strict=True):
        groups[run.config["strategy"], data].append(values)
    differing: dict[str, list[str]] = defaultdict(list)
    for (strategy, _), group in groups.items():
        differing[strategy] += [key for key in _differing(group) if key not in differing[strategy]]
    return [
        replace(run, data=data, method=run.method or _method_label(values, differing[run.config["strategy"]]))
        for run, values, data in zip(runs, flat, datas, strict=True)
    ]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain values by dotted keys; targets as ``digit+even``, the cohort as ``gcn+gat``, their own as ``student.<option>``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif prefix == "" and key == "students":
            flat["students"] = "+".join(str(student.get("architecture")) for student in value)
            for option in dict.fromkeys(option for student in value for option in student if option != "architecture"):
                flat[f"student.{option}"] = "/".join(dict.fromkeys(str(student.get(option)) for student in value))
        elif prefix == "" and key == "targets" and value is not None:
            flat["targets"] = "+".join(map(str, value))
        else:
            flat[prefix + key] = value
    return flat


def _data_label(values: Mapping[str, Any], of_dataset: Sequence[Mapping[str, Any]]) -> str:
    extra = [str(values["noise"])] if values.get("noise") else []
    told = [key for key in ("task", "targets", "students") if len({other.get(key) for other in of_dataset}) > 1]
    extra += [str(values[key]) for key in told if values.get(key) is not None]
    name = Path(str(values["dataset"])).name
    return f"{name} ({', '.join(extra)})" if extra else name


def _differing(group: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for values in group for key in values if key not in (*_SHOWN_ELSEWHERE, *_OF_THE_SETTING))
    return [key for key in keys if len({repr(values.get(key)) for values in group}) > 1]


def _method_label(values: Mapping[str, Any], differing: Sequence[str]) -> str:
    told = ", ".join(f"{key.rpartition('.')[2]}={values.get(key)}" for key in differing)
    return f"{values['strategy']} ({told})" if told else str(values["strategy"])
