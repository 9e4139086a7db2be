"""The folder of a run whose files are damaged, edited, links, or a user's own."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.run_folders.folder_lock import lock
from dgl_mutual.experiments.run_folders.run_store import RunStore
from dgl_mutual.experiments.trial import Outcome
from tests.closed import close
from tests.experiments.run_folders.test_run_store import CONFIG, fill, outcome
from tests.stores import open_store


def with_students(folder: Path, *names: str) -> list[Path]:
    """Files as a trial saves them, and beside them some of a user's, copies among them, which are returned."""
    for name in names:
        (folder / "checkpoints" / name).mkdir(parents=True, exist_ok=True)
        (folder / "snapshots" / name).mkdir(parents=True, exist_ok=True)
        for member, members in (("gcn-0", []), ("ensemble", ["gcn-0"])):
            (folder / "checkpoints" / name / f"{member}.safetensors").write_text("trained")
            described = {"format": 1, "versions": {"dgl_mutual": "1"}, "members": members}
            (folder / "checkpoints" / name / f"{member}.json").write_text(json.dumps(described))
        (folder / "snapshots" / name / "0.safetensors").write_text("trained")
    (folder / "history").mkdir(exist_ok=True)
    first = folder / "checkpoints" / names[0]
    mine = [folder / "history" / "x.txt", folder / "checkpoints" / "notes.txt", first / "predictions.csv", first / "notes.json"]
    mine += [folder / "history" / f"{name}.csv" for name in ("seed-notes", "reliability-seed-notes", f"{names[0]}-mine")]
    mine += [folder / "snapshots" / names[0] / name for name in ("mine.txt", "best.safetensors")]
    for file in mine:
        file.write_text("mine, and,\nfree text")
    for parent in ("checkpoints", "snapshots"):
        mine += shutil.copytree(folder / parent / names[0], folder / parent / f"{names[0]}-best").iterdir()
    for end in ("json", "safetensors"):
        mine.append(Path(shutil.copy(first / f"gcn-0.{end}", first / f"best-so-far.{end}")))
    return mine


@pytest.mark.parametrize("keys", [None, {(0, 0)}, {(0, 0), (1, 0)}])
def test_a_users_files_stay_in_the_folders_of_a_run(keys: set[tuple[int, int]] | None, tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0), outcome(1)).folder
    mine = with_students(folder, "seed-0-fold-0", "seed-1-fold-0")
    fill(folder)  # nothing is left to do
    assert all(file.exists() for file in mine)
    with open_store(folder, CONFIG, resume=False, keys=keys):
        pass
    assert all(file.exists() for file in mine)
    weights = {file.parent.name for file in folder.rglob("*.safetensors") if file not in mine}
    assert weights == ({"seed-1-fold-0"} if keys == {(0, 0)} else set())


