"""Experiments that are not saved, and those that end early: what becomes of their folder."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import dgl_mutual
from dgl_mutual.errors import Interrupted, StoreError, TrainingError, UsageError
from dgl_mutual.experiments import trial
from dgl_mutual.utils.scratch import temporary_folder
from tests.reporting.folders import write_run, write_suite
from tests.test_experiment import SMALL


def _unsaved() -> dgl_mutual.Experiment:
    """An experiment in a temporary folder."""
    temporary = temporary_folder()
    runs = [write_run(Path(temporary.name), strategy=strategy, seeds=2) for strategy in ("independent", "gml")]
    return dgl_mutual.Experiment(write_suite(Path(temporary.name), "x", [(run, run.name, "Cora") for run in runs]), temporary=temporary)


@pytest.mark.skipif(os.name == "nt", reason="a working folder cannot be removed there")
def test_a_working_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(StoreError, match=r"The working folder .* no longer exists\. Change to another folder"):
        dgl_mutual.experiment("digits", out=tmp_path, **SMALL)


def test_a_run_whose_folder_is_gone_is_not_empty_in_silence() -> None:
    unsaved = _unsaved()
    folder, (run, _) = unsaved.folder, unsaved.runs
    trials = len(run.trials)
    shutil.rmtree(folder.parent)
    assert len(run.trials) == trials > 0, "what was read stays"
    for name in ("history", "failures", "reliability", "inference", "environment"):
        with pytest.raises(StoreError, match=r"The run folder .* is gone.*experiment\.save\(FOLDER\), or pass out=FOLDER"):
            getattr(run, name)


def test_copies_of_an_unsaved_experiment_share_its_folder_and_it_is_not_pickled(tmp_path: Path) -> None:
    experiments = [_unsaved()]
    for copied in (copy.copy, copy.deepcopy):
        experiments = [copied(experiments.pop())]  # the object before goes
        gc.collect()
        assert experiments[0].folder.is_dir()
    with pytest.raises(UsageError, match=r"cannot be pickled.*experiment\.save\(FOLDER\).*Experiment\.load"):
        pickle.dumps(experiments[0])
    saved = dgl_mutual.Experiment.load(experiments[0].save(tmp_path / "saved"))
    assert pickle.loads(pickle.dumps(saved)).methods == experiments[0].methods


def _ending_with(monkeypatch: pytest.MonkeyPatch, error: BaseException, after: int) -> None:
    """Let training raise an error once this many trials are trained."""
    trained: list[int] = []
    fit = trial.fit_cohort

    def ended(*arguments: Any, **options: Any) -> Any:
        if len(trained) == after:
            raise error
        trained.append(1)
        return fit(*arguments, **options)

    monkeypatch.setattr("dgl_mutual.experiments.trial.fit_cohort", ended)


ENDED = {
    "Ctrl-C": (
        KeyboardInterrupt(),
        Interrupted,
        r"^Interrupted\. 2 of 4 trials are finished and kept in (\S+)\. The same call with out='\1' goes on",
    ),
    "full": (
        StoreError("The disk is full."),
        StoreError,
        r"^The disk is full\. What is finished is kept in '(.+)'\. The same call with out='\1' goes",
    ),
}


@pytest.mark.parametrize("kind", ENDED)
def test_what_is_finished_is_kept_without_out_and_the_message_says_how_to_go_on(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, raised, message = ENDED[kind]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    small = {**SMALL, "seeds": 2}
    with monkeypatch.context() as patched, pytest.raises(raised, match=message) as caught:
        _ending_with(patched, error, after=2)
        dgl_mutual.experiment("digits", **small)
    out = re.search(r"out='(.+)'", str(caught.value))
    assert out is not None and [str(path) for path in tmp_path.iterdir()] == [out[1]]
    dgl_mutual.experiment("digits", "independent", **{**small, "seeds": 1})  # removes what was left behind
    _ending_with(monkeypatch, AssertionError("one too many"), after=2)
    assert len(dgl_mutual.experiment("digits", out=out[1], **small).trials.groupby(["method", "seed"])) == 4


def test_an_error_of_another_kind_is_as_it_was_and_a_warning_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("dgl_mutual.experiment_api.write_suite_tables", broken)
    with (
        pytest.raises(OSError, match=r"^\[Errno 5\] Input/output error$"),
        pytest.warns(UserWarning, match="What is finished is kept in '.+'"),
    ):
        dgl_mutual.experiment("digits", "independent", **{**SMALL, "seeds": 1})
    (kept,) = tmp_path.iterdir()
    assert (kept / "suite-experiment").is_dir()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreError("The disk is full."), TrainingError("The loss is not finite.")])
def test_where_nothing_is_finished_nothing_is_left_behind(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _ending_with(monkeypatch, error, after=0)
    with pytest.raises(type(error), match=r"nothing is kept|The disk is full\.$|All trials failed.*not finite\.$"):
        dgl_mutual.experiment("digits", **{**SMALL, "seeds": 2})
    assert not [*tmp_path.iterdir()]


def test_finished_trials_of_a_search_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _ending_with(monkeypatch, KeyboardInterrupt(), after=1)  # the trial of the search
    with pytest.raises(Interrupted, match=r"0 of 1 trials are finished and kept in .* with out='.+' goes on"):
        dgl_mutual.experiment("digits", "independent", tuned=1, **{**SMALL, "seeds": 1})
    assert [*tmp_path.glob("*/tune-*/best.yaml")]


def test_an_interrupt_ends_a_loop_that_goes_on_after_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ending_with(monkeypatch, KeyboardInterrupt(), after=1)
    with pytest.raises(KeyboardInterrupt, match=r"1 of 2 trials are finished and kept in .*the same call\) goes on"):
        for number in range(2):
            with suppress(Exception):
                dgl_mutual.experiment("digits", "independent", out=tmp_path / str(number), **{**SMALL, "seeds": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
