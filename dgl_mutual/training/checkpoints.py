"""Trained students as files: weights as safetensors, everything else as JSON beside them. Nothing in them is ever executed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dgl
import numpy.typing as npt
import safetensors
import torch
from safetensors.torch import load_file, save_file

from dgl_mutual.cohort import Cohort
from dgl_mutual.coordinator import CoordinatorRecipe, make_coordinator
from dgl_mutual.data.dataset import Dataset, Target
from dgl_mutual.distributions import distribution_of
from dgl_mutual.errors import DataError, DglMutualError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student
from dgl_mutual.options import parse_options
from dgl_mutual.training.inference import predict

if TYPE_CHECKING:
    from torch import nn

ENSEMBLE = "ensemble"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """One student, or a whole cohort's ensemble, read back from files.

    Attributes:
        member: the student's name, or ``ensemble``.
        target: what it predicts: class or label names.
        feature_names: the columns that it expects.
    """

    cohort: Cohort
    member: str
    target: Target
    feature_names: tuple[str, ...]

    def predict(self, data: Dataset | dgl.DGLGraph) -> npt.NDArray[Any]:
        """Probabilities (samples, C) for a dataset or a DGLGraph with node features ``feat``.

        Raises:
            DataError: the dataset's columns are not those that the model was trained on; both sides are shown.
        """
        if isinstance(data, Dataset) and data.feature_names != self.feature_names:
            raise DataError(_schema_message(self.feature_names, data))
        return predict(self.cohort, data, self.member)


def save_cohort(cohort: Cohort, dataset: Dataset, folder: Path) -> None:
    """Write ``<student>.safetensors`` and ``.json`` for each student, and ``ensemble.*`` for the coordinator."""
    folder.mkdir(parents=True, exist_ok=True)
    common = {
        "format": FORMAT,
        "task": dataset.task,
        "dataset": dataset.name,
        "target": asdict(dataset.target),
        "feature_names": list(dataset.feature_names),
        "versions": {"torch": torch.__version__, "dgl": dgl.__version__, "safetensors": safetensors.__version__},
    }
    students = zip(cohort.names, cohort.students, strict=True)
    for name, student in students:
        _save(folder, name, student, {**common, "student": student.options.model_dump()})
    members = list(cohort.names[: cohort.num_students])
    _save(folder, ENSEMBLE, cohort.coordinator, {**common, "members": members, "coordinator": asdict(cohort.coordinator.recipe)})


def load_student(path: str | Path) -> TrainedModel:
    """Read back a student (``.../gcn-0.safetensors``), or the ensemble (``.../ensemble.safetensors``, or the folder itself).

    Raises:
        DataError: a file is missing, or is not what this package writes.
    """
    path = Path(path)
    folder, name = (path, ENSEMBLE) if path.is_dir() else (path.parent, path.stem)
    description = _read_description(folder / f"{name}.json")
    try:
        target = Target(**{**description["target"], "names": tuple(description["target"]["names"])})
        feature_names = tuple(description["feature_names"])
        ensemble = name == ENSEMBLE
        names = tuple(description["members"]) if ensemble else (name,)
        recipe = CoordinatorRecipe(**description["coordinator"]) if ensemble else CoordinatorRecipe("uniform", 1, target.num_outputs)
        coordinator = make_coordinator(recipe)
        if ensemble:
            _load_weights(folder, ENSEMBLE, coordinator)
        students = [_load_one(folder, member, description, target, len(feature_names)) for member in names]
        cohort = Cohort(students, coordinator, distribution_of(target.kind), names, len(names))
    except DataError:
        raise
    except (DglMutualError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{folder / name}.json is not a description that dgl_mutual wrote ({type(error).__name__}: {error}). "
            "Save the student again, or point to another checkpoint."
        ) from error
    return TrainedModel(cohort, name, target, feature_names)


def _load_one(folder: Path, name: str, common: Mapping[str, Any], target: Target, num_features: int) -> Student:
    description = _read_description(folder / f"{name}.json")
    options = parse_options(StudentOptions, description["student"], f"{name}.json: student")
    student = Student(options, common["task"], num_features, target.num_outputs)
    _load_weights(folder, name, student)
    return student


def _save(folder: Path, name: str, module: nn.Module, description: Mapping[str, Any]) -> None:
    weights = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    temporary = folder / f".{name}.tmp"
    save_file(weights, temporary)
    os.replace(temporary, folder / f"{name}.safetensors")
    temporary.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, folder / f"{name}.json")


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"There is no checkpoint description {path}. Point to a .safetensors file or a folder that `save` wrote.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}). The file is damaged; save the student again.") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise DataError(f"{path} has no 'format: {FORMAT}': it was not written by this version of dgl_mutual. Save the student again.")
    return description


def _load_weights(folder: Path, name: str, module: nn.Module) -> None:
    path = folder / f"{name}.safetensors"
    try:
        weights = load_file(path)
        sample = next((value for value in weights.values() if value.is_floating_point()), None)
        if sample is not None:
            module.to(sample.dtype)
        module.load_state_dict(weights)
    except FileNotFoundError:
        raise DataError(f"There are no weights {path}: a checkpoint is a .json and a .safetensors side by side. Copy both.") from None
    except (safetensors.SafetensorError, RuntimeError, OSError) as error:
        raise DataError(f"The weights {path} cannot be used ({error}). They are damaged or belong to another student.") from error


def _schema_message(expected: tuple[str, ...], data: Dataset) -> str:
    found = data.feature_names
    missing = [name for name in expected if name not in set(found)]
    surplus = [name for name in found if name not in set(expected)]
    return (
        f"The model expects {len(expected)} feature columns and {data.name} has {len(found)}. "
        f"Missing: {_some(missing)}; not known to the model: {_some(surplus)}"
        f"{'; the order differs' if not missing and not surplus else ''}. "
        "Encode the new data as the training data was encoded."
    )


def _some(names: list[str], most: int = 8) -> str:
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "none"
