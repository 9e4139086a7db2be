"""Discovery of run folders and suites, and names of their runs for tables and plots."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from operator import attrgetter
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, field_validator

from dgl_mutual.errors import SHOWN, StoreError, UsageError, shortened, unknown
from dgl_mutual.options import plain_message
from dgl_mutual.reporting.labels import data_of_suite, label_runs, unsplit_name
from dgl_mutual.reporting.run import Run
from dgl_mutual.store.configuration import GIVEN, RESOLVED
from dgl_mutual.store.files import CONFIG_FILE, SUITE_FILE, TRIALS_FILE
from dgl_mutual.store.tables import MAX_TITLE, MAX_TRIALS, NAME_COLUMNS, TUNING_COLUMNS, TUNING_ENDED, read_tuning
from dgl_mutual.utils.files import unreadable
from dgl_mutual.utils.plain_yaml import read_yaml_file
from dgl_mutual.utils.safe_text import terminal_text
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

_ENTRY = ("folder", "method", "data")
_TEXTS = ("description", "baseline")


def load_runs(paths: Iterable[str | Path]) -> list[Run]:
    """Load the runs in some folders, named for tables and plots.

    If two suites request different numbers of seeds of a run, the larger number counts, with a warning, regardless of their order.

    Args:
        paths: run folders, suite folders, or folders that contain run folders.

    Raises:
        UsageError: no paths, or a path that does not exist.
        StoreError: a folder without runs, or a damaged run folder.
    """
    by_key: dict[tuple[Path, str, str], Run] = {}
    for run in (run for path in map(Path, paths) for run in _runs_in(path)):
        key = (run.folder.resolve(), run.data, run.method)
        by_key[key] = _with_more_seeds(by_key.get(key, run), run)
    if not by_key:
        raise UsageError("No run folder was given. Name one or more, for example results/<run>.")
    # A run keeps its names in suites if its folder is also given.
    named = {folder for folder, _, method in by_key if method}
    return label_runs([run for (folder, _, method), run in by_key.items() if method or folder not in named])


def chosen_runs(runs: Sequence[Run], datasets: Sequence[str] = (), methods: Sequence[str] = ()) -> list[Run]:
    """Select runs by dataset and method, by their names in tables and in the order of these names; all if no names are given.

    Raises:
        UsageError: an unknown name, or no run remains.
    """
    chosen = list(runs)
    for kind, names, of in (("method", methods, attrgetter("method")), ("dataset", datasets, attrgetter("data"))):
        known = dict.fromkeys(map(of, runs))
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
        if names:
            chosen = sorted((run for run in chosen if of(run) in names), key=lambda run: names.index(of(run)))
    if runs and not chosen:
        raise UsageError(f"None of the chosen methods ({', '.join(methods)}) was run on the chosen datasets ({', '.join(datasets)}).")
    return chosen


def gather(runs: Sequence[Run], metric: str | None = None, *, each_target: bool = False) -> pd.DataFrame:
    """Concatenate trials.csv of all runs.

    Additional columns: `method`, `data`, `unsplit` (the same for data that differ only in their protocol), `folds` (k of cross-validation,
    else 1), `planned` (number of planned trials), `tuned` (trials of the search that chose the options, else 0), `combinations` (of
    options of a grid, else 0), `run` and `schema` (meaning of columns and labels of the data as JSON; ``{}`` if unknown).

    Args:
        metric: also the rows of single tasks with this metric; default: only the mean over several tasks.
        each_target: also the rows of all single tasks.

    Raises:
        UsageError: no runs.
        StoreError: a run without a finished trial.
    """
    if not runs:
        raise UsageError("In none of these runs has a trial finished. 'dgl-mutual status' says why.")
    tables = []
    for run in runs:
        if run.trials.empty:
            failed = f"{len(run.failures)} failed (failures.csv)" if len(run.failures) else "it was interrupted early"
            raise StoreError(
                f"In {str(run.folder)!r} no trial has finished: {failed}. "
                f"Go on with it: dgl-mutual run --config {shlex.quote(str(run.folder / CONFIG_FILE))} "
                f"--out {shlex.quote(str(run.folder.parent))}"
            )
        added: dict[str, Any] = {
            "method": run.method,
            "data": run.data,
            "unsplit": unsplit_name(run),
            "run": str(run.folder),
            "folds": run.num_folds,
            "planned": run.num_planned,
            "tuned": run.tuned,
            "combinations": run.num_combinations,
            "schema": json.dumps(run.schema),
        }
        tables.append((run.trials if each_target or metric is not None else run.overall).assign(**added))
    return pd.concat(tables, ignore_index=True)


def _with_more_seeds(one: Run, other: Run) -> Run:
    """The version of a run with more seeds, from two suites, with a warning."""
    few, many = sorted((one, other), key=lambda run: int(run.config["seeds"]))
    if few.num_planned < many.num_planned:
        warn(
            f"For {many.method} on {many.data} one suite requests {counted(few.config['seeds'], 'seed')} and another "
            f"{many.config['seeds']}. All {many.config['seeds']} are used. Give one suite at a time to use its own number."
        )
    return many


def _runs_in(path: Path) -> list[Run]:
    if not path.exists():
        raise UsageError(f"There is no folder {str(path)!r}. Correct the path; by default, runs are in results/.")
    if (path / CONFIG_FILE).is_file():
        return [_read_run(path)]
    if (path / SUITE_FILE).is_file():
        runs = suite_runs(path)
        if not runs:
            raise StoreError(f"No run of the suite in {str(path)!r} has begun, or its run folders are not next to it. Run the suite again.")
        return runs
    for folder in path.glob(f"*-{'[0-9a-f]' * 8}"):
        _check_open(folder)
    runs = [_read_run(file.parent) for file in sorted(path.glob("*/config.yaml"))] if path.is_dir() else []
    if not runs:
        raise StoreError(
            f"{str(path)!r} is neither a run folder (it has no config.yaml) nor a suite folder (no {SUITE_FILE}), and contains no run "
            "folders. Give a folder that 'dgl-mutual run' or 'dgl-mutual suite' has written."
        )
    return runs


def read_suite(folder: Path) -> dict[str, Any]:
    """Read suite.yaml of a suite folder. It only names run folders in the same parent folder.

    Raises:
        StoreError: it was not written by a suite.
    """
    values = _read_yaml(folder / SUITE_FILE)
    runs = values.get("runs")
    if not isinstance(runs, list) or not all(_is_entry(run) for run in runs):
        raise StoreError(
            f"{str(folder / SUITE_FILE)!r} is no list of runs with their data, method, folder and seeds: it was edited, or is of another "
            "version. Run the suite again: finished trials are kept."
        )
    outside = [run["folder"] for run in runs if run["folder"] in ("", "..") or PureWindowsPath(run["folder"]).name != run["folder"]]
    if outside:
        raise StoreError(
            f"{str(folder / SUITE_FILE)!r} names {outside[0]!r} as the folder of a run, and a suite names folders beside its own: it was "
            "edited, or damaged. Give the name alone, or run the suite again."
        )
    missing = values.get("missing")
    if not isinstance(missing, dict) or not all(isinstance(values.get(name) or "", str) for name in _TEXTS):
        raise StoreError(f"{str(folder / SUITE_FILE)!r} is not what a suite writes: it was edited, or damaged. Run the suite again.")
    names = [*(run[name] for run in runs for name in ("method", "data")), values.get("baseline") or "", *map(str, missing)]
    if wrong := [name for name in names if "\n" in name or terminal_text(name) != name]:
        raise StoreError(
            f"{str(folder / SUITE_FILE)!r} holds a name with a line end or control character, {shortened(repr(wrong[0]), SHOWN)}, and no "
            "suite has one: it was edited, or damaged. Leave that out, or run the suite again."
        )
    return values


def _is_entry(run: object) -> bool:
    if not isinstance(run, dict) or not isinstance(run.get("seeds"), int) or run["seeds"] < 1:
        return False
    return all(isinstance(run.get(name), str) and len(run[name]) <= MAX_TITLE for name in _ENTRY)


def preferred_baseline(paths: Sequence[Path]) -> str | None:
    """The suite's baseline, if `paths` is a single suite folder; else None."""
    if len(paths) != 1 or not (paths[0] / SUITE_FILE).is_file():
        return None
    baseline = read_suite(paths[0]).get("baseline")
    return None if baseline is None else str(baseline)


