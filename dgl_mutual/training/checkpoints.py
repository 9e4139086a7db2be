"""Trained students as files: weights as safetensors, everything else as JSON beside them. Nothing in them is ever executed."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt
import safetensors
import torch
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import PydanticSerializationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dgl_mutual.cohort import Cohort
from dgl_mutual.coordinator import CoordinatorRecipe
from dgl_mutual.data.arrays import as_kinds
from dgl_mutual.data.dataset import Dataset, FeatureKind, Target, TaskName
from dgl_mutual.data.folders import user_path
from dgl_mutual.data.positions import with_positions
from dgl_mutual.data.schema import align_edge_features, align_features
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.distributions import Distribution
from dgl_mutual.errors import DataError, UsageError, unknown
from dgl_mutual.files import check_regular, read_bytes, replacing
from dgl_mutual.joint import make_distribution
from dgl_mutual.nn.architectures import STUDENT_REGISTRY
from dgl_mutual.nn.mlp import MLP
from dgl_mutual.nn.module import EdgeInput, StudentModule
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.own import OwnStudent
from dgl_mutual.nn.student import AnyStudent, Student
from dgl_mutual.training.inference import NEEDS_POSITIONS, check_samples, predict, predict_by_mlp
from dgl_mutual.version import __version__
from dgl_mutual.weightings import WEIGHTING_REGISTRY, make_coordinator

if TYPE_CHECKING:
    from dgl_mutual.training.distilled import DistilledMLP

ENSEMBLE, MLP_MEMBER = "ensemble", "mlp"
FORMAT = 1
#: More than a description of a million feature columns takes.
_MAX_BYTES = 1 << 26
#: A file of the same folder.
_MEMBER = re.compile(r"\w[\w.-]*")
_DTYPES = (torch.float32, torch.float64)


class MLPShape(BaseModel):
    """What an MLP is made of."""

    depth: int = Field(ge=2, le=32)
    hidden: int = Field(ge=1)


class Preprocessing(BaseModel):
    """What is done to a dataset's features before the model sees them."""

    positions: int = Field(0, ge=0, le=1024)
    """Steps of the random walk whose return probabilities are added as columns."""


class Description(BaseModel):
    """What stands in the JSON beside the weights. One of `student`, `mlp` and `coordinator` says what the weights are."""

    format: int = FORMAT
    task: TaskName
    dataset: str
    """What it was trained on."""
    target: Target
    """What it predicts: class or label names."""
    feature_names: tuple[str, ...]
    """The columns that it expects."""
    feature_kinds: tuple[FeatureKind, ...] | None = None
    """What they hold; files of earlier versions do not say, and write ``=`` into the names of indicators."""
    edge_feature_names: tuple[str, ...] = ()
    """The columns of edge features that it expects; none where it takes no edge features."""
    edge_feature_kinds: tuple[FeatureKind, ...] = ()
    preprocessing: Preprocessing = Preprocessing()
    versions: dict[str, str]
    student: StudentOptions | None = None
    mlp: MLPShape | None = None
    members: tuple[str, ...] = ()
    """Students of the ensemble."""
    coordinator: CoordinatorRecipe | None = None

    @property
    def kinds(self) -> tuple[FeatureKind, ...]:
        """What each column holds."""
        return self.feature_kinds or tuple("indicator" if "=" in name else "number" for name in self.feature_names)

    @property
    def edges(self) -> EdgeInput | None:
        """The edge features that its students are given."""
        return EdgeInput.of(len(self.edge_feature_names), (*self.kinds, *as_kinds("number", self.preprocessing.positions)))

    @property
    def in_features(self) -> int:
        """F, positional features included."""
        return len(self.feature_names) + self.preprocessing.positions


