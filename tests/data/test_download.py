from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pooch
import pytest
import requests
import urllib3

from dgl_mutual.data import fetch_dataset, find_entry, load_dataset
from dgl_mutual.data.sources import download
from dgl_mutual.data.sources.catalog import known_datasets
from dgl_mutual.errors import DataError, StoreError
from tests.closed import full_disk

Build = Callable[..., Path]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path]:
    """Addresses and the local files that "downloading" them gives; any other address fails as without a network."""
    files: dict[str, Path] = {}

    def fake(address: str, target: Path, sha256: str | None, *, most: int, progress: bool) -> None:
        if address not in files:
            raise DataError(f"{address} could not be downloaded: no network")
        shutil.copy(files[address], target)

    monkeypatch.setattr(download, "download_file", fake)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DGL_MUTUAL_DATA", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return files


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as opened:
        for file in folder.iterdir():
            opened.write(file, f"{folder.name}/{file.name}")
    return archive


TOY_ADDRESS = "https://www.chrsmrrs.com/graphkerneldatasets/TOY.zip"


def test_default_folder_takes_downloads(served: dict[str, Path], build_tu: Build, tmp_path: Path) -> None:
    source = build_tu()
    served[TOY_ADDRESS] = zipped(source, tmp_path / "TOY.zip")
    expected = load_dataset(source)
    dataset = load_dataset("tu/TOY")
    assert dataset.labels.tolist() == expected.labels.tolist()
    assert sorted(path.name for path in (tmp_path / "work" / "data" / "tu").iterdir()) == ["TOY"]
    served.clear()
    assert load_dataset("tu/TOY", offline=True).num_graphs == 2


def test_a_folder_that_the_user_names_is_only_read(served: dict[str, Path], build_tu: Build, tmp_path: Path) -> None:
    served[TOY_ADDRESS] = zipped(build_tu(), tmp_path / "TOY.zip")
    named = tmp_path / "named"
    (named / "tu" / "TOY").mkdir(parents=True)
    before = sorted(named.rglob("*"))
    dataset = load_dataset("tu/TOY", data_dir=named)
    assert dataset.num_graphs == 2 and sorted(named.rglob("*")) == before
    assert (tmp_path / "cache" / "dgl_mutual" / "tu" / "TOY" / "TOY_A.txt").is_file()


FILES = ("TOY_graph_labels.txt", "TOY_A.txt")


