"""The folder of a search: shared by processes, and refused if it is damaged."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.trial import Trial
from dgl_mutual.experiments.tuning.records import begun_trials, seconds_left
from dgl_mutual.search_space import Integer
from dgl_mutual.store.files import BEST_FILE, JOURNAL_FILE, TUNING_FILE
from dgl_mutual.utils.files import unwritable
from tests.experiments.tuning.searches import QUICK, faking, quick, search_in

pytest.importorskip("optuna")


def test_processes_share_a_study_and_never_do_more_than_asked_for(ring: Dataset, tmp_path: Path) -> None:

    config = parse_config(QUICK)
    one, two = (search_in(tmp_path / "s", ring, config) for _ in range(2))
    with one.opened(), two.opened():
        held = [search.claim(3) for search in (one, two, one)]
        assert two.claim(3) is None and one.claim(3) is None
        for claimed in held:
            assert claimed is not None
        assert two.num_counted() == 3
        assert two.write()["state"].tolist() == ["running"] * 3
        with held[1]:
            pass  # its process ends without a word
        again = one.claim(3)
        assert again is not None
        with again as trial:
            before = {t.number: t.params for t in begun_trials(one.study)}
            assert trial.number == 3 and before[3] == before[1] != {}


def test_a_damaged_journal_is_named(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    folder = quick(ring, tmp_path, trials=1).folder
    (folder / JOURNAL_FILE).write_text('{"op_code": 99}\nnonsense\n')
    with pytest.raises(StoreError, match=r"journal.log.*damaged or edited"):
        quick(ring, tmp_path, trials=2)


@pytest.mark.parametrize(
    ("pattern", "changed", "said"),
    [
        (r'"param_name":"training.learning_rate"', '"param_name":"mine"', "trial 0 has a value of 'mine' that is not searched"),
        (
            r'("param_name":"training.learning_rate","param_value_internal":)[^,]*',
            r"\1-1.0",
            "a value of 'training.learning_rate' that is not",
        ),
        (r'"values":\[[^]]*', '"values":[7.5', "trial 0 has the metric 7.5"),
        (r'"values":\[[^]]*', '"values":[NaN', "trial 0 has the metric nan"),
    ],
)
def test_impossible_values_in_a_journal_are_named(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, changed: str, said: str
) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    folder = quick(ring, tmp_path, trials=2).folder
    journal, best = folder / JOURNAL_FILE, (folder / BEST_FILE).read_bytes()
    journal.write_text(re.sub(pattern, changed, journal.read_text()))
    with pytest.raises(StoreError, match=rf"journal.log.*{said}.*damaged or edited"):
        quick(ring, tmp_path, trials=2)
    assert (folder / BEST_FILE).read_bytes() == best


def test_a_metric_above_1_by_rounding_is_accepted(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the average precision of a perfect ranking may be."""
    faking(monkeypatch, lambda *_, **__: np.nextafter(1.0, 2.0))
    assert [len(quick(ring, tmp_path, trials=trials).history) for trials in (1, 2)] == [1, 2]


def test_a_journal_that_lacks_trials_of_the_table_is_refused(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search would start over, and overwrite the table."""
    faking(monkeypatch, lambda *_, **__: 0.5)
    folder = quick(ring, tmp_path, trials=2).folder
    table = (folder / TUNING_FILE).read_bytes()
    lines = (folder / JOURNAL_FILE).read_text().splitlines(keepends=True)
    (folder / JOURNAL_FILE).write_text("".join(lines[:1]))
    with pytest.raises(StoreError, match=rf"journal.log.*it has 0 of the 2 trials that {TUNING_FILE} says have ended.*damaged or edited"):
        quick(ring, tmp_path, trials=2)
    assert (folder / TUNING_FILE).read_bytes() == table
    (folder / TUNING_FILE).write_text("not a table")
    assert len(quick(ring, tmp_path, trials=2).history) == 2


@pytest.mark.parametrize(
    "attributes", [{"user_attrs": {"keys": ["nothing"]}}, {"user_attrs": {"keys": 1}}, {"system_attrs": {"fixed_params": 1}}]
)
def test_a_waiting_trial_of_another_search_is_named(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any]
) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    journal = quick(ring, tmp_path, trials=1).folder / JOURNAL_FILE
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    (waiting,) = [entry for entry in entries if "defaults" in entry.get("user_attrs", {})]
    entries.append({**waiting, **attributes})
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    with pytest.raises(StoreError, match=r"journal.log.*damaged or edited"):
        quick(ring, tmp_path, trials=2)


@pytest.mark.parametrize("left", [b'{"op_', b'{"op_code":4,"worker_id":"x","tri', b'{"op_code":4,"wor\0\0\0', b"\0\0\0\0"])
def test_a_journal_that_a_killed_process_cut_off_goes_on(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bytes
) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    journal = quick(ring, tmp_path, trials=2).folder / JOURNAL_FILE
    with journal.open("ab") as file:
        file.write(left)
    assert quick(ring, tmp_path, trials=3).history["state"].tolist() == ["complete"] * 3


def test_half_an_entry_does_not_spoil_the_next_one(ring: Dataset, tmp_path: Path) -> None:
    """As a full disk leaves it, or another process that was killed: the journal was damaged for good."""

    config = parse_config(QUICK)
    search = search_in(tmp_path / "s", ring, config)
    with search.opened():
        before = (tmp_path / "s" / JOURNAL_FILE).read_bytes()
        with (tmp_path / "s" / JOURNAL_FILE).open("ab") as file:
            file.write(b'{"op_code":4,"worker_id":"x","tri')
        search.study.ask()
        entries = (tmp_path / "s" / JOURNAL_FILE).read_bytes()
        assert entries.startswith(before)
        assert all(json.loads(line) for line in entries.splitlines())
    with search.opened():
        assert len(begun_trials(search.study)) == 1


def test_an_entry_without_its_line_end_is_read_by_nobody(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one says that the last trial is complete. It is removed before the next one is appended."""
    faking(monkeypatch, lambda *_, **__: 0.5)
    journal = quick(ring, tmp_path, trials=2).folder / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes().removesuffix(b"\n"))
    with pytest.raises(StoreError, match=r"journal.log.*it has 1 of the 2 trials"):
        quick(ring, tmp_path, trials=3)