class TrainedModel(nn.Module, ABC):
    """One student, an ensemble of students, or an MLP, read back from files.

    It is a module: ``model(graph, feat)`` gives logits, with gradients. `predict` gives probabilities without gradients, in bounded memory.

    Attributes:
        member: the student's name, ``ensemble`` or ``mlp``.
        description: what the files say about it.
    """

    def __init__(self, member: str, description: Description) -> None:
        super().__init__()
        self.member = member
        self.description = description

    @property
    def task(self) -> TaskName:
        return self.description.task

    @property
    def target(self) -> Target:
        """What it predicts: class or label names."""
        return self.description.target

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The feature columns that it was trained on."""
        return self.description.feature_names

    @abstractmethod
    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        """Logits of each node, or of each graph of a batch: see `StudentModule.forward`."""

    @abstractmethod
    def embed(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        """The last hidden state of each node or graph: see `StudentModule.embed`."""

    def predict(self, data: Dataset | dgl.DGLGraph) -> npt.NDArray[Any]:
        """Probabilities (samples, C) for a dataset or a DGLGraph with node features ``feat``.

        The columns of a dataset are matched by name; missing indicator columns are filled with zeros.

        Raises:
            DataError: the dataset's columns are not those that the model was trained on; both sides are shown.
        """
        if isinstance(data, Dataset):
            data = align_features(data, self.feature_names, self.description.kinds)
            data = align_edge_features(data, self.description.edge_feature_names, self.description.edge_feature_kinds)
        return self._probabilities(data)

    @abstractmethod
    def _probabilities(self, data: Dataset | dgl.DGLGraph) -> npt.NDArray[Any]: ...

    def _refuse_positions(self) -> None:
        if self.description.preprocessing.positions:
            raise UsageError(NEEDS_POSITIONS)


class TrainedStudent(TrainedModel):
    """One student, or all of them and their coordinator. With positional features it takes datasets only, through `predict`."""

    def __init__(self, member: str, description: Description, cohort: Cohort) -> None:
        super().__init__(member, description)
        self.cohort = cohort

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        self._refuse_positions()
        if self.member != ENSEMBLE:
            return self._student.forward(graph, feat)
        check_samples(self.cohort, graph)
        logits = torch.stack([student(graph, feat) for student in self.cohort.students])
        return self.cohort.ensemble_logits(logits, torch.arange(logits.shape[1], device=logits.device))

    def embed(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        self._refuse_positions()
        if self.member == ENSEMBLE:
            raise UsageError(f"The ensemble has no hidden states. Load one student: {', '.join(self.cohort.names)}.")
        return self._student.embed(graph, feat)

    @property
    def _student(self) -> StudentModule:
        return self.cohort.students[self.cohort.names.index(self.member)]

    def _probabilities(self, data: Dataset | dgl.DGLGraph) -> npt.NDArray[Any]:
        return predict(self.cohort, data, self.member)


class TrainedMLP(TrainedModel):
    """An MLP that was trained from a cohort. With positional features it takes datasets only, through `predict`."""

    def __init__(self, member: str, description: Description, mlp: MLP, distribution: Distribution) -> None:
        super().__init__(member, description)
        self.mlp = mlp
        self.distribution = distribution

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        self._refuse_positions()
        return self.mlp.forward(graph, feat)

    def embed(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        self._refuse_positions()
        return self.mlp.embed(graph, feat)

    def _probabilities(self, data: Dataset | dgl.DGLGraph) -> npt.NDArray[Any]:
        if not isinstance(data, Dataset):
            self._refuse_positions()
            return predict_by_mlp(self.mlp, self.distribution, data)
        return predict_by_mlp(self.mlp, self.distribution, with_positions(data, self.description.preprocessing.positions))


def save_cohort(cohort: Cohort, dataset: Dataset, folder: Path, mlp: DistilledMLP | None = None) -> None:
    """Write ``<student>.safetensors`` and ``.json`` for each student, and ``ensemble.*`` for the coordinator; ``mlp.*`` if there is one.

    A cohort that is there already is replaced as a whole; other files in the folder stay.
    """
    for student in cohort.students:
        _check_portable(student.options)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_cohort(folder)
    common = Description(
        task=dataset.task,
        dataset=dataset.name,
        target=dataset.target,
        feature_names=dataset.feature_names,
        feature_kinds=dataset.feature_kinds,
        edge_feature_names=dataset.edge_feature_names,
        edge_feature_kinds=dataset.edge_feature_kinds,
        preprocessing=Preprocessing(positions=cohort.positions),
        versions={
            "dgl_mutual": __version__,
            "torch": torch.__version__,
            "dgl": dgl.__version__,
            "safetensors": safetensors.__version__,
        },
    )
    for name, student in zip(cohort.names, cohort.students, strict=True):
        unused = {} if student.edge_features else {"edge_feature_names": (), "edge_feature_kinds": ()}
        _save(folder, name, student, common.model_copy(update={"student": student.options, **unused}))
    members = cohort.names[: cohort.num_students]
    recipe = cohort.coordinator.recipe
    if not isinstance(recipe.weighting, str):
        recipe = replace(recipe, weighting=WEIGHTING_REGISTRY.name_of(recipe.weighting))
    _save(folder, ENSEMBLE, cohort.coordinator, common.model_copy(update={"members": members, "coordinator": recipe}))
    if mlp is not None:
        shape = MLPShape(depth=mlp.options.depth, hidden=mlp.options.hidden)
        preprocessing = Preprocessing(positions=mlp.options.positions)
        unused = {"edge_feature_names": (), "edge_feature_kinds": ()}
        _save(folder, MLP_MEMBER, mlp.module, common.model_copy(update={"mlp": shape, "preprocessing": preprocessing, **unused}))


def _check_portable(options: StudentOptions) -> None:
    """Refuse a student of your own that could not be read back."""
    if not isinstance(options.architecture, str):
        STUDENT_REGISTRY.name_of(options.architecture)
    try:
        options.model_dump_json()
    except PydanticSerializationError as error:
        raise UsageError(
            f"The student {options.label!r} cannot be saved: one of its options is not a plain value ({error}). Give numbers, text, lists "
            "or mappings, and have the class make of them what it needs."
        ) from None


#: Whose code may be imported: nobody's, anybody's, or these packages', modules' and classes'.
Trust: TypeAlias = "bool | str | Collection[str]"


class _OwnClassError(UsageError):
    """What is wrong with the class of a student, rather than with its file."""


def load_student(path: str | Path, member: str | None = None, *, trust: Trust = False) -> TrainedModel:
    """Read back a student (``.../gcn-0.safetensors``), an MLP, or the ensemble (``.../ensemble.safetensors``, or the folder itself).

    Args:
        member: which one of a folder (default: the ensemble).
        trust: whether a student's own class may be imported from the import path that the file names. Importing a module executes it, so
            by default such a student is refused. A text, or several, trusts only these packages, modules or import paths.

    Raises:
        UsageError: no such member, or a class of its own that is not trusted or cannot be imported.
        DataError: a file is missing, or is not what this package writes.
    """
    folder, name = _locate(user_path(path), member)
    description = _read_description(folder / f"{name}.json")
    try:
        return _load(folder, name, description, trust).eval()
    except _OwnClassError:
        raise
    # A width of 10^30 and other nonsense that passes for a number.
    except (UsageError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise _foreign(folder / f"{name}.json", f"{type(error).__name__}: {error}") from error


def _load(folder: Path, name: str, description: Description, trust: Trust) -> TrainedModel:
    if description.coordinator is not None:
        return _load_ensemble(folder, name, description, description.coordinator, trust)
    if description.mlp is not None:
        return _load_mlp(folder, name, description, description.mlp)
    cohort = Cohort(
        [_load_one(folder, name, description, trust)],
        make_coordinator(CoordinatorRecipe("uniform", 1, description.target.num_outputs)),
        make_distribution(description.target),
        (name,),
        1,
        positions=description.preprocessing.positions,
    )
    return TrainedStudent(name, description, cohort)


def _locate(path: Path, member: str | None) -> tuple[Path, str]:
    """The folder of a checkpoint, and the name of what is meant in it."""
    if not path.is_dir():
        stem = path.name.removesuffix(".safetensors").removesuffix(".json")
        if member not in (None, stem):
            raise UsageError(f"{path} is {stem!r} and not {member!r}. Give its folder, or leave the member out.")
        return path.parent, stem
    if not (path / f"{ENSEMBLE}.json").exists():
        trials = sorted(found.parent for found in path.glob(f"**/{ENSEMBLE}.json"))
        if trials:
            raise UsageError(f"{path} holds the students of {len(trials)} trials. Choose one, for example {trials[0]}.")
    if member is not None and not _MEMBER.fullmatch(member):
        raise UsageError(f"{member!r} is not the name of a member, such as gcn-0, mlp or ensemble. --member does not take a path.")
    if member is not None and not (path / f"{member}.json").exists() and (path / f"{ENSEMBLE}.json").exists():
        raise unknown("member", member, sorted(file.stem for file in path.glob("*.json")))
    return path, member or ENSEMBLE


def _load_ensemble(folder: Path, name: str, description: Description, recipe: CoordinatorRecipe, trust: Trust) -> TrainedModel:
    if (recipe.num_students, recipe.num_outputs) != (len(description.members), description.target.num_outputs):
        raise ValueError(f"a coordinator of {recipe.num_students} students and {recipe.num_outputs} outputs")
    weighting = str(recipe.weighting)
    is_own = ":" in weighting or any(plug_in.name == weighting for plug_in in WEIGHTING_REGISTRY.plug_ins())
    if is_own:
        _check_trust(f"The ensemble in {folder} has a weighting", weighting, trust)
    try:
        with torch.device("meta"):
            coordinator = make_coordinator(recipe)
    except UsageError as error:
        raise (_OwnClassError if is_own else ValueError)(str(error)) from None
    _load_weights(folder, name, coordinator)
    students = []
    for member in description.members:
        if not _MEMBER.fullmatch(member):
            raise ValueError(f"{member[:80]!r} is not the name of a member")
        own = _read_description(folder / f"{member}.json")
        students.append(_load_one(folder, member, description.model_copy(update={"student": own.student}), trust))
    distribution, positions = make_distribution(description.target), description.preprocessing.positions
    cohort = Cohort(students, coordinator, distribution, description.members, len(students), positions=positions)
    return TrainedStudent(name, description, cohort)


def _load_mlp(folder: Path, name: str, description: Description, shape: MLPShape) -> TrainedModel:
    with torch.device("meta"):
        mlp = MLP(description.task, description.in_features, description.target.num_outputs, hidden=shape.hidden, depth=shape.depth)
    _load_weights(folder, name, mlp)
    return TrainedMLP(name, description, mlp, make_distribution(description.target))


def _load_one(folder: Path, name: str, description: Description, trust: Trust) -> AnyStudent:
    if description.student is None:
        raise ValueError(f"{name} is not a student")
    if description.student.is_own:
        return _load_own(folder, name, description, description.student, trust)
    _check_size(folder / f"{name}.safetensors", description.student)
    with torch.device("meta"):
        outputs = description.target.num_outputs
        student = Student(description.student, description.task, description.in_features, outputs, description.edges)
    _load_weights(folder, name, student)
    return student


def _check_trust(what: str, path: str, trust: Trust) -> None:
    if not isinstance(trust, bool | str | Collection) or isinstance(trust, type):
        raise _OwnClassError(f"trust = {trust!r} is neither True or False nor the names of packages, modules or classes. Give names.")
    known = [trust] if isinstance(trust, str) else [] if isinstance(trust, bool) else [str(name) for name in trust]
    if trust is not True and not any(path == one or path.startswith((f"{one}.", f"{one}:")) for one in known):
        raise _OwnClassError(
            f"{what} of the class {path!r}. Loading it imports that module, which executes it. If you trust "
            "the file and the module, call load_student(..., trust=True), or 'dgl-mutual predict --trust'."
        )


def _load_own(folder: Path, name: str, description: Description, options: StudentOptions, trust: Trust) -> OwnStudent:
    _check_trust(f"The student {name!r} in {folder} is", options.architecture_name, trust)
    try:
        with torch.random.fork_rng(devices=[]):
            student = OwnStudent(options, description.task, description.in_features, description.target.num_outputs, name)
    except UsageError as error:
        raise _OwnClassError(str(error)) from error
    _load_weights(folder, name, student)
    return student


def _check_size(weights: Path, options: StudentOptions) -> None:
    """Refuse a width that the file cannot hold: some of DGL's layers take memory when they are made, before any weight is read."""
    least = options.hidden**2 if options.architecture == "gcn2" else options.hidden if options.architecture == "gatv2" else 0
    if weights.is_file() and least > max(weights.stat().st_size, 1 << 20):
        raise ValueError(f"hidden = {options.hidden}, and {weights.stat().st_size} bytes of weights")


