from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from dgl_mutual.experiments.schema import TRIAL_COLUMNS

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Writes run folders as the runner does; figures follow from the arguments and a seed."""

    def write(
        dataset: str = "Cora",
        strategy: str = "gml",
        *,
        level: float = 0.8,
        seeds: int = 10,
        folds: int | None = None,
        protocol: str | None = None,
        students: Sequence[str] = ("gcn", "gat"),
        scores: Sequence[float] | None = None,
        epochs: int = 12,
        weights: bool = False,
        cka: bool = False,
        config: dict[str, Any] | None = None,
        out: Path | None = None,
        metric: str = "accuracy",
        fingerprint: str = "f",
    ) -> Path:
        protocol = protocol or ("nested" if folds else "public")
        options = [{"architecture": name, "hidden": 64} for name in students]
        values = {
            **{"task": "graph" if folds else "node", "dataset": dataset, "fingerprint": fingerprint, "protocol": protocol},
            **{"seeds": seeds, "folds": folds, "students": options, "strategy": strategy, "strategy_options": {}},
            **{"training": {"epochs": epochs, "learning_rate": 0.01}, **(config or {})},
        }
        folder = (out or tmp_path / "results") / f"{values['task']}-{dataset}-{strategy}-{zlib.crc32(repr(values).encode()):08x}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        (folder / "environment.json").write_text(json.dumps({"command": "dgl-mutual run", "versions": {"python": "3.11.7"}, "cores": 2}))
        trials = [(seed, fold) for seed in range(seeds) for fold in range(folds or 1)]
        random = np.random.default_rng(zlib.crc32(repr((dataset, strategy, level)).encode()))
        drawn = level + 0.01 * random.standard_normal(len(trials)) if scores is None else np.asarray(scores)
        names = [f"{name}-{place}" for place, name in enumerate(students)]
        rows, history = [], []
        for (seed, fold), score in zip(trials, drawn, strict=True):
            for place, member in enumerate([*names, "mean", "best_by_val", "ensemble"]):
                value = float(score) if member == "mean" else float(score) + 0.002 * (place - 1)
                figures = {
                    "train": 1.0,
                    "val": value + 0.01,
                    "test": value,
                    "best_epoch": 3,
                    "epochs": epochs,
                    "parameters": 1000 * (place + 1),
                }
                costs = {"seconds_per_epoch": 0.01 * len(names), "train_seconds": 0.01 * len(names) * epochs, "inference_ms": 1.0 + place}
                names_of = {"task": values["task"], "dataset": dataset, "fingerprint": f"{fingerprint}{seed}.{fold}", "strategy": strategy}
                architecture = students[place] if place < len(students) else "-"
                key = {"member": member, "architecture": architecture, "protocol": protocol, "seed": seed, "fold": fold, "metric": metric}
                rows.append({**names_of, **key, **figures, **costs})
            for epoch in range(epochs):
                growth = float(score) * (1 - np.exp(-(epoch + 1) / 3))
                line: dict[str, float] = {"seed": seed, "fold": fold, "epoch": epoch}
                line |= {f"loss/supervised/{name}": 2 * np.exp(-epoch / 4 - place / 9) for place, name in enumerate(names)}
                line |= {f"val/{name}": growth - 0.02 * place for place, name in enumerate(names)}
                if weights:
                    tilt = {a: {b: 1 + epoch * (1 + place) / 20 for place, b in enumerate(names) if b != a} for a in names}
                    line |= {f"weights/{a}/{b}": tilt[a][b] / sum(tilt[a].values()) for a in names for b in names if a != b}
                if cka:
                    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
                    line |= {f"diversity/cka/{a}/{b}": 0.3 + 0.6 * growth for a, b in pairs}
                    line |= {"diversity/disagreement": 0.5 - 0.4 * growth}
                history.append(line)
        pd.DataFrame(rows, columns=TRIAL_COLUMNS).to_csv(folder / "trials.csv", index=False)
        pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
        return folder

    return write
