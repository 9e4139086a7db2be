"""Files that somebody broke, by chance or on purpose: each is read, or refused with an error of the package, soon and within some memory.

With ``--stress N``, N hundred inputs a test instead of some dozens.
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dgl_mutual.data.faults import Faults
from dgl_mutual.data.load import load_dataset
from dgl_mutual.data.npz import read_npz
from dgl_mutual.data.planetoid import read_planetoid
from dgl_mutual.errors import DglMutualError
from dgl_mutual.experiments.config import parse_assignment, parse_config, read_config
from dgl_mutual.experiments.store import open_store
from dgl_mutual.experiments.suite import configurations, load_suite
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.trainer import fit_cohort
from tests.data.conftest import CSV_FILES, TU_FILES, npz_arrays, planetoid_parts
from tests.experiments.test_store import CONFIG, outcome
from tests.strategies.test_extremes import make_data

SECONDS, GIGABYTES = 20, 3
TOKENS = [
    *(
        b"",
        b",",
        b"\n",
        b"\r",
        b"\x00",
        b"\xff\xfe",
        b'"',
        b"'",
        b";",
        b":",
        b"-",
        b"- ",
        b"[",
        b"{",
        b"}",
        b"&a ",
        b"*a",
        b"!!python/object:os.system ",
    ),
    *(
        b"nan",
        b"inf",
        b"-1",
        b"0",
        b"1e999",
        b"1e18",
        b"99999999999999999999",
        b"0x1F",
        b"1_000",
        b"0b",
        b"2024-13-45",
        b"true",
        b"null",
        b" ",
    ),
    *(b"9" * 5000, b"[" * 3000, b"=cmd()", b"../../x", b"\xe2\x80\xae", b"label", b"feat", b"graph_id", b"1,1,1,1,1,1,1"),
]


@dataclass(frozen=True)
class Edit:
    """Replaces `length` bytes, at a share of the content, by others."""

    where: float
    length: int
    new: bytes

    def __call__(self, content: bytes) -> bytes:
        start = int(self.where * len(content))
        return content[:start] + self.new + content[start + self.length :]


edits = st.lists(
    st.builds(
        Edit,
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.just(0), st.integers(0, 8), st.just(1 << 30)),
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, changes: list[Edit]) -> bytes:
    for change in changes:
        content = change(content)
    return content


@contextmanager
def bounded() -> Iterator[None]:
    """Success or an error of the package; anything else, too much time, or too much memory fails the test."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"it took more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (GIGABYTES << 30), hard))
    usual = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    except DglMutualError as error:
        assert len(str(error)) < 20_000
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, usual)
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


