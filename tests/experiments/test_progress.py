from __future__ import annotations

import errno
import io
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tqdm import tqdm

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import StoreError
from dgl_mutual.experiments import progress
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.progress import Bar, Lines, _longest_that_fits, display
from dgl_mutual.experiments.progress_estimate import ProgressEstimator, ProgressFiles
from dgl_mutual.experiments.work import Work, do_work
from dgl_mutual.training.history import EpochReport
from tests.closed import full_disk

TITLES = [f"seed-{seed}-fold-0" for seed in range(4)]


@pytest.fixture
def files(tmp_path: Path) -> ProgressFiles:
    return ProgressFiles(tmp_path)


def shown(files: ProgressFiles, width: int) -> Bar:
    return Bar(tqdm(file=io.StringIO(), ncols=width, bar_format=progress._FORMAT), files, seconds=0.01)


@pytest.fixture
def closing() -> Iterator[list[Bar]]:
    bars: list[Bar] = []
    yield bars
    for bar in bars:
        bar.close()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_bar_shows_count_clock_and_epochs_at_any_width(files: ProgressFiles, closing: list[Bar], width: int) -> None:
    bar = shown(files, width)
    closing.append(bar)
    bar.start(len(TITLES), finished=0)
    bar.epoch(TITLES[0], EpochReport(49, 200, 0.5, {"gcn-0": 0.25}))
    bar.show()
    line = str(bar.bar)
    assert len(line) <= width
    assert line.startswith("0/4") and "50/200" in line and "00:00<" in line
    assert ("gcn-0 0.250" in line) == (width >= 80)
    assert bar.bar.n == pytest.approx(0.25)


def test_epochs_of_other_processes_move_it_and_a_trial_that_ended_counts_once(files: ProgressFiles, closing: list[Bar]) -> None:
    bar = shown(files, 80)
    closing.append(bar)
    bar.start(len(TITLES), finished=2)
    assert bar.bar.initial == 2
    bar.epoch_elsewhere(TITLES[1], EpochReport(99, 200, 0.5, {}))
    bar.show()
    assert bar.bar.n == pytest.approx(2.5)
    assert "epoch 100/200" in str(bar.bar)
    bar.end(TITLES[1])  # stopped early
    assert bar.bar.n == pytest.approx(3)
    bar.end(TITLES[2])
    assert bar.bar.n == pytest.approx(4) and str(bar.bar).startswith("4/6")


def test_until_the_first_epoch_the_time_left_is_that_of_finished_trials(files: ProgressFiles, closing: list[Bar]) -> None:
    bar = shown(files, 80)
    closing.append(bar)
    bar.start(len(TITLES), finished=2, seconds=125.9)
    assert "00:00<~02:05" in str(bar.bar)
    bar.epoch(TITLES[0], EpochReport(49, 200, 0.5, {}))
    bar.show()
    bar.epoch(TITLES[0], EpochReport(50, 200, 0.5, {}))
    bar.show()
    assert "~" not in str(bar.bar)


class Hours:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_counts_from_the_first_epoch_on_and_runs_down() -> None:
    clock = Hours()
    estimate = ProgressEstimator(clock=clock)
    estimate.start(2, finished=0)
    assert estimate.seconds_left() is None
    clock.now += 30  # processes start
    estimate.epoch(TITLES[0], EpochReport(9, 100, 0.5, {}))
    estimate.update()
    assert estimate.seconds_left() is None
    clock.now += 2
    estimate.epoch(TITLES[0], EpochReport(29, 100, 0.5, {}))
    estimate.update()
    assert estimate.measured and estimate.seconds_left() == pytest.approx(2 / 0.2 * 1.7)  # 0.2 of a trial in 2 s
    clock.now += 5
    estimate.update()
    assert estimate.seconds_left() == pytest.approx(2 / 0.2 * 1.7 - 5)
    estimate.end(TITLES[0])  # early
    estimate.update()
    assert estimate.seconds_left() == pytest.approx(7 / 0.9 * 1.0)
    clock.now += 100
    assert estimate.seconds_left() == 0


def test_where_no_epochs_are_reported_trials_tell_the_time_left() -> None:
    clock = Hours()
    estimate = ProgressEstimator(clock=clock)
    estimate.start(len(TITLES), finished=1)
    clock.now += 30
    estimate.end(TITLES[0])
    estimate.update()
    clock.now += 10
    assert estimate.seconds_left() == pytest.approx(30 * 3 - 10)


def test_a_trial_that_goes_on_from_its_middle_is_no_sign_of_speed() -> None:
    clock = Hours()
    estimate = ProgressEstimator(clock=clock)
    estimate.start(1, finished=0)
    for epoch in (150, 151):
        clock.now += 1
        estimate.epoch(TITLES[0], EpochReport(epoch - 1, 200, 0.5, {}))
        estimate.update()
    assert estimate.seconds_left() == pytest.approx(49)