@pytest.fixture(params=[FILES, FILES[::-1]], ids=["no labels", "no edges"])
def lacking(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The file that a folder lacks, and one that is damaged there."""
    return request.param  # type: ignore[no-any-return]  # pytest's own gap


@pytest.fixture
def incomplete(lacking: tuple[str, str], served: dict[str, Path], build_tu: Build, tmp_path: Path) -> Path:
    """A folder that lacks a file of its dataset, and holds some of a user's."""
    served[TOY_ADDRESS] = zipped(build_tu(), tmp_path / "TOY.zip")
    place = tmp_path / "work" / "data" / "tu" / "TOY"
    shutil.copytree(build_tu(), place)
    (place / lacking[0]).unlink()
    (place / lacking[1]).write_text("half")
    (place / "processed").mkdir()
    for mine in ("my_splits.json", "processed/my_results.csv"):
        (place / mine).write_text("mine")
    return place


def test_missing_files_are_downloaded_and_the_users_files_stay(lacking: tuple[str, str], incomplete: Path) -> None:
    before = {path.name for path in incomplete.iterdir()}
    assert fetch_dataset("tu/TOY") == Path("data/tu/TOY")
    assert load_dataset("tu/TOY", offline=True).num_graphs == 2
    assert (incomplete / "my_splits.json").read_text() == (incomplete / "processed" / "my_results.csv").read_text() == "mine"
    assert (incomplete / f"{lacking[1]}.damaged").read_text() == "half"
    assert {path.name for path in incomplete.iterdir()} == {*before, lacking[0], f"{lacking[1]}.damaged"}
    assert [path.name for path in incomplete.parent.iterdir()] == ["TOY"]


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_download_that_is_killed_while_files_are_moved_loses_none_and_is_done_again(
    lacking: tuple[str, str], incomplete: Path, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, replace_file = [], os.replace

    def move(source: Path, target: Path) -> None:
        if len(done) == moves:
            os._exit(9)
        replace_file(source, target)
        done.append(target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", move)
        if (child := os.fork()) == 0:
            fetch_dataset("tu/TOY")
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (incomplete / lacking[0]).exists()
    fetch_dataset("tu/TOY")
    assert load_dataset("tu/TOY", offline=True).num_graphs == 2
    assert (incomplete / "my_splits.json").read_text() == (incomplete / "processed" / "my_results.csv").read_text() == "mine"
    assert (incomplete / f"{lacking[1]}.damaged").read_text() == "half"


@pytest.mark.parametrize("link", ["tu", "tu/TOY"])
def test_nothing_is_downloaded_through_a_link(served: dict[str, Path], build_tu: Build, tmp_path: Path, link: str) -> None:
    served[TOY_ADDRESS] = zipped(build_tu(), tmp_path / "TOY.zip")
    place = tmp_path / "work" / "data" / link
    place.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        fetch_dataset("tu/TOY")
    assert place.is_symlink() and not any((tmp_path / "elsewhere").iterdir())


def test_failure_says_what_and_how_to_mend_and_leaves_nothing(served: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset("mutag")
    message = str(caught.value)
    for part in ("MUTAG", "https://www.chrsmrrs.com/graphkerneldatasets/MUTAG.zip", "no network", "MUTAG_A.txt", "tu/MUTAG", "--data-dir"):
        assert part in message
    assert not any((tmp_path / "work").iterdir())


def test_offline_never_tries(served: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data[/\\]tu[/\\]MUTAG lacks MUTAG_A\.txt, .*\n.*dgl-mutual data fetch MUTAG"):
        load_dataset("mutag", offline=True)
    assert not (tmp_path / "work" / "data").exists()


def test_wrong_content_is_not_kept(served: dict[str, Path], build_tu: Build, tmp_path: Path) -> None:
    entry = find_entry("MUTAG")
    assert entry.url is not None
    fake = build_tu("MUTAG", **{part[len("MUTAG_") : -len(".txt")]: "1\n" for part in entry.files})
    served[entry.url] = zipped(fake, tmp_path / "MUTAG.zip")
    with pytest.raises(DataError, match="is not the one that was published"):
        load_dataset("MUTAG")
    assert not any((tmp_path / "work").iterdir())


@pytest.mark.parametrize("file", ["MUTAG_edge_labels.txt", "MUTAG_node_attributes.txt"])
def test_an_archive_with_other_optional_files_is_not_kept(data_dir: Path, served: dict[str, Path], tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(data_dir / "tu" / "MUTAG", tmp_path / "MUTAG")
    (folder / file).unlink(missing_ok=True)
    (folder / file).write_text("5\n" * 7442)
    served["https://www.chrsmrrs.com/graphkerneldatasets/MUTAG.zip"] = zipped(folder, tmp_path / "MUTAG.zip")
    with pytest.raises(DataError, match=rf"{file}.*(is not the one that was|that is not part of the published MUTAG).*Nothing was kept"):
        load_dataset("MUTAG")
    assert not list(Path("data").rglob("*.txt"))


def test_an_archive_may_have_files_that_are_not_read(data_dir: Path, served: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(data_dir / "tu" / "MUTAG", tmp_path / "MUTAG")
    (folder / "MUTAG_readme.txt").write_text("5\n")
    served["https://www.chrsmrrs.com/graphkerneldatasets/MUTAG.zip"] = zipped(folder, tmp_path / "MUTAG.zip")
    assert load_dataset("MUTAG").num_graphs == 188


def test_an_archive_of_a_regression_set_is_called_that(served: dict[str, Path], build_tu: Build, tmp_path: Path) -> None:
    served[TOY_ADDRESS] = zipped(build_tu(graph_labels=None, graph_attributes="0.5\n1.5\n"), tmp_path / "TOY.zip")
    with pytest.raises(DataError, match=r"TOY is a regression set: .* only classification is supported"):
        fetch_dataset("tu/TOY")


def test_archive_without_the_dataset(served: dict[str, Path], build_tu: Build, tmp_path: Path) -> None:
    served[TOY_ADDRESS] = zipped(build_tu("OTHER"), tmp_path / "TOY.zip")
    with pytest.raises(DataError, match="does not hold the files of TOY"):
        load_dataset("tu/TOY")


def test_single_files_are_put_side_by_side(served: dict[str, Path], build_planetoid: Build, tmp_path: Path) -> None:
    folder = build_planetoid("pubmed")
    entry = find_entry("pubmed")
    served.update({f"{entry.url}{file}": folder / file for file in entry.files})
    assert load_dataset("PubMed").num_nodes == 524
    assert sorted(path.name for path in (tmp_path / "work" / "data" / "planetoid").iterdir()) == sorted(entry.files)


def test_unwritable_folder(served: dict[str, Path], build_tu: Build, tmp_path: Path) -> None:
    served[TOY_ADDRESS] = zipped(build_tu(), tmp_path / "TOY.zip")
    (tmp_path / "work" / "data").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be put into"):
        load_dataset("tu/TOY")


def test_a_full_disk_is_called_that(served: dict[str, Path], build_tu: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served[TOY_ADDRESS] = zipped(build_tu(), tmp_path / "TOY.zip")

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "extract", full_disk)
        with pytest.raises(DataError, match=r"cannot be put into.*No space left on device.*space"):
            load_dataset("tu/TOY")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
        with pytest.raises(DataError, match="has room for 10 bytes"):
            load_dataset("tu/TOY", data_dir=tmp_path / "work")  # into the user's cache
    assert not any((tmp_path / "work").iterdir())
    assert not (tmp_path / "cache").exists()


def test_a_download_removes_day_old_files_of_killed_downloads(served: dict[str, Path], build_tu: Build, tmp_path: Path) -> None:
    served[TOY_ADDRESS] = zipped(build_tu(), tmp_path / "TOY.zip")
    left = tmp_path / "work" / "data" / "tu" / ".0123456789abcdef.99999999.dgl-mutual.tmp"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    load_dataset("tu/TOY")
    assert [path.name for path in left.parent.iterdir()] == ["TOY"]


def test_only_https(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only https"):
        download.download_file("http://example.org/a.zip", tmp_path / "a.zip", None, most=1000, progress=False)
    assert all(
        find_entry(name).url is None or find_entry(name).url.startswith("https://") for name in ("digits", "cora", "dd", "ogbg-molhiv")
    )


@pytest.mark.parametrize("sha256", [None, hashlib.sha256(b"content").hexdigest()])
def test_downloaded_file_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha256: str | None) -> None:
    monkeypatch.setattr(download, "_RETRIES", 0)
    monkeypatch.setattr(download._Downloader, "__call__", lambda self, url, file, keeper: Path(file).write_bytes(b"content"))
    download.download_file("https://example.org/a.txt", tmp_path / "a.txt", sha256, most=1000, progress=False)
    assert (tmp_path / "a.txt").read_bytes() == b"content"
    with pytest.raises(DataError, match=r"https://example\.org/b\.txt could not be downloaded: .*hash"):
        download.download_file("https://example.org/b.txt", tmp_path / "b.txt", "0" * 64, most=1000, progress=False)
    assert not (tmp_path / "b.txt").exists()


class Answers(requests.adapters.BaseAdapter):
    """What servers would answer: (status, headers, content) by address."""

    def __init__(self, answers: dict[str, tuple[int, dict[str, str], bytes]]) -> None:
        super().__init__()
        self.answers, self.asked = answers, []

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        self.asked.append(request.url)
        response = requests.Response()
        response.status_code, headers, content = self.answers[request.url]
        response.headers.update(headers)
        response.raw = urllib3.HTTPResponse(io.BytesIO(content), preload_content=False)
        response.url, response.request = request.url, request
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    adapter = Answers({})
    usual = requests.Session.__init__

    def init(session: requests.Session) -> None:
        usual(session)
        session.mount("https://", adapter)
        session.mount("http://", adapter)

    monkeypatch.setattr(requests.Session, "__init__", init)
    monkeypatch.setattr(download, "_RETRIES", 0)
    return adapter


def test_redirects_stay_within_https(answers: Answers, tmp_path: Path) -> None:
    answers.answers = {
        "https://a.org/1": (302, {"Location": "https://b.org/2"}, b""),
        "https://b.org/2": (200, {"Content-Length": "7"}, b"content"),
        "https://a.org/3": (301, {"Location": "http://b.org/4"}, b""),
        "http://b.org/4": (200, {}, b"changed on its way"),
        "https://a.org/5": (301, {"Location": "file:///etc/hostname"}, b""),
    }
    download.download_file("https://a.org/1", tmp_path / "1", None, most=1000, progress=False)
    assert (tmp_path / "1").read_bytes() == b"content"
    for number in (3, 5):
        with pytest.raises(DataError, match="leads to an address that is not https"):
            download.download_file(f"https://a.org/{number}", tmp_path / "3", None, most=1000, progress=False)
    assert "http://b.org/4" not in answers.asked and [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize(("terminal", "progress", "shown"), [(True, True, True), (False, True, False), (True, False, False)])
def test_a_bar_is_shown_on_a_terminal_if_requested(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, progress: bool, shown: bool
) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]  # all that sets a terminal apart here
    monkeypatch.setattr("sys.stderr", stream)
    messages = pooch.get_logger()  # as it is where nothing has been downloaded
    messages.setLevel("INFO")
    monkeypatch.setattr(messages.handlers[0], "stream", stream)
    answers.answers = {"https://a.org/big.zip": (200, {"Content-Length": "200000"}, bytes(200_000))}
    download.download_file("https://a.org/big.zip", tmp_path / "big.zip", None, most=10**6, progress=progress)
    assert ("big.zip: 100%" in stream.getvalue()) == shown
    assert bool(stream.getvalue()) == shown


@pytest.mark.parametrize("headers", [{"Content-Length": "1001"}, {}, {"Content-Length": "5"}, {"Content-Length": "9" * 5000}])
def test_downloads_have_a_largest_size(answers: Answers, tmp_path: Path, headers: dict[str, str]) -> None:
    answers.answers = {"https://a.org/1": (200, headers, bytes(200_000))}
    with pytest.raises(DataError, match="more than 1000 bytes"):
        download.download_file("https://a.org/1", tmp_path / "1", None, most=1000, progress=False)
    assert not any(tmp_path.iterdir())
    assert all(entry.max_bytes > 0 for entry in known_datasets().values() if entry.url is not None)


def test_a_content_that_is_compressed_anew_is_refused(answers: Answers, tmp_path: Path) -> None:
    answers.answers = {"https://a.org/1": (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(100)))}
    with pytest.raises(DataError, match="compresses it again"):
        download.download_file("https://a.org/1", tmp_path / "1", None, most=1000, progress=False)


def test_failures_of_the_server(answers: Answers, tmp_path: Path) -> None:
    answers.answers = {"https://a.org/1": (404, {}, b"")}
    with pytest.raises(DataError, match=r"https://a\.org/1 could not be downloaded: 404"):
        download.download_file("https://a.org/1", tmp_path / "1", None, most=1000, progress=False)


def test_network_failure_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real downloader, against an address where nobody listens."""
    monkeypatch.setattr(download, "_RETRIES", 0)
    entry = replace(find_entry("tu/TOY"), url="https://127.0.0.1:9/TOY.zip")
    with pytest.raises(DataError, match=r"https://127\.0\.0\.1:9/TOY\.zip could not be downloaded"):
        download.fetch(entry, tmp_path)
    assert not (tmp_path / "tu").exists()