def test_a_users_file_among_histories_is_no_history(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0)).folder
    (folder / "history").mkdir()
    names = ("seed-notes", "seed-0-fold-0 (copy)", "seed-01-fold-0", "seed-9999999999-fold-0", "seed-0-fold-9999999999", "seed-0-fold-0")
    mine = [folder / "history" / f"{name}.csv" for name in names]
    for file in mine:
        file.write_text("seed,fold,epoch,loss/supervised/gcn-1\n1,0,7,0.5\n")
    fill(folder, outcome(1))
    assert [file.exists() for file in mine] == [True, True, True, True, True, False]
    # The last has the name of a history, which says of which trial it is.
    assert (folder / "history.csv").read_text().splitlines()[1:] == ["0,0,7,0.5", "1,0,0,0.1", "1,0,1,1.1"]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of which two trials are finished and one has failed."""
    folder = fill(tmp_path_factory.mktemp("finished") / "run", outcome(0), outcome(1), outcome(2, error="boom")).folder
    RunStore(folder).record_environment({"torch": "2.0"})
    return folder


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("trials.csv", damage) for damage in ("renamed", "twice", "cut", "bytes", "empty", "folder")),
        *(
            (name, damage)
            for name in ("history.csv", "reliability.csv", "failures.csv")
            for damage in ("renamed", "cut", "bytes", "folder")
        ),
        *((name, damage) for name in ("config.yaml", "environment.json") for damage in ("bytes", "empty", "folder")),
        *(("config.yaml", "renamed"), ("environment.json", "cut")),
    ],
)
def test_starting_over_works_whatever_is_damaged_and_keeps_it(name: str, damage: str, finished_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    file = folder / name
    text = file.read_bytes()
    damaged = {"renamed": b"x" + text, "cut": text[:-9], "bytes": bytes(range(256)), "twice": text + text.splitlines(keepends=True)[-1]}
    if damage == "folder":
        file.unlink()
        file.mkdir()
        (file / "mine").touch()
    else:
        file.write_bytes(damaged.get(damage, b""))
    with open_store(folder, CONFIG, resume=False, keys={(0, 0)}) as store:
        store.record_environment({"torch": "2.1"})
        store.add(outcome(0))
    assert store.finished() == ({(0, 0)} if name == "trials.csv" else {(0, 0), (1, 0)})
    aside = folder / f"{name}.damaged"
    assert (aside / "mine").exists() if damage == "folder" else aside.read_bytes() == damaged.get(damage, b"")
    fill(folder, outcome(1))
    assert RunStore(folder).finished() == {(0, 0), (1, 0)}


@pytest.mark.parametrize("name", ["history.csv", "reliability.csv", "failures.csv"])
@pytest.mark.parametrize("cut", ["the last line", "a line within"])
def test_a_table_that_is_cut_is_not_written_again_as_if_it_were_whole(name: str, cut: str, tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0), outcome(1), outcome(3, error="boom"), outcome(4, error="bang")).folder
    *first, last = (folder / name).read_text().splitlines()
    damaged = [*first, last.rpartition(",")[0]] if cut == "the last line" else [*first[:-1], first[-1].rpartition(",")[0], last]
    text = "\n".join(damaged) + ("" if cut == "the last line" else "\n")
    (folder / name).write_text(text)
    with pytest.raises(StoreError, match=rf"{name}' (ends in the middle of a line|is cut off in its row|is damaged).*move it away"):
        fill(folder, outcome(2), outcome(5, error="boom"))
    assert (folder / name).read_text() == text
    (folder / name).rename(tmp_path / "away")
    assert fill(folder, outcome(2), outcome(5, error="boom")).finished() == {(0, 0), (1, 0), (2, 0)}


@pytest.mark.parametrize("name", ["history.csv", "reliability.csv", "failures.csv", "trials.csv"])
def test_a_table_whose_rows_have_a_cell_too_many_is_not_moved_to_the_left(name: str, tmp_path: Path) -> None:
    """As a comma at the end of each row, which spreadsheets add, would do."""
    folder = fill(tmp_path / "run", outcome(0), outcome(1), outcome(3, error="boom")).folder
    header, *rows = (folder / name).read_text().splitlines()
    text = "\n".join([header, *(f"{row}," for row in rows)]) + "\n"
    (folder / name).write_text(text)
    with pytest.raises(StoreError, match=rf"{name}' has more cells in its row 1 than columns"):
        fill(folder, outcome(2), outcome(5, error="boom"))
    assert (folder / name).read_text() == text


def test_an_error_of_many_lines_that_look_like_formulas_can_be_read_back(tmp_path: Path) -> None:
    """A quote is put before each of them, and a cell of CSV has a largest size."""
    long = "-a\n" * 60_000
    folder = fill(tmp_path / "run", replace(outcome(3, error=long), details=long)).folder
    assert fill(folder, outcome(4, error="boom"), outcome(0)).finished() == {(0, 0)}
    assert (folder / "failures.csv").read_text().count("'-a") > 30_000


TABLES = ("trials.csv", "grid.csv", "failures.csv")


def searched(seed: int) -> Outcome:
    return replace(outcome(seed), searched=[{"point": 0, "val": 0.5, "chosen": 1}])


@pytest.mark.parametrize("name", TABLES)
def test_an_edit_of_a_table_meanwhile_costs_no_trial(name: str, tmp_path: Path) -> None:
    whole = fill(tmp_path / "whole", searched(0), outcome(1, error="boom"), searched(2), outcome(3, error="bang"), searched(4)).folder
    folder = tmp_path / "run"
    message = rf"{name}' ends in the middle of a line.*Rows of [12] trials that ended since are kept in .*history'.*call adds them"
    with pytest.raises(StoreError, match=message), open_store(folder, CONFIG, resume=True) as store:
        for each in (searched(0), outcome(1, error="boom")):
            store.add(each)
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(before + b"garbage")
        for each in (searched(2), outcome(3, error="bang"), searched(4)):
            store.add(each)
    assert (folder / name).read_bytes() == before + b"garbage"
    with pytest.raises(StoreError, match=message):  # and again, as long as it is not mended
        fill(folder)
    (folder / name).write_bytes(before)
    fill(folder)
    for table in (*TABLES, "history.csv", "reliability.csv", "summary.csv"):
        assert (folder / table).read_text() == (whole / table).read_text()
    assert not (folder / "history").exists()


def test_starting_over_with_some_trials_keeps_others_that_wait_for_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(StoreError, match="ends in the middle"), open_store(folder, CONFIG, resume=True) as store:
        store.add(outcome(0))
        (folder / "trials.csv").write_text("garbage")
        for seed in (1, 2):
            store.add(outcome(seed))
    with open_store(folder, CONFIG, resume=False, keys={(0, 0), (2, 0)}) as store:
        assert store.finished() == {(1, 0)}
    assert (folder / "trials.csv.damaged").read_text() == "garbage"


def waiting(folder: Path, *seeds: int) -> dict[int, Path]:
    """The folder of a run in which the rows of these trials wait for trials.csv."""
    with pytest.raises(StoreError, match="ends in the middle"), open_store(folder, CONFIG, resume=True) as store:
        store.add(outcome(0))
        whole = (folder / "trials.csv").read_bytes()
        (folder / "trials.csv").write_bytes(whole + b"garbage")
        for seed in seeds:
            store.add(outcome(seed))
    (folder / "trials.csv").write_bytes(whole)
    return {seed: folder / "history" / f"trials-seed-{seed}-fold-0.csv" for seed in seeds}


DAMAGED = {
    "fewer columns": (lambda text: text.replace("architecture,", "").replace(",-,", ","), "does not have the columns architecture"),
    "text for a number": (lambda text: text.replace(",0.1,7,", ",0.1,seven,"), "has no number where one belongs, in parameters"),
    "a row twice": (lambda text: text + text.splitlines()[-1] + "\n", "has a row twice"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_rows_that_wait_are_not_put_into_a_table(kind: str, tmp_path: Path) -> None:
    change, said = DAMAGED[kind]
    folder = tmp_path / "run"
    part = waiting(folder, 1, 2)[2]
    part.write_text(change(part.read_text()))
    before = {file: file.read_bytes() for file in folder.rglob("*.csv")}
    with pytest.raises(StoreError, match=rf"trials-seed-2-fold-0\.csv' {said}.*ove it away"):
        fill(folder)
    assert {file: file.read_bytes() for file in folder.rglob("*.csv")} == before
    part.rename(tmp_path / "away.csv")
    assert fill(folder).finished() == {(0, 0), (1, 0)}


@pytest.mark.parametrize(
    ("name", "part", "sound", "damaged", "said"),
    [
        ("history.csv", "", "epoch", "apoch", "is not what a run writes .*start with the columns seed, fold, epoch"),
        ("history.csv", "", "1,0,1,", "1,0,-1,", "is not what a run writes .*an epoch is not an integer"),
        ("history.csv", "", ",0.1\n", ",x\n", "is not what a run writes .*'x'"),
        ("reliability.csv", "reliability-", "confidence", "confident", "does not have the columns .*confidence"),
        ("failures.csv", "failures-", "details", "detail", "does not have the columns details"),
    ],
)
def test_rows_that_wait_replace_no_sound_ones_where_their_table_could_not_be_read_again(
    name: str, part: str, sound: str, damaged: str, said: str, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "run", outcome(1), outcome(2, error="boom")).folder
    text = (folder / name).read_text()
    rows = folder / "history" / f"{part}seed-{2 if name == 'failures.csv' else 1}-fold-0.csv"
    rows.parent.mkdir()
    rows.write_text(text.replace(sound, damaged))
    with pytest.raises(StoreError, match=rf"{rows.name}' {said}.*move it away"):
        fill(folder)
    assert (folder / name).read_text() == text and rows.read_text() == text.replace(sound, damaged) != text
    rows.write_text(text)
    fill(folder)
    assert (folder / name).read_text() == text and not rows.exists()


def test_infinite_numbers_that_epochs_log_are_put_into_the_history(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", replace(outcome(0), history=[{"epoch": 0.0, "mine": math.inf}])).folder
    assert (folder / "history.csv").read_text().splitlines()[1] == "0,0,0,inf"


def test_a_configuration_that_permissions_close_is_not_called_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path / "run", CONFIG, resume=True) as store:
        store.add(outcome(0))
    close(monkeypatch, tmp_path / "run" / "config.yaml")
    told = r"config\.yaml' cannot be read: Permission denied\. .* chmod u\+r"
    with pytest.raises(StoreError, match=told), open_store(tmp_path / "run", CONFIG, resume=True):
        pass


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0)).folder
    for content in ("a,b\n1,2\n", ""):
        (folder / "trials.csv").write_text(content)
        with pytest.raises(StoreError, match="does not have the columns"):
            RunStore(folder).finished()


@pytest.mark.parametrize("name", ["checkpoints", "history", "snapshots", "checkpoints/seed-0-fold-0", "snapshots/seed-0-fold-0", ".lock"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    folder, outside = fill(tmp_path / "run").folder, tmp_path / "outside"
    link = folder / name
    link.parent.mkdir(exist_ok=True)
    if name == ".lock":
        link.unlink()
        outside.write_text("mine")
    else:
        outside.mkdir()
        (outside / "mine").touch()
    link.symlink_to(outside)
    with pytest.raises(StoreError, match=f"{name}' is a link"):
        fill(folder, outcome(0))
    assert outside.read_text() == "mine" if name == ".lock" else [path.name for path in outside.iterdir()] == ["mine"]


def test_a_run_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere")
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="run' is a link"):
        fill(tmp_path / "run", outcome(0))


def test_a_folder_of_the_user_is_not_replaced_by_a_table(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run").folder
    (folder / "summary.csv").mkdir()
    (folder / "summary.csv" / "mine").touch()
    with pytest.raises(StoreError, match=r"summary\.csv': it is a folder. Move it away"):
        fill(folder, outcome(0))
    assert (folder / "summary.csv" / "mine").exists()


def test_half_written_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0)).folder
    (folder / "checkpoints" / "seed-0-fold-0").mkdir(parents=True)
    left = [folder / ".1.dgl-mutual.tmp", folder / "checkpoints" / ".2.dgl-mutual.tmp"]
    left[0].touch()
    left[1].mkdir()
    fill(folder, outcome(1))
    assert not any(path.exists() for path in left) and (folder / "checkpoints" / "seed-0-fold-0").is_dir()


REMOVED = "run(/config.yaml)?' was removed, moved or replaced while this command wrote its results there. Put it back if you can"


@pytest.mark.parametrize("finished", [0, 1])
@pytest.mark.parametrize("gone", ["folder", "replaced", "config.yaml", "files"])
def test_a_folder_that_is_removed_meanwhile_is_told(gone: str, finished: int, tmp_path: Path) -> None:
    """Rows of later trials alone, in a folder without a configuration, were the end of a run that seemed to be whole."""
    folder, away = tmp_path / "run", tmp_path / "away"
    with pytest.raises(StoreError, match=REMOVED), open_store(folder, CONFIG, resume=True) as store:
        for seed in range(finished):
            store.add(outcome(seed))
        if gone == "config.yaml":
            (folder / gone).unlink()
        elif gone == "files":
            for file in (each for each in [*folder.iterdir()] if each.is_file()):
                file.unlink()
        else:
            folder.rename(away)
            if gone == "replaced":
                fill(folder)
        store.add(outcome(2))
    if gone in ("folder", "replaced"):
        assert RunStore(away).finished() == {(seed, 0) for seed in range(finished)}
        assert folder.exists() == (gone == "replaced")
        assert not RunStore(folder).finished()


@pytest.mark.parametrize("gone", ["folder", "trials.csv"])
def test_a_run_that_loses_finished_trials_after_the_last_one_does_not_end_well(gone: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    said = REMOVED if gone == "folder" else r"trials.csv' no longer has 2 finished trials \(seed 0, fold 0, \.\.\.\)"
    with pytest.raises(StoreError, match=said), open_store(folder, CONFIG, resume=True) as store:
        store.add(outcome(0))
        store.add(outcome(1))
        shutil.rmtree(folder) if gone == "folder" else (folder / gone).unlink()


def test_trials_that_end_after_others_were_lost_are_kept(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0)).folder
    message = r"trials.csv' no longer has 1 finished trial \(seed 0, fold 0\).*Restore it.*Rows of 1 trials that ended since are kept"
    with pytest.raises(StoreError, match=message), open_store(folder, CONFIG, resume=True) as store:
        (folder / "trials.csv").rename(tmp_path / "away.csv")
        store.add(outcome(1))
    (tmp_path / "away.csv").rename(folder / "trials.csv")
    assert fill(folder).finished() == {(0, 0), (1, 0)}


def test_a_locked_folder_that_is_removed_meanwhile_is_told(tmp_path: Path) -> None:
    """As that of a suite, whose runs have folders of their own."""
    with pytest.raises(StoreError, match=REMOVED), lock(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "away")
    with pytest.raises(ZeroDivisionError), lock(tmp_path / "run"):
        shutil.rmtree(tmp_path / "run")
        raise ZeroDivisionError