def suite_runs(folder: Path) -> list[Run]:
    """Load the runs of a suite that have begun (see `dgl_mutual.reporting.status` for the others).

    Data of methods with different training samples, for example at different label rates, or with different metrics are
    distinguished (see `data_of_suite`).

    Raises:
        StoreError: suite.yaml or a run was not written by a suite, or the runs have more than `MAX_TRIALS` trials together.
    """
    runs = []
    searched = _searched(folder)
    read = cache(_read_run)  # a folder that is named several times is read once
    for entry in read_suite(folder)["runs"]:
        run_folder = folder.resolve().parent / str(entry["folder"])
        _check_open(run_folder)
        if any(os.path.lexists(run_folder / name) for name in (CONFIG_FILE, TRIALS_FILE)):  # with only one of them, it is damaged
            run = read(run_folder)
            # The folder may have trials of more seeds than this suite requests.
            config = {**run.config, "seeds": min(entry["seeds"], run.config["seeds"])}
            method, data = str(entry["method"]), str(entry["data"])
            runs.append(replace(run, config=config, method=method, data=data, tuned=searched.get((data, method), 0)))
    planned = sum(run.num_planned for run in runs)
    if planned > MAX_TRIALS:
        raise StoreError(
            f"The runs of {str(folder / SUITE_FILE)!r} ask for {planned} trials, and a suite has at most {MAX_TRIALS}: it was edited. "
            "Restore it, or run the suite again."
        )
    return data_of_suite(runs)