def test_a_trial_whose_report_the_disk_does_not_take_runs_again(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a failed trial if there was room again for its message."""
    values = iter([0.5, None, 0.25])

    def fit(*_: Any, **__: Any) -> float:
        value = next(values)
        if value is None:
            raise unwritable(tmp_path / JOURNAL_FILE, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        return value

    faking(monkeypatch, fit)
    with pytest.raises(StoreError, match="No space left on device"):
        quick(ring, tmp_path, trials=2)
    history = quick(ring, tmp_path, trials=2).history
    assert history.loc[history["state"] != "interrupted", ["state", "value"]].values.tolist() == [["complete", 0.5], ["complete", 0.25]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.replace(b"\n", b"\r"), "Extra data"),
        (lambda _: b"What I have learned so far", "Expecting value"),
        (lambda content: content.replace(b"\n", b"\n\n", 1), "Expecting value"),
        (lambda content: content[:-1].decode().encode("utf-16"), "codec can't decode"),
        (lambda _: b'{"op_code":0,"worker', "Unterminated string"),
        (lambda _: b"[1]\n", "line 1 does not begin this search"),
        (lambda _: b"[" * 100_000, "RecursionError"),
        (lambda content: content.partition(b"\n")[2], "line 1 does not begin this search"),
        (lambda content: content.replace(b'"study_name":"', b'"study_name":"other-', 1), "line 1 does not begin this search"),
        (lambda _: b"", "it is empty or gone, and tuning.csv is there"),
    ],
    ids=[
        "carriage returns",
        "notes",
        "an empty line",
        "UTF-16",
        "half a line",
        "a list",
        "deep",
        "headless",
        "other",
        "empty",
    ],
)
def test_a_journal_of_another_search_is_refused_and_not_changed(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes], said: str
) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    journal = quick(ring, tmp_path, trials=2).folder / JOURNAL_FILE
    changed = change(journal.read_bytes())
    journal.write_bytes(changed)
    with pytest.raises(StoreError, match=rf"journal.log.*{said}.*damaged or edited"):
        quick(ring, tmp_path, trials=2)
    assert journal.read_bytes() == changed


def by_rate(trial: Trial, config: Any, *_: Any, **__: Any) -> float:
    return float(1.0 / (1.0 + abs(config.training.learning_rate - 0.003)))


def cut_while_drawing(journal: Path, trial: int, drawn: int) -> None:
    """Leave what a process has written that is killed when it has drawn so many options of a trial."""
    lines = journal.read_text().splitlines(keepends=True)
    drawing = [index for index, line in enumerate(lines) if json.loads(line).get("trial_id") == trial and "param_name" in line]
    assert len(drawing) > drawn + 1
    journal.write_text("".join(lines[: drawing[drawn]]))
    (journal.parent / TUNING_FILE).unlink()  # it has trials that came later


@pytest.mark.parametrize("drawn", [0, 2])
@pytest.mark.parametrize("trial", [2, 6])  # options are drawn at random, and by what other trials gave
def test_a_trial_whose_process_was_killed_while_options_were_drawn_draws_all_of_them(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: int, drawn: int
) -> None:
    faking(monkeypatch, by_rate)
    straight = quick(ring, tmp_path / "straight", trials=8)
    cut_while_drawing(quick(ring, tmp_path / "killed", trials=8).folder / JOURNAL_FILE, trial, drawn)
    killed = quick(ring, tmp_path / "killed", trials=8)
    kept = killed.history[killed.history["state"] != "interrupted"]
    assert len(killed.history) == 9 and len(kept) == 8
    assert kept.drop(columns=["trial", "seconds"]).astype(str).values.tolist() == (
        straight.history.drop(columns=["trial", "seconds"]).astype(str).values.tolist()
    )


def test_the_first_trial_has_all_defaults_after_a_kill(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, by_rate)
    straight = quick(ring, tmp_path / "straight", trials=2).history
    cut_while_drawing(quick(ring, tmp_path / "killed", trials=1).folder / JOURNAL_FILE, 0, 1)
    tuning = quick(ring, tmp_path / "killed", trials=2)
    killed = tuning.history
    assert tuning.default_value == killed["value"][1] and killed["value"].isna()[0]
    assert killed["state"].tolist() == ["interrupted", "complete", "complete"]
    assert killed.iloc[1:, 2:].drop(columns="seconds").astype(str).values.tolist() == (
        straight.iloc[:, 2:].drop(columns="seconds").astype(str).values.tolist()
    )


def test_defaults_of_which_none_can_be_searched_are_the_first_trial_after_a_kill(ring: Dataset, tmp_path: Path) -> None:

    config = parse_config({**QUICK, "students": [{"architecture": name, "hidden": width} for name, width in (("gcn", 4), ("sage", 8))]})
    space = {"student.depth": Integer(9, 12)}  # without the default
    search = search_in(tmp_path / "s", ring, config, space)
    with search.opened():
        with search.claim(2) as first:  # its process ends without a word
            assert first.params == {} and "defaults" in first.user_attrs
        with search.claim(2) as again:
            assert again.params == {} and "defaults" in again.user_attrs
            with search.claim(2) as drawn:
                assert drawn.params and "defaults" not in drawn.user_attrs


def test_the_time_left_follows_from_trials_that_ended(ring: Dataset, tmp_path: Path) -> None:
    """That of an interrupted trial has the pause in it."""

    config = parse_config(QUICK)
    search = search_in(tmp_path / "s", ring, config)
    with search.opened():
        with search.claim(3):
            pass  # its process ends without a word
        assert search.num_counted() == 0 and seconds_left(search.study, 3, 1) is None


def test_a_full_disk_is_called_one(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    folder = quick(ring, tmp_path, trials=1).folder
    from optuna.storages.journal import JournalFileBackend

    append, before = JournalFileBackend.append_logs, []

    def full(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        if before:  # the study is open, and a trial claimed
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before.append(logs)
        append(backend, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", full)
    with pytest.raises(StoreError, match=rf"Cannot write '.*{folder.name}/{JOURNAL_FILE}': No space left on device"):
        quick(ring, tmp_path, trials=2)


@pytest.mark.parametrize("name", [".claims.lock", ".trial-2.lock", BEST_FILE, JOURNAL_FILE])
def test_nothing_is_written_through_a_link(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    folder = quick(ring, tmp_path / "out", trials=1).folder
    (tmp_path / "precious").write_text("mine")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "precious")
    with pytest.raises(StoreError, match="link"):
        quick(ring, tmp_path / "out", trials=3)
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_copy_of_hard_links_stays_as_it_is(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    folder = quick(ring, tmp_path / "out", trials=1).folder
    shutil.copytree(folder, tmp_path / "copy", copy_function=os.link)
    before = {file.name: file.read_bytes() for file in (tmp_path / "copy").iterdir()}
    assert len(quick(ring, tmp_path / "out", trials=2).history) == 2
    assert {file.name: file.read_bytes() for file in (tmp_path / "copy").iterdir()} == before
    number = (folder / JOURNAL_FILE).stat().st_ino
    quick(ring, tmp_path / "out", trials=3)
    assert (folder / JOURNAL_FILE).stat().st_ino == number


@pytest.mark.parametrize("replaced", [False, True])
def test_a_search_whose_folder_is_removed_meanwhile_says_so(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """And makes no folder or journal in its place."""
    faking(monkeypatch, lambda *_, **__: 0.5)
    folder = quick(ring, tmp_path, trials=2).folder
    config = parse_config(QUICK)
    trained = []

    def fit(*_: Any, **__: Any) -> float:
        trained.append(0)
        if len(trained) == 2:
            folder.rename(tmp_path / "away")
            if replaced:
                folder.mkdir()
                (folder / JOURNAL_FILE).touch()
        return 0.5

    faking(monkeypatch, fit)
    with pytest.raises(StoreError, match=rf"{JOURNAL_FILE}' was removed, moved or replaced while .* Put it back if you can"):
        quick(ring, tmp_path, trials=6)
    assert len(trained) == 2
    assert [file.name for file in folder.iterdir()] == [JOURNAL_FILE] if replaced else not folder.exists()
    if not replaced:
        (tmp_path / "away").rename(folder)
        assert quick(ring, tmp_path, trials=4).history["state"].tolist() == ["complete"] * 3 + ["interrupted", "complete"]

    with (
        pytest.raises(StoreError, match="was removed, moved or replaced"),
        search_in(tmp_path / "gone", ring, config).opened(begun=True),
    ):
        pass
    assert not (tmp_path / "gone").exists()
