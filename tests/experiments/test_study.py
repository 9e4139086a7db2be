"""The folder of a search: shared by processes, and refused if it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.config import parse_config
from dgl_mutual.experiments.resolve import resolve
from dgl_mutual.experiments.study import BEST_FILE, JOURNAL_FILE, Search
from dgl_mutual.experiments.tuning import search_space
from tests.experiments.searches import QUICK, faking, quick

pytest.importorskip("optuna")


def test_processes_share_a_study_and_never_do_more_than_asked_for(ring: Dataset, tmp_path: Path) -> None:
    import optuna

    config = parse_config(QUICK)
    resolved = resolve(config, ring)
    one, two = (Search(tmp_path / "s", config, resolved, search_space(config), optuna) for _ in range(2))
    with one.opened(1), two.opened(1):
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
            before = {t.number: t.params for t in one.trials()}
            assert trial.number == 3 and before[3] == before[1] != {}


def test_defaults_that_an_earlier_version_left_waiting_stay_the_defaults(ring: Dataset, tmp_path: Path) -> None:
    import optuna

    config = parse_config(QUICK)
    search = Search(tmp_path / "s", config, resolve(config, ring), search_space(config), optuna)
    with search.opened(1):
        search.study.enqueue_trial({}, user_attrs={"defaults": True})
        claimed = [search.claim(2) for _ in range(2)]
        assert all(claimed)
        assert search.trials()[0].params and not search.trials()[1].params


def test_a_damaged_journal_is_named(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    folder = quick(ring, tmp_path, trials=1).folder
    (folder / JOURNAL_FILE).write_text('{"op_code": 99}\nnonsense\n')
    with pytest.raises(StoreError, match=r"journal.log.*damaged or edited"):
        quick(ring, tmp_path, trials=2)


@pytest.mark.parametrize(
    ("key", "value"), [("values", ["best"]), ("values", [None]), ("values", [float("nan")]), ("param_value_internal", 9e9)]
)
def test_a_journal_whose_trials_are_none_of_this_search_is_named(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object
) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    journal = quick(ring, tmp_path, trials=2).folder / JOURNAL_FILE
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    [entry for entry in entries if key in entry][-1][key] = value
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    with pytest.raises(StoreError, match=r"journal.log.*damaged or edited"):
        quick(ring, tmp_path, trials=2)


@pytest.mark.parametrize(
    "attributes", [{"user_attrs": {"keys": ["nothing"]}}, {"user_attrs": {"keys": 1}}, {"system_attrs": {"fixed_params": 1}}]
)
def test_a_waiting_trial_that_is_none_of_this_search_is_named(
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


def test_a_journal_that_a_killed_process_cut_off_goes_on(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda *_, **__: 0.5)
    journal = quick(ring, tmp_path, trials=2).folder / JOURNAL_FILE
    with journal.open("a") as file:
        file.write('{"op_code": 4, "worker_id": "x", "tri')
    assert quick(ring, tmp_path, trials=3).history["state"].tolist() == ["complete"] * 3


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
