"""Results in files that users name, such as exported tables and predictions."""

from __future__ import annotations

from pathlib import Path

from dgl_mutual.errors import UsageError
from dgl_mutual.store.tables import INFERENCE_FILE, SUITE_FILE
from dgl_mutual.utils.files import is_special, read_bytes, write_output

#: Files by which a folder of this program, or a dataset in CSV form, is known.
_META = "meta.yaml"
_MARKERS = ("config.yaml", "journal.log", "tuning.yaml", SUITE_FILE, "partition.json", _META)
#: Files of such folders that cannot be made again, or that this program reads.
_KEPT = (
    *_MARKERS,
    *("trials.csv", "history.csv", "reliability.csv", "grid.csv", "failures.csv", "summary.csv", "environment.json", INFERENCE_FILE),
    *("tuning.csv", "best.yaml", "compare.csv", "trajectory.csv", "certificate.md"),
)
#: Bytes of a meta.yaml that is searched for the name of a file.
_MOST_BYTES = 1 << 20


def write_result(path: Path, text: str) -> None:
    """Write a result where a user wants it, as `write_output` does, but not in place of a file that this program needs.

    Raises:
        UsageError: `path` is a file of a run, search, suite or dataset, or a saved student.
        StoreError: it cannot be written.
    """
    refuse_kept(path)
    write_output(path, text)


def refuse_kept(path: Path) -> None:
    """Refuse a file that belongs to a run, search, suite or dataset, or to a saved student.

    Raises:
        UsageError: it does.
    """
    if is_special(path) or not path.is_file():
        return
    target = path.resolve()
    is_student = target.suffix == ".safetensors" or (target.suffix == ".json" and target.with_suffix(".safetensors").exists())
    is_kept = target.name in _KEPT and any((target.parent / marker).exists() for marker in _MARKERS)
    if is_student or is_kept or _is_of_dataset(target):
        whose = "a saved student" if is_student else f"the run, search, suite or dataset in {str(target.parent)!r}"
        raise UsageError(f"{str(path)!r} is a file of {whose}, and would be lost. Name another file.")


def _is_of_dataset(file: Path) -> bool:
    try:
        return file.name.encode() in read_bytes(file.parent / _META, _MOST_BYTES)
    except OSError:  # there is none
        return False
