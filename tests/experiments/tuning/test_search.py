"""Tuning: validation alone decides, trials add up, and nothing is skipped in silence."""

from __future__ import annotations

import itertools
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.label_rate import without_labels
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import Target
from dgl_mutual.errors import Interrupted, StoreError, TrainingError, UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import MAX_SEEDS, parse_config, read_config
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.trial import Trial
from dgl_mutual.experiments.tuning.objective import PruningReports
from dgl_mutual.experiments.tuning.proposals import FIRST_SEED, defaults_of
from dgl_mutual.experiments.tuning.records import begun_trials
from dgl_mutual.experiments.tuning.search import tune
from dgl_mutual.search_space import Categorical, Integer, Real
from dgl_mutual.store.files import BEST_FILE
from tests.experiments.tuning.searches import QUICK, faking, quick, search_in

pytest.importorskip("optuna")


@pytest.fixture
def several_labels(ring: Dataset) -> Dataset:
    """The ring with two labels a node, scored by a metric that is not defined where a label has one value alone."""
    labels = np.stack([np.arange(24) % 2, np.arange(24) // 2 % 2], 1).astype(np.float32)
    return ring.replaced(labels=labels, target=Target("multi-label", ("p", "q"), "rocauc"))


def plain(history: pd.DataFrame) -> list[list[str]]:
    """All but the clock, as text: an empty cell equals another."""
    return history.drop(columns="seconds").astype(str).values.tolist()


def test_the_first_of_equal_trials_is_the_best(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1 + 0.2 is 0.3, but not in its last bit."""
    values = iter([0.2, 0.3, 0.1 + 0.2])
    faking(monkeypatch, lambda *given, **more: next(values))
    assert quick(ring, tmp_path, trials=3).best_trial == 1


@pytest.mark.parametrize("several", [False, True])
def test_other_test_labels_change_nothing(ring: Dataset, several_labels: Dataset, tmp_path: Path, several: bool) -> None:
    dataset = several_labels if several else ring
    assert dataset.official_split is not None
    labels, test = dataset.labels.copy(), dataset.official_split.test
    labels[test] = 1 - labels[test] if several else (labels[test] + 1) % 3
    first, other = (quick(data, tmp_path / name, trials=3) for data, name in ((dataset, "a"), (dataset.replaced(labels=labels), "b")))
    assert first.folder.name != other.folder.name  # the fingerprint sees all labels
    assert (first.history["state"] == "complete").all()
    assert plain(first.history) == plain(other.history)
    assert first.best == other.best


@pytest.mark.parametrize("several", [False, True])
def test_no_training_of_a_search_is_given_a_test_label(
    ring: Dataset, several_labels: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    seen: list[bool] = []

    def fit(trial: Trial, config: Any, dataset: Dataset, **_: Any) -> float:
        known = ~np.isnan(dataset.labels).all(1) if several else dataset.labels >= 0
        seen.append(bool(known[trial.split.test].any()) or not known[trial.split.train].all() or trial.seed < MAX_SEEDS)
        return 0.5

    faking(monkeypatch, fit)
    quick(several_labels if several else ring, tmp_path, splits=2)
    assert seen == [False] * 6
    assert FIRST_SEED >= MAX_SEEDS


def test_no_training_of_a_search_is_given_a_label_that_the_label_rate_hides(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def fit(trial: Trial, config: Any, dataset: Dataset, **_: Any) -> float:
        assert len(trial.split.unlabelled)
        seen.append(int((dataset.labels[trial.split.unlabelled] >= 0).sum()))
        return 0.5

    faking(monkeypatch, fit)
    quick(ring, tmp_path, trials=1, config={"label_rate": 0.5})
    assert seen == [0]


def test_a_resumed_search_equals_an_uninterrupted_one(ring: Dataset, tmp_path: Path) -> None:
    whole = quick(ring, tmp_path / "whole", trials=5)
    for trials in (2, 3, 5):
        parts = quick(ring, tmp_path / "parts", trials=trials)
        assert len(parts.history) == trials
    assert plain(parts.history) == plain(whole.history)
    assert parts.folder.name == whole.folder.name and parts.best == whole.best
    assert len(parts.history["training.learning_rate"].dropna().unique()) == 4
    # Asked for less, it gives what it would have given: no method has a choice of more trials than another.
    fewer = quick(ring, tmp_path / "parts", trials=1)
    assert fewer.history.equals(parts.history) and fewer.chosen == {}
    assert (fewer.best_trial, fewer.best_value, fewer.default_value) == (0, *parts.history["value"][[0, 0]])
    assert parts.best_value == parts.history["value"].max() == parts.history["value"][parts.best_trial]
    assert fewer.best == {"dataset": "ring", "strategy": "gml", "students": ["gcn", "sage"], "training": {"epochs": 12}}
    assert read_config(fewer.folder / BEST_FILE) == parts.best


def test_the_first_trial_has_all_defaults_and_the_best_is_a_configuration(ring: Dataset, tmp_path: Path) -> None:
    config = {"student": {"hidden": 8}, "strategy_options": {"temperature": 2.0}, "seeds": 7}
    tuning = quick(ring, tmp_path, trials=4, config=config)
    options = tuning.history.iloc[:, 6:]
    assert options.loc[0, "training.learning_rate"] == 0.01 and options.loc[2].notna().all()
    assert not {"student.hidden", "strategy_options.temperature"} & set(tuning.history.columns)
    best = read_config(tuning.folder / BEST_FILE)
    assert best == tuning.best and best["student"]["hidden"] == 8 and "seeds" not in best
    complete = tuning.history.set_index("trial")
    place = complete["value"].idxmax()
    chosen = parse_config(best)
    if place:
        assert chosen.training.learning_rate == complete.loc[place, "training.learning_rate"]
    assert tuning.history["best"].tolist() == tuning.history["value"].cummax().tolist()
    assert resolve(chosen, ring).strategy == "gml"


def test_every_second_trial_changes_a_third_of_the_options_of_the_best_one(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.5, 0.1, 0.9, 0.1, 0.1, 0.1])
    faking(monkeypatch, lambda *_, **__: next(values))
    options = quick(ring, tmp_path, trials=6).history.iloc[:, 6:].astype(str)
    third = round(options.shape[1] / 3)
    assert (options.loc[0] == "nan").sum() == 0
    for trial, best in ((1, 0), (3, 2), (5, 2)):
        assert 1 <= (options.loc[trial] != options.loc[best]).sum() <= third
    for trial in (2, 4):
        assert (options.loc[trial] != options.loc[0]).sum() > third


def test_defaults_are_stored_where_they_are_in_the_range() -> None:
    assert (Real(0.1, 1.0).stored(0.5), Real(0.1, 1.0).stored(2), Real(0.1, 1.0).stored(None)) == (0.5, None, None)
    assert (Integer(2, 4).stored(3), Integer(2, 4).stored(5), Integer(2, 4).stored(True)) == (3, None, None)
    mixed = Categorical((None, (0, 0), False))
    assert [mixed.stored(value) for value in (None, [0, 0], False, 0, [1, 1])] == ["null", "[0, 0]", False, None, None]


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_interrupted_trial_is_repeated_and_does_not_count(
    wrapped: bool, ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def fit(trial: Trial, config: Any, *_: Any, **__: Any) -> float:
        asked.append(config)
        if len(asked) == 2 and wrapped:  # as where it comes while a class is made
            raise RuntimeError from KeyboardInterrupt()
        if len(asked) == 2:
            raise KeyboardInterrupt
        return 0.1 * len(asked)

    faking(monkeypatch, fit)
    with pytest.raises(Interrupted, match=r"1 of 4 trials are finished.*goes on"):
        quick(ring, tmp_path, trials=4)
    tuning = quick(ring, tmp_path, trials=4)
    assert tuning.history["state"].tolist() == ["complete", "interrupted", "complete", "complete", "complete"]
    assert asked[1] == asked[2] and len({str(config) for config in asked}) == 4
    assert not list(tuning.folder.glob(".trial-*.lock"))


def test_an_interrupted_search_goes_on_as_it_would_have(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    interrupted = False

    def fit(trial: Trial, config: Any, *_: Any, **__: Any) -> float:
        nonlocal interrupted
        if len(asked) == 3 and not interrupted:
            interrupted = True
            raise KeyboardInterrupt
        asked.append(str(config))
        return 1.0 / (1.0 + abs(config.training.learning_rate - 0.003))

    faking(monkeypatch, fit)
    with pytest.raises(Interrupted):
        quick(ring, tmp_path / "stopped", trials=8)
    quick(ring, tmp_path / "stopped", trials=8)
    stopped = asked[:]
    asked.clear()
    quick(ring, tmp_path / "straight", trials=8)
    assert len(stopped) == 8 and stopped == asked


def test_a_failed_trial_is_recorded_counts_and_costs_no_other(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    refused = RuntimeError("can't allocate memory: you tried to allocate 2147483648 bytes")
    errors = {2: TrainingError("the loss, it is not finite"), 3: ZeroDivisionError("a bug"), 5: refused}

    def fit(*_: Any, **__: Any) -> float:
        calls.append(1)
        if len(calls) in errors:
            raise errors[len(calls)]
        return float("nan") if len(calls) == 4 else 0.5

    faking(monkeypatch, fit)
    tuning = quick(ring, tmp_path, trials=5)
    assert tuning.history["state"].tolist() == ["complete", "failed", "failed", "failed", "failed"]
    assert tuning.failed[0] == "trial 1: the loss, it is not finite"
    assert "ZeroDivisionError: a bug" in tuning.failed[1] and "not defined" in tuning.failed[2]
    assert tuning.failed[3].startswith("trial 4: There is not enough memory for this (2.0 GiB at once). Train smaller students")
    assert pd.read_csv(tuning.folder / "tuning.csv")["error"].dropna().tolist()[0] == "the loss, it is not finite"
    assert quick(ring, tmp_path, trials=5).history.equals(tuning.history)


def test_trials_that_are_behind_are_pruned_by_the_median(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials: list[int] = []

    def fit(*_: Any, callbacks: Any, **__: Any) -> float:
        value = 0.2 if len(trials) in (6, 8) else 0.8
        trials.append(0)
        (pruner,) = (callback for callback in callbacks if isinstance(callback, PruningReports))
        for _ in range(40):
            trials[-1] += 1
            phase = SimpleNamespace(epochs_done=trials[-1], is_last=True)
            pruner.on_epoch_end(SimpleNamespace(mean_metric=value, current=phase))  # type: ignore[arg-type]
        return value

    faking(monkeypatch, fit)
    history = quick(ring, tmp_path, trials=9, config={"training": {"epochs": 40}}).history
    assert history["state"].tolist() == ["complete"] * 6 + ["pruned", "complete", "pruned"]
    assert history["value"][6] == pytest.approx(0.2)
    # Not before half of the epochs are over: some methods teach only then.
    assert (trials[5], trials[6]) == (40, 20)


def test_only_the_last_phase_of_a_strategy_is_reported_to_the_pruner(ring: Dataset, tmp_path: Path) -> None:

    values = {"strategy": "kd", "training": {"epochs": 20}}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The reported value is ignored")  # of a step that is reported twice
        tuning = quick(ring, tmp_path, trials=1, splits=2, config=values)
    config = parse_config({**QUICK, **values})
    search = search_in(tuning.folder, ring, config, splits=2)
    with search.opened():
        (trial,) = begun_trials(search.study)
    assert sorted(trial.intermediate_values) == [10, 20, 30, 40]


@pytest.mark.usefixtures("forked_workers")
def test_several_processes_do_the_trials_of_one_search(ring: Dataset, tmp_path: Path) -> None:
    tuning = quick(ring, tmp_path, trials=5, compute=Compute(jobs=2))
    assert tuning.history["trial"].tolist() == [0, 1, 2, 3, 4] and set(tuning.history["state"]) <= {"complete", "pruned"}
    assert tuning.history["value"][0] == quick(ring, tmp_path / "alone", trials=1).history["value"][0]
    assert len(quick(ring, tmp_path, trials=5, compute=Compute(jobs=2)).history) == 5


def test_a_choice_may_hold_lists_and_nothing(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fit(trial: Trial, config: Any, *_: Any, **__: Any) -> float:
        asked.append(tuple(config.strategy_options["exchange_warmup"]))
        return float(len(asked) == 1 or asked[-1] != asked[0])

    faking(monkeypatch, fit)
    tuning = quick(ring, tmp_path, trials=40, config={"strategy": "dml"})
    drawn = tuning.history["strategy_options.exchange_warmup"][1:]
    assert set(drawn) == {"null", "[0, 0]"}
    assert asked[1:] == [{"null": (3, 3), "[0, 0]": (0, 0)}[value] for value in drawn]
    assert read_config(tuning.folder / BEST_FILE)["strategy"] == "dml"


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ({"grid": {"training.epochs": [1, 2]}}, {}, r"grid=null, .* or give each of its keys a value, for example training\.epochs=1\."),
        ({"distill": {}}, {}, "Leave out 'distill'"),
        ({"students": "gcn", "strategy": "dml"}, {}, "two students|2 students|at least"),
        ({}, {"trials": 0}, "trials = 0"),
        ({}, {"splits": True}, "splits = True"),
        ({}, {"splits": 10**17}, "splits = 100000000000000000 is more than the maximum 10000"),
        ({}, {"trials": 10**17}, "trials = 100000000000000000 is more than the maximum 1000000"),
        ({}, {"timeout": 0.0}, "leaves no time"),
    ],
)
def test_configurations_that_cannot_be_tuned_are_refused(ring: Dataset, tmp_path: Path, config: Any, options: Any, message: str) -> None:
    config = {key: value for key, value in {**QUICK, **config}.items() if not (key == "training" and "grid" in config)}
    for _ in range(2):
        with pytest.raises(UsageError, match=message):
            tune(parse_config(config), ring, out=tmp_path / "new" / "out", in_memory=True, **{"trials": 2, **options})
    assert not [*tmp_path.iterdir()]  # nothing was tried


def test_a_search_refuses_and_names_what_a_run_does(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    with pytest.raises(UsageError, match=r"folds = 3 does not apply under the protocol 'public'"):
        quick(ring, tmp_path, config={"protocol": "public", "folds": 3})
    assert not [*tmp_path.iterdir()]
    with pytest.warns(UserWarning, match="student.pooling = max has no effect"):
        quick(ring, tmp_path, trials=1, config={"student": {"pooling": "max"}})


def test_a_search_trains_the_requested_number_of_folds(pairs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def fit(trial: Trial, *_: Any, **__: Any) -> float:
        seen.append(trial.key)
        return float(trial.fold)

    faking(monkeypatch, fit)
    config = {"dataset": "pairs", "folds": 4}
    tuning = quick(pairs, tmp_path, trials=1, splits=3, config=config)
    assert seen == [(FIRST_SEED, 0), (FIRST_SEED, 1), (FIRST_SEED, 2)]
    assert tuning.history["value"].tolist() == [1.0]
    with pytest.raises(UsageError, match="4 folds"):
        quick(pairs, tmp_path, splits=5, config=config)


def test_warnings_of_planning_appear_once(pairs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    labels = pairs.labels.copy()
    labels[0] = -1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quick(replace(pairs, labels=labels), tmp_path, config={"dataset": "pairs"})
    assert sum("in no part of the split" in str(one.message) for one in caught) == 1


def test_time_ends_a_search_between_trials_and_another_goes_on(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    assert len(quick(ring, tmp_path, trials=50, timeout=1e-9).history) == 0
    assert len(quick(ring, tmp_path, trials=2).history) == 2


def test_a_clock_that_is_set_forward_does_not_end_a_search(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count(time.time(), 1e6)
    faking(monkeypatch, lambda *_, **__: 0.5)
    monkeypatch.setattr(time, "time", lambda: next(times))
    assert len(quick(ring, tmp_path, trials=2, timeout=1e4).history) == 2


def test_without_optuna_the_error_says_how_to_get_it(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'dgl-mutual\[tune\]'"):
        quick(ring, tmp_path)


def test_hidden_labels_are_unknown_and_others_stay(ring: Dataset) -> None:
    assert ring.official_split is not None
    hidden = without_labels(ring, ring.official_split.test).labels
    assert (hidden[18:] == -1).all() and (hidden[:18] == ring.labels[:18]).all()


@pytest.mark.parametrize("given", [{}, {"class_prior_weight": 2.0}])
def test_with_hidden_labels_a_search_begins_with_their_defaults(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    seen: list[dict[str, Any]] = []

    def fit(trial: Trial, config: Any, *_: Any, **__: Any) -> float:
        seen.append(config.strategy_options)
        return 1.0 - 0.01 * len(seen)

    faking(monkeypatch, fit)
    tuning = quick(ring, tmp_path, trials=8, config={"label_rate": 0.5, "strategy_options": given})
    assert (tuning.history["state"] == "complete").all()
    assert seen[0]["entropy_weight"] == -0.05 and seen[0]["class_prior_weight"] == given.get("class_prior_weight", 3.0)
    assert [options["entropy_weight"] for options in seen] == tuning.history["strategy_options.entropy_weight"].tolist()
    for options in seen[1:]:
        expected = 3.0 if options["entropy_weight"] < 0 else None
        assert options["class_prior_weight"] == given.get("class_prior_weight", expected)


def test_a_default_outside_the_search_space_is_not_recorded_as_another_value(ring: Dataset) -> None:
    resolved = resolve(parse_config({"dataset": "ring", "label_rate": 0.5}), ring)
    space = {"strategy_options.entropy_weight": Categorical((0.0, 0.1)), "strategy_options.exchange_warmup": Categorical((None, (0, 0)))}
    assert set(defaults_of(resolved, space)) == {"strategy_options.exchange_warmup"}


def test_a_search_does_not_go_on_with_data_that_mean_something_else(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    begun = quick(ring, tmp_path, trials=2)
    renamed = ring.replaced(feature_names=tuple("wvxyz"))
    told = r"The meaning of the data \(the feature columns were v, w, x, y, z .* and are w, v, x, y, z .*\) has changed since the search in"
    with pytest.raises(StoreError, match=told):
        quick(renamed, tmp_path, trials=2)
    (begun.folder / "tuning.yaml").unlink()
    assert len(quick(renamed, tmp_path, trials=3).history) == 3, "the file is for people to read"


def test_a_search_does_not_go_on_with_another_official_split(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    (split,) = ring.official_splits
    exchanged = ring.replaced(official_splits=(Split(split.val, split.train, split.test),))
    begun = quick(ring, tmp_path, trials=2)
    assert quick(ring, tmp_path, trials=3).folder == begun.folder
    with pytest.raises(StoreError, match=r"The official split has changed since the search in .* began.*--out"):
        quick(exchanged, tmp_path, trials=4)
    assert len(quick(exchanged, tmp_path, trials=1, config={"protocol": "holdout"}).history) == 1
    (begun.folder / "tuning.yaml").unlink()
    assert len(quick(exchanged, tmp_path, trials=4).history) == 4, "the file is for people to read"


def test_reported_values_are_averaged_with_earlier_trainings() -> None:
    pytest.importorskip("optuna")
    told: list[tuple[float, int]] = []
    trial = SimpleNamespace(report=lambda value, step: told.append((value, step)), should_prune=lambda: False)
    state = SimpleNamespace(current=SimpleNamespace(is_last=True, epochs_done=10), mean_metric=0.6)
    PruningReports(trial, [0.2, 0.4], 50).on_epoch_end(state)
    assert told == [(pytest.approx(0.4), 60)]