def test_lines_tell_the_time_left_as_soon_as_it_is_known(capsys: pytest.CaptureFixture[str], files: ProgressFiles) -> None:
    lines = Lines(files, seconds=3600)
    lines.estimate.start(len(TITLES), finished=0)
    lines.tell()
    files(TITLES[0], EpochReport(4, 200, 0.5, {}))
    lines.tell()
    assert capsys.readouterr().err == ""
    for epoch in (9, 14):  # said once an hour
        files(TITLES[0], EpochReport(epoch, 200, 0.5, {}))
        lines.tell()
    assert re.fullmatch(r"0/4 trials, epoch 10/200, 0\d:\d\d left\n", capsys.readouterr().err)


def test_lines_say_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.start(len(TITLES), finished=2, seconds=125.9)
    lines.close()
    assert capsys.readouterr().err == "2 of 6 trials are finished already, about 02:05 left\n"


def test_the_clock_moves_though_nothing_happens(files: ProgressFiles, closing: list[Bar]) -> None:
    bar = shown(files, 60)
    closing.append(bar)
    bar.start(len(TITLES), finished=0)
    stream: Any = bar.bar.fp
    before = len(stream.getvalue())
    for _ in range(200):
        time.sleep(0.01)
        if len(stream.getvalue()) > before:
            break
    assert len(stream.getvalue()) > before


def test_the_files_have_the_last_report_of_each_process(files: ProgressFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch in range(3):
        files(TITLES[0], EpochReport(epoch, 10, 0.5, {}))
    monkeypatch.setattr("os.getpid", lambda: 1)
    files(TITLES[1], EpochReport(6, 10, 0.5, {}))
    (files.folder / "half").write_bytes(b"abc")
    assert sorted(files.read().values()) == [(3, 10), (7, 10)]
    ProgressFiles(files.folder / "gone")(TITLES[0], EpochReport(0, 1, 0.5, {}))  # no error


def test_the_longest_text_that_fits_is_chosen() -> None:
    running = [(37, 200), (12, 200)]
    assert _longest_that_fits(running, "", 80) == "epochs 37, 12 of 200"
    assert _longest_that_fits([(37, 200), (1, 50)], "", 80) == "epochs 37/200, 1/50"
    assert _longest_that_fits(running, "", 15) == "epoch 37/200"
    assert _longest_that_fits(running, "", 6) == "37/200"
    assert _longest_that_fits(running, "", 3) == _longest_that_fits([], "", 80) == ""


def test_a_notebook_gets_a_bar_and_a_file_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with display() as plain:
        assert isinstance(plain, Lines)
    kernel = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    with display() as bar:
        assert isinstance(bar, Bar)
        bar.start(len(TITLES), finished=0)


@pytest.mark.parametrize(("strategy", "phases"), [("independent", 1), ("kd", 2)])
@pytest.mark.usefixtures("datasets_are_here")
def test_epochs_of_a_grid_are_counted_over_its_points_and_phases(ring: Dataset, tmp_path: Path, strategy: str, phases: int) -> None:
    config = {"dataset": "ring", "students": "gcn", "strategy": strategy, "seeds": 1, "grid": {"training.epochs": [2, 3]}}
    plan = prepare(parse_config(config), ring)
    told: list[tuple[int, int]] = []
    _, outcome = do_work(
        Work(0, plan.trials[0], plan.config, plan.points, tmp_path / "a", tmp_path / "b"),
        plan.dataset,
        compute=Compute(device="cpu"),
        usage_errors_fail_trial=False,
        on_epoch=lambda _, report: told.append((report.epoch, report.epochs)),
    )
    assert outcome.error is None
    assert told == [(epoch, 5 * phases) for epoch in range(5 * phases)]


def test_lines_that_nobody_reads_any_more_cost_no_training(files: ProgressFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `2>&1 | head -1`: a trial failed by it, and lost its snapshots."""
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), open(writer, "w") as pipe:  # closing it is another try
        monkeypatch.setattr(sys, "stderr", pipe)
        lines = Lines(files)
        lines.start(len(TITLES), finished=1)
        lines.end(TITLES[0])
        lines.close()
        told = lines.estimate.done
    assert told == 2


@pytest.mark.parametrize("there", [True, False])
def test_lines_that_cannot_be_written_cost_no_training(
    files: ProgressFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], there: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=full_disk, flush=full_disk, isatty=lambda: False) if there else None)
    lines = Lines(files)
    lines.start(len(TITLES), finished=1)
    lines.end(TITLES[0])
    lines.close()
    assert lines.estimate.done == 2
    assert capsys.readouterr().out == ""  # standard output is for results


def test_files_that_were_cleared_away_cost_no_training(tmp_path: Path) -> None:
    estimator = ProgressEstimator(ProgressFiles(tmp_path / "gone"))
    estimator.start(len(TITLES), finished=0)
    estimator.update()
    assert estimator.running == []


def test_without_a_place_for_temporary_files_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: Any, **__: Any) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    with pytest.raises(StoreError, match=r"No usable temporary directory found.*TMPDIR"), display():
        pass