def _searched(folder: Path) -> dict[tuple[str, str], int]:
    """Data and method -> number of ended trials of the search in a suite's tuning.csv."""
    table = read_tuning(folder, [*NAME_COLUMNS, *TUNING_COLUMNS])
    ended = table[table["state"].isin(TUNING_ENDED)]
    return {(str(data), str(method)): len(trials) for (data, method), trials in ended.groupby(["data", "method"], sort=False)}


def _check_open(folder: Path) -> None:
    """Raise StoreError for a run folder that cannot be opened; its run would otherwise be skipped silently."""
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise StoreError(unreadable(folder))


def _read_run(folder: Path) -> Run:
    file = folder / CONFIG_FILE
    values = _read_yaml(file)
    try:
        stored = _Parts.model_validate(values).resolved
    except ValidationError as error:
        fault = error.errors()[0]
        why = f"{'.'.join(map(str, fault['loc']))[:80]}: {plain_message(fault)}"
        raise StoreError(
            f"{str(file)!r} is not the complete configuration that a run writes ({why}). "
            "Give the folders of runs, not a folder with your own configuration. If this run is damaged, move it away to read the others."
        ) from None
    if not _is_plain(values):
        raise StoreError(f"{str(file)!r} holds a date or another value that a run does not write. Restore it, or run again.")
    if stored.seeds * (stored.folds or 1) > MAX_TRIALS:
        raise StoreError(
            f"{str(file)!r} asks for {stored.seeds} seeds x {stored.folds or 1} folds, and a run has at most {MAX_TRIALS} trials: "
            "it was edited. Restore it, or run again."
        )
    return Run(folder, values[RESOLVED], given=values[GIVEN])


class _StoredStudent(BaseModel):
    """A student: its architecture and plain options; a custom one has nested ones in `options`."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, str | int | float | bool | None]
    architecture: str = Field(max_length=4096)
    options: dict[str, Any] = Field(default_factory=dict)


class _Stored(BaseModel):
    """The requirements of tables and plots on the stored configuration of a run."""

    model_config = ConfigDict(strict=True, extra="allow")
    task: Literal["node", "graph"] | None = None
    dataset: str = Field(max_length=4096)
    strategy: str = Field(max_length=200)
    protocol: str | None = Field(None, max_length=200)
    label_rate: PositiveInt | PositiveFloat | None
    unlabelled: str | None = Field(max_length=4096)
    noise: str | None = Field(max_length=200)
    targets: list[str] | None = None
    metric: str | None = Field(None, max_length=200)
    seeds: int = Field(ge=1)
    folds: int | None = Field(None, ge=1)
    students: list[_StoredStudent] = Field(min_length=1)
    training: dict[str, Any]
    strategy_options: dict[str, Any]
    grid: dict[str, list[Any]] | None

    @field_validator("noise")
    @classmethod
    def _check_noise(cls, noise: str | None) -> str | None:
        kind, _, amount = ("none:0" if noise is None else noise).partition(":")
        if not kind or not re.fullmatch(r"[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", amount):
            raise ValueError("it must be a kind and an amount, such as feature:0.2")
        return noise


class _Parts(BaseModel):
    """config.yaml of a run."""

    model_config = ConfigDict(strict=True)
    given: dict[str, Any]
    resolved: _Stored


def _is_plain(value: object) -> bool:
    """Whether a value consists of JSON types only."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(below) for key, below in value.items())
    return all(map(_is_plain, value)) if isinstance(value, list) else isinstance(value, str | int | float | bool | None)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = read_yaml_file(file)
    except PermissionError:
        raise StoreError(unreadable(file)) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StoreError(f"{str(file)!r} cannot be read: {error}. It was damaged or edited; restore it, or run again.") from None
    if not isinstance(values, dict):
        raise StoreError(f"{str(file)!r} does not hold a mapping from names to values, as a run writes. Restore it, or run again.")
    return values