def _remove_cohort(folder: Path) -> None:
    """Remove what `save_cohort` has written into a folder: descriptions, and the weights beside them."""
    for file in folder.glob("*.json"):
        weights = file.with_suffix(".safetensors")
        if weights.is_file() and _is_description(file):
            file.unlink()
            weights.unlink()


def _is_description(file: Path) -> bool:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "format" in values and "dgl_mutual" in (values.get("versions") or {})


def _save(folder: Path, name: str, module: nn.Module, description: Description) -> None:
    # A copy of each, since tied weights share memory, which safetensors refuses.
    weights = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in module.state_dict().items()}
    write_tensors(weights, folder / f"{name}.safetensors")
    with replacing(folder / f"{name}.json", durable=False) as temporary:
        temporary.write_text(description.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")


def write_tensors(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        StoreError: the disk does not take it.
    """
    with replacing(file, durable=False) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def _read_description(path: Path) -> Description:
    try:
        values = json.loads(read_bytes(path, _MAX_BYTES))
    except FileNotFoundError:
        raise DataError(f"There is no checkpoint description {path}. Point to a .safetensors file or a folder that `save` wrote.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}). The file is damaged; save the student again.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise DataError(f"{path} has no 'format: {FORMAT}': it was not written by this version of dgl_mutual. Save the student again.")
    try:
        return Description.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise _foreign(path, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, found {str(fault['input'])[:80]!r}") from None


def _foreign(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a description that dgl_mutual wrote ({reason}). Save the student again, or point to another checkpoint."
    )


def _load_weights(folder: Path, name: str, module: nn.Module) -> None:
    """Give a module that has only shapes its weights: a description that asks for terabytes never gets them."""
    path = folder / f"{name}.safetensors"
    try:
        check_regular(path)
        weights = load_file(path)
        kinds = {value.dtype for value in weights.values() if value.is_floating_point()}
        if len(kinds) > 1 or not kinds <= set(_DTYPES):
            raise ValueError(f"numbers of the types {', '.join(sorted(map(str, kinds)))}")
        if not all(value.isfinite().all() for value in weights.values()):
            raise ValueError("not all of them are finite")
        module.load_state_dict(weights, assign=True)
    except FileNotFoundError:
        raise DataError(f"There are no weights {path}: a checkpoint is a .json and a .safetensors side by side. Copy both.") from None
    except (safetensors.SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise DataError(f"The weights {path} cannot be used ({error}). They are damaged or belong to another student.") from error