@pytest.fixture
def fuzz(stress: int, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Runs a test function over many inputs."""
    given_much = request.config.getoption("--stress")

    def run(test: Callable[..., None], *inputs: st.SearchStrategy[object], share: float = 1.0) -> None:
        examples = max(10, int((100 * stress if given_much else 40) * share))
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
        settings(max_examples=examples, deadline=None, database=None, suppress_health_check=checks)(given(*inputs)(test))()

    return run


def write(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def changed(files: dict[str, bytes]) -> st.SearchStrategy[dict[str, bytes]]:
    """The same files, some of them damaged."""
    return st.dictionaries(st.sampled_from(sorted(files)), edits, min_size=1, max_size=2).map(
        lambda chosen: files | {name: damaged(files[name], changes) for name, changes in chosen.items()}
    )


def test_tu_folders(fuzz: Callable[..., None], tmp_path: Path) -> None:
    def test(files: dict[str, bytes]) -> None:
        with bounded():
            load_dataset(write(tmp_path / "TOY", files))

    fuzz(test, changed({f"TOY_{part}.txt": content.encode() for part, content in TU_FILES.items()}))


def test_csv_folders(fuzz: Callable[..., None], tmp_path: Path) -> None:
    def test(files: dict[str, bytes]) -> None:
        with bounded():
            load_dataset(write(tmp_path / "csv", files))

    fuzz(test, changed({name: content.encode() for name, content in CSV_FILES.items()}))


def test_planetoid_pickles(fuzz: Callable[..., None], tmp_path: Path) -> None:
    parts = {
        f"ind.cora.{part}": content.encode() if isinstance(content, str) else pickle.dumps(content, protocol=place % 5)
        for place, (part, content) in enumerate(planetoid_parts().items())
    }

    def test(files: dict[str, bytes]) -> None:
        with bounded():
            read_planetoid(write(tmp_path / "planetoid", files), "Cora", Faults())

    fuzz(test, changed(parts))


class Huge:
    """Pickles as an array of any shape and type, and matrices of any size, in some dozen bytes."""

    def __init__(self, function: object, arguments: tuple[object, ...], state: object = None) -> None:
        self.reduced = (function, arguments, state)

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced


def test_pickles_of_huge_things(tmp_path: Path) -> None:
    reconstruct = np.ndarray(0).__reduce__()[0]
    sound = planetoid_parts()
    wide = sound["x"].copy()  # type: ignore[attr-defined]  # a matrix
    wide._shape = (10, 1 << 40)
    arrays = [
        Huge(reconstruct, (np.ndarray, shape, kind))
        for shape in ((1 << 40,), (1 << 31,), (1 << 16, 1 << 16))
        for kind in (b"b", b"O", b"d")
    ]
    lists = b"\x80\x04]" + b"]" * 100_000 + b"a" * 100_000 + b"."
    for part in ("x", "allx", "tx", "y", "ally", "graph"):
        for value in (*arrays, wide, {0: list(range(10)) * 10, 1 << 62: [0]}, lists):
            files = {**sound, part: value}
            content = {
                f"ind.cora.{name}": each if isinstance(each, bytes) else each.encode() if isinstance(each, str) else pickle.dumps(each)
                for name, each in files.items()
            }
            with bounded():
                read_planetoid(write(tmp_path / "planetoid", content), "Cora", Faults())


@pytest.mark.parametrize("number", [1 << 31, 1 << 40, (1 << 63) - 1])
def test_sizes_that_only_numbers_have(number: int, tmp_path: Path) -> None:
    """A matrix of trillions of columns, and a class of that number, take some bytes in a file."""
    sound = planetoid_parts()
    for part in ("x", "tx", "allx"):
        sound[part] = sound[part].copy()  # type: ignore[attr-defined]  # a matrix
        sound[part]._shape = (sound[part].shape[0], number)  # type: ignore[attr-defined]
    content = {f"ind.cora.{name}": each.encode() if isinstance(each, str) else pickle.dumps(each) for name, each in sound.items()}
    with bounded(), pytest.raises(DglMutualError, match="columns"):
        read_planetoid(write(tmp_path / "planetoid", content), "Cora", Faults())
    for key, value in (("attr_shape", [4, number]), ("labels", [0, 1, 1, number])):
        buffer = io.BytesIO()
        np.savez(buffer, **{**npz_arrays(), key: np.array(value)})
        with bounded(), pytest.raises(DglMutualError, match=key):
            read_npz(write(tmp_path / "npz", {"toy.npz": buffer.getvalue()}) / "toy.npz", "toy", Faults())


def test_npz_files(fuzz: Callable[..., None], tmp_path: Path) -> None:
    def packed(arrays: dict[str, np.ndarray]) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    sound = npz_arrays()
    numbers = st.sampled_from([0, 1, -1, 3, 4, 1 << 20, 1 << 40, (1 << 63) - 1])
    values = st.one_of(
        st.lists(numbers, max_size=6).map(lambda each: np.array(each, dtype=np.int64)),
        st.sampled_from([np.array(["a"]), np.array(1.5), np.array([np.nan] * 4)]),
    )
    arrays = st.dictionaries(st.sampled_from(sorted(sound)), values, max_size=2).map(lambda some: packed(sound | some))

    def test(content: bytes, changes: list[Edit]) -> None:
        for each in (content, damaged(content, changes)):
            with bounded():
                read_npz(write(tmp_path / "npz", {"toy.npz": each}) / "toy.npz", "toy", Faults())

    fuzz(test, arrays, edits)


def test_an_npz_bomb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in npz_arrays().items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                if name == "attr_data":
                    np.lib.format.write_array_header_2_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 23,)})
                    for _ in range(1 << 6):
                        member.write(bytes(1 << 20))
                else:
                    np.lib.format.write_array(member, array)
    with bounded(), pytest.raises(DglMutualError):
        read_npz(path, "bomb", Faults())


YAML_FILES = {
    "run.yaml": yaml.safe_dump(
        {
            "dataset": "digits",
            "students": ["gcn", {"architecture": "gat", "heads": 2}],
            "training": {"epochs": 3},
            "grid": {"training.epochs": [1]},
        }
    ).encode(),
    "suite.yaml": yaml.safe_dump(
        {
            "base": {"seeds": 1},
            "datasets": ["digits", {"dataset": "Cora", "methods": ["gml"]}],
            "methods": {"gml": None, "x": {"strategy": "dml"}},
        }
    ).encode(),
}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_yaml(fuzz: Callable[..., None], tmp_path: Path) -> None:
    plain = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "name",
                        "dataset",
                        "strategy",
                        "epochs",
                        "training",
                        "hidden",
                        "students",
                        "methods",
                        "datasets",
                        "base",
                        "grid",
                        "noise",
                    ]
                ),
                below,
                max_size=4,
            )
        ),
        max_leaves=8,
    )

    def test(files: dict[str, bytes], values: object) -> None:
        folder = write(tmp_path / "yaml", {**files, "made.yaml": yaml.safe_dump(values).encode()})
        for file in ("run.yaml", "made.yaml"):
            with bounded():
                parse_config(read_config(folder / file))
        for file in ("suite.yaml", "made.yaml"):
            with bounded():
                configurations(load_suite(str(folder / file))[1])
        with bounded():
            parse_config(parse_assignment("training.epochs=" + files["run.yaml"].decode(errors="replace")))

    fuzz(test, changed(YAML_FILES), plain)


@pytest.mark.parametrize(
    "text",
    [
        BOMB + "training: {epochs: *i}",
        BOMB + "dataset: *i",
        BOMB + "strategy_options: *i",
        "dataset: &a [*a]",
        "training: &a {epochs: *a}",
        "{" * 5000,
    ],
    ids=str,
)
def test_yaml_that_unfolds(text: str, tmp_path: Path) -> None:
    with bounded(), pytest.raises(DglMutualError):
        parse_config(read_config(write(tmp_path / "y", {"bomb.yaml": text.encode()}) / "bomb.yaml"))
    with bounded(), pytest.raises(DglMutualError):
        load_suite(str(tmp_path / "y" / "bomb.yaml"))


def test_run_folders(fuzz: Callable[..., None], tmp_path: Path) -> None:
    with open_store(tmp_path / "sound", CONFIG, resume=True) as store:
        store.record_environment({"threads": 1})
        store.add(outcome(0))
        store.add(outcome(1, error="boom"))
    with open_store(tmp_path / "sound", CONFIG, resume=True) as store:
        files = {file.name: file.read_bytes() for file in store.folder.iterdir() if file.is_file() and file.name != ".lock"}
    files["history/seed-0-fold-0.csv"] = files["history.csv"]

    def test(content: dict[str, bytes]) -> None:
        with bounded(), open_store(write(tmp_path / "run", content), CONFIG, resume=True) as store:
            store.finished()
            store.record_environment({"threads": 2})
            store.add(outcome(1))
            _ = store.failures

    fuzz(test, changed(files))


def test_checkpoints_and_snapshots(fuzz: Callable[..., None], tmp_path: Path) -> None:
    dataset, split = make_data("graph", num_edges=20, classes=2, sizes=(2,), scale=1.0)
    students = [StudentOptions(architecture=kind, hidden=2, heads=1) for kind in ("gcn", "gin")]

    def fit(snapshots: Snapshots) -> None:
        fit_cohort(dataset, split, students=students, training=TrainingOptions(epochs=2), snapshots=snapshots).save(tmp_path / "sound")

    fit(Snapshots(tmp_path / "sound" / "snapshot", 1))
    files = {file.name: file.read_bytes() for file in (tmp_path / "sound").iterdir()}

    def test(content: dict[str, bytes]) -> None:
        folder = write(tmp_path / "damaged", content)
        for member in ("ensemble", "gcn-0", "gin-1"):
            with bounded():
                load_student(folder, member).predict(dataset)

    def test_snapshot(changes: list[Edit]) -> None:
        with bounded():
            fit(Snapshots(write(tmp_path / "damaged", {"s": damaged(files["snapshot"], changes)}) / "s", 1))

    fuzz(test, changed({name: content for name, content in files.items() if name != "snapshot"}))
    fuzz(test_snapshot, edits, share=0.25)
    for value in (1 << 30, 10**30, -1, "x", [], {}):
        for key in ("hidden", "heads", "depth", "num_students", "num_outputs"):
            for name in ("ensemble", "gcn-0"):
                description = json.loads(files[f"{name}.json"])
                for group in ("student", "coordinator"):
                    if group in description:
                        description[group][key] = value
                test({**files, f"{name}.json": json.dumps(description).encode()})
