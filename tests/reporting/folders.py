"""Run folders as the runner and suites write them, with figures that follow from the arguments."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from copy import deepcopy
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from dgl_mutual.store.configuration import file_values
from dgl_mutual.store.files import SUITE_FILE
from dgl_mutual.store.summary import summarise_trials
from dgl_mutual.store.tables import INFERENCE_COLUMNS, TRIAL_COLUMNS

SUMS = ("mean", "best_by_val", "ensemble")


def write_run(
    out: Path,
    dataset: str = "Cora",
    strategy: str = "gml",
    *,
    level: float = 0.8,
    scores: Sequence[float] | None = None,
    seeds: int = 10,
    folds: int | None = None,
    keys: Sequence[tuple[int, int]] | None = None,
    protocol: str | None = None,
    metric: str = "accuracy",
    fingerprint: str = "f",
    students: Sequence[str] = ("gcn", "gat"),
    epochs: int = 6,
    weights: bool = False,
    diversity: bool = False,
    inference: bool = False,
    config: dict[str, Any] | None = None,
    given: dict[str, Any] | None = None,
) -> Path:
    """A run below `out`.

    Args:
        level: about what the mean student scores on test.
        scores: what it scores in each trial, instead.
        keys: (seed, fold) of the trials that have finished (default: all).
        inference: whether inference.csv is there.
        weights, diversity: what history.csv holds beside losses and validation.
        config: further keys of the configuration.
        given: what was asked for (default: all of it).
    """
    protocol = protocol or ("nested" if folds else "public")
    values = {
        **{"task": "graph" if folds else "node", "dataset": dataset, "fingerprint": fingerprint, "protocol": protocol},
        **{"seeds": seeds, "folds": folds, "students": [{"architecture": name, "hidden": 64} for name in students]},
        **{"strategy": strategy, "strategy_options": {}, "training": {"epochs": epochs, "learning_rate": 0.01}, **(config or {})},
    }
    names = {"task": values["task"], "dataset": Path(dataset).name, "strategy": strategy, "protocol": protocol, "metric": metric}
    folder = out / f"{values['task']}-{Path(dataset).name}-{strategy}-{zlib.crc32(repr(values).encode()):08x}"
    folder.mkdir(parents=True)
    resolved = {**dict.fromkeys(("label_rate", "unlabelled", "noise", "grid")), **values}
    content = file_values(deepcopy(values) if given is None else given, resolved)  # a copy: YAML writes one object twice as an alias
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "environment.json").write_text(json.dumps({"command": "dgl-mutual run", "versions": {"python": "3.11.7"}, "cores": 2}))
    keys = [(seed, fold) for seed in range(seeds) for fold in range(folds or 1)] if keys is None else keys
    random = np.random.default_rng(zlib.crc32(repr((dataset, strategy, level)).encode()))
    drawn = level + 0.01 * random.standard_normal(len(keys)) if scores is None else scores
    members = [f"{name}-{index}" for index, name in enumerate(students)]
    rows = [
        {
            **names,
            "seed": seed,
            "fold": fold,
            "fingerprint": fingerprint,
            "split": f"{fingerprint}{seed}.{fold}",
            "epochs": epochs,
            **figures,
        }
        for (seed, fold), score in zip(keys, drawn, strict=True)
        for figures in _members(members, students, float(score), epochs)
    ]
    history = [
        {"seed": seed, "fold": fold, "epoch": epoch, **_epoch(members, float(score), epoch, weights, diversity, strategy != "independent")}
        for (seed, fold), score in zip(keys, drawn, strict=True)
        for epoch in range(epochs)
    ]
    trials = pd.DataFrame(rows, columns=TRIAL_COLUMNS)
    trials.to_csv(folder / "trials.csv", index=False)
    if rows:
        summarise_trials(trials).to_csv(folder / "summary.csv", index=False)
        pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
    if inference:
        shared = {"seed": 0, "fold": 0, "samples": 100, "repeats": 30, "threads": 1, "device": "cpu"}
        times = [
            {**shared, "member": member, "median_ms": 1.0 + index, "quartile_1_ms": 0.9 + index, "quartile_3_ms": 1.3 + index}
            for index, member in enumerate([*members, "ensemble"])
        ]
        pd.DataFrame(times)[INFERENCE_COLUMNS].to_csv(folder / "inference.csv", index=False)
    return folder


def write_suite(out: Path, name: str, runs: Sequence[tuple[Path, str, str]], **keys: Any) -> Path:
    """The folder of a suite below `out`, from run folders with the names of their method and data in tables."""
    folder = out / f"suite-{name}"
    folder.mkdir(parents=True)
    entries = [{"folder": run.name, "method": method, "data": data, "seeds": _seeds(run)} for run, method, data in runs]
    values = {"description": f"What {name} shows", "baseline": None, "runs": entries, "missing": {}, **keys}
    (folder / SUITE_FILE).write_text(yaml.safe_dump(values, sort_keys=False))
    return folder


def _seeds(run: Path) -> int:
    file = run / "config.yaml"
    return int(yaml.safe_load(file.read_text())["resolved"]["seeds"]) if file.exists() else 1


def _members(members: Sequence[str], students: Sequence[str], score: float, epochs: int) -> list[dict[str, Any]]:
    figures = []
    for index, (member, architecture) in enumerate(zip([*members, *SUMS], [*students, "-", "-", "-"], strict=True)):
        test = score if member == "mean" else score + 0.002 * (index - 1)
        figures.append(
            {
                **{"member": member, "architecture": architecture, "train": 1.0, "val": test + 0.01, "test": test},
                **{"best_epoch": "" if member in SUMS else 3, "parameters": 1000 * (index + 1), "inference_ms": 1.0 + index},
                **{
                    "seconds_per_epoch": 0.01 * len(members),
                    "train_seconds": 0.01 * len(members) * epochs,
                    "peak_mib": 400 + 10 * len(members),
                },
                "disagreement": (1 - score) / 2 if len(members) > 1 else "",
            }
        )
    return figures


def _epoch(members: Sequence[str], score: float, epoch: int, weights: bool, diversity: bool, teaches: bool) -> dict[str, float]:
    growth = score * (1 - np.exp(-(epoch + 1) / 3))
    line = {f"loss/supervised/{member}": 2 * np.exp(-epoch / 4 - index / 9) for index, member in enumerate(members)}
    line |= {f"val/{member}": growth - 0.02 * index for index, member in enumerate(members)}
    if weights:
        share = 1 / (len(members) - 1)
        line |= {f"weights/{a}/{a}": 0.0 for a in members}
        line |= {f"weights/{a}/{b}": share * (1 + 0.05 * epoch * (1 if a < b else -1)) for a, b in permutations(members, 2)}
    if teaches:
        line |= {f"exchange/{member}": np.exp(-epoch) * (index + 1) for index, member in enumerate(members)}
    if diversity:
        line |= {f"diversity/cka/{a}/{b}": 0.3 + 0.6 * growth for a, b in combinations(members, 2)}
        line |= {"diversity/disagreement": 0.5 - 0.4 * growth}
    return line
