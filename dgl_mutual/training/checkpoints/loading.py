"""Loading of trained students from files. Nothing in them is executed, unless the caller trusts a class that they name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from dgl_mutual.cohort import MEMBER_NAME, Cohort, no_such_member
from dgl_mutual.coordinator import Coordinator, CoordinatorConfig
from dgl_mutual.errors import DataError, UsageError, shortened, unknown
from dgl_mutual.joint import make_distribution
from dgl_mutual.nn.architectures import ARCHITECTURES, STUDENT_REGISTRY
from dgl_mutual.nn.custom import CustomStudent
from dgl_mutual.nn.mlp import MLP
from dgl_mutual.nn.module import CohortMember, StudentModule
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student
from dgl_mutual.options import plain_message
from dgl_mutual.registry import PlugIn, Registry
from dgl_mutual.store.members import BEST, ENSEMBLE
from dgl_mutual.training.checkpoints.models import FORMAT, MAX_DESCRIPTION, Description, MLPShape, TrainedModel
from dgl_mutual.training.checkpoints.origins import Origin, plug_in_of
from dgl_mutual.training.checkpoints.saving import digest_of_code
from dgl_mutual.utils.custom_code import is_custom
from dgl_mutual.utils.files import check_regular, read_bytes, unreadable
from dgl_mutual.utils.imports import import_path_of
from dgl_mutual.utils.paths import user_path
from dgl_mutual.utils.plain_json import read_json
from dgl_mutual.utils.random_streams import streams_kept
from dgl_mutual.utils.torch_settings import torch_defaults
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted
from dgl_mutual.weightings import WEIGHTING_REGISTRY, make_coordinator

_DTYPES = (torch.float32, torch.float64)
#: Which code may be imported: none (False), all (True), or that of these packages, modules and classes.
Trust: TypeAlias = "bool | str | Callable[..., Any] | Collection[str | Callable[..., Any]]"


class _CustomClassError(UsageError):
    """An error in the class of a student rather than in its file."""


@torch_defaults()
def load_student(path: str | Path, member: str | None = None, *, trust: Trust = False) -> TrainedModel:
    """Load a student (``.../gcn-0.safetensors``), an MLP, or the ensemble (``.../ensemble.safetensors``, or the folder itself).

    Args:
        member: member to load from a folder: a student, ``best_by_val`` (the best student on validation), ``mlp`` or ``ensemble``
            (default).
        trust: whether a custom class of a student may be imported from the import path in the file. Importing a module executes it, so by
            default such a student is refused. Strings or classes, one or several, trust only these packages, modules, paths or classes.
            Names that installed packages provide need no trust.

    A warning is shown if the code of a student or weighting has changed since it was saved.

    Raises:
        UsageError: no such member, or a custom class that is not trusted or cannot be imported.
        DataError: a file is missing, or was not written by this package.
    """
    folder, name = _locate(user_path(path), member)
    description = _read_description(folder / f"{name}.json")
    try:
        return _load(folder, name, description, trust).eval()
    except _CustomClassError as error:
        raise UsageError(str(error)) from error.__cause__
    # For example a width of 10^30, which is a valid number.
    except (UsageError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise _foreign(folder / f"{name}.json", f"{type(error).__name__}: {error}") from error


def _load(folder: Path, name: str, description: Description, trust: Trust) -> TrainedModel:
    if description.coordinator is not None:
        return _load_ensemble(folder, name, description, description.coordinator, trust)
    if description.mlp is None:
        student = _load_member(folder, name, description, trust)
    else:
        student = _load_mlp(folder, name, description, description.mlp)
    cohort = Cohort(
        [student],
        make_coordinator(CoordinatorConfig("uniform", 1, description.target.num_outputs)),
        make_distribution(description.target),
        (name,),
        1,
        positions=description.preprocessing.positions,
    )
    return TrainedModel(name, description, cohort)


def _locate(path: Path, member: str | None) -> tuple[Path, str]:
    """Return the folder of a checkpoint, and the name of the member in it."""
    is_folder, stem = path.is_dir(), path.name.removesuffix(".safetensors").removesuffix(".json")
    names = sorted({BEST, *(file.stem for file in path.glob("*.json"))}) if is_folder else [stem]
    if not isinstance(member, str | None):
        raise unknown("member", member, names)
    if not is_folder:
        if member not in (None, stem) and (path.parent / f"{stem}.json").exists():
            raise UsageError(f"{path} is {stem!r} and not {member!r}. Give its folder, or leave the member out.")
        return path.parent, stem
    if not (path / f"{ENSEMBLE}.json").exists():
        trials = sorted(file.parent for file in path.glob(f"**/{ENSEMBLE}.json"))
        if trials:
            raise UsageError(
                f"{path} holds the students of {counted(len(trials), 'trial')}. Give the folder of one, for example {trials[0]}."
            )
    if member is not None and not MEMBER_NAME.fullmatch(member):
        raise UsageError(
            f"{member!r} is not the name of a member, such as gcn-0, best_by_val, mlp or ensemble. --member does not take a path."
        )
    if member is not None and not (path / f"{member}.json").exists() and (path / f"{ENSEMBLE}.json").exists():
        description = _read_description(path / f"{ENSEMBLE}.json")
        if member != BEST:
            raise no_such_member(member, names)
        member = _best_of(path, description)
    return path, member or ENSEMBLE


def _best_of(folder: Path, description: Description) -> str:
    """Return the best student of a saved cohort on validation.

    Args:
        description: the description of the ensemble.

    Raises:
        DataError: the file names no student of the cohort.
    """
    best = description.best_by_val
    if best is None or best not in description.members:
        raise _foreign(folder / f"{ENSEMBLE}.json", f"best_by_val: {shortened(best)!r} is none of the members")
    _check_saved_together(
        folder, {f"{ENSEMBLE}.json": description.cohort, f"{best}.json": _read_description(folder / f"{best}.json").cohort}
    )
    return best


def _load_ensemble(folder: Path, name: str, description: Description, config: CoordinatorConfig, trust: Trust) -> TrainedModel:
    if (config.num_students, config.num_outputs) != (len(description.members), description.target.num_outputs):
        raise ValueError(f"a coordinator of {config.num_students} students and {config.num_outputs} outputs")
    if len(set(description.members)) < len(description.members):
        raise ValueError("a member twice")
    weighting = str(config.weighting)
    plug_in = _plug_in(WEIGHTING_REGISTRY, weighting, description.origin)
    has_custom_class = plug_in is not None or ":" in weighting or any(p.name == weighting for p in WEIGHTING_REGISTRY.plug_ins())
    if ":" in weighting:
        _check_trust(f"The ensemble in {folder} has a weighting", weighting, trust)
    try:
        # A custom weighting may compute with its tensors in __init__.
        with streams_kept() if has_custom_class else torch.device("meta"):
            if plug_in is not None:
                config = replace(config, weighting=WEIGHTING_REGISTRY.load(plug_in))
            coordinator = make_coordinator(config)
    except UsageError as error:
        raise (_CustomClassError if has_custom_class else ValueError)(f"{error}{_other_version(description, plug_in)}") from None
    _warn_of_changed_code(f"the weighting {weighting!r}", folder, description, coordinator)
    _load_weights(folder, name, coordinator, description, _other_version(description, plug_in))
    students = []
    for member in description.members:
        if not MEMBER_NAME.fullmatch(member):
            raise ValueError(f"{shortened(member)!r} is not the name of a member")
        of_student = _read_description(folder / f"{member}.json")
        _check_saved_together(folder, {f"{name}.json": description.cohort, f"{member}.json": of_student.cohort})
        fields = {"student": of_student.student, "code": of_student.code, "origin": of_student.origin}
        students.append(_load_member(folder, member, description.model_copy(update=fields), trust))
    distribution, positions = make_distribution(description.target), description.preprocessing.positions
    cohort = Cohort(students, coordinator, distribution, description.members, len(students), positions=positions)
    return TrainedModel(name, description, cohort)


def _load_mlp(folder: Path, name: str, description: Description, shape: MLPShape) -> CohortMember:
    with torch.device("meta"):
        options = {"hidden": shape.hidden, "depth": shape.depth, "positions": description.preprocessing.positions}
        mlp = MLP(description.task, description.in_features, description.target.num_outputs, **options)
    _load_weights(folder, name, mlp, description)
    return cast("CohortMember", mlp)


def _load_member(folder: Path, name: str, description: Description, trust: Trust) -> CohortMember:
    if description.student is None:
        raise ValueError(f"{name} is not a student")
    if description.student.is_custom or description.origin is not None:  # a later version may have a built-in student of its name
        return _load_custom(folder, name, description, description.student, trust)
    _check_size(folder / f"{name}.safetensors", description.student)
    with torch.device("meta"):
        outputs = description.target.num_outputs
        student = Student(description.student, description.task, description.in_features, outputs, description.edges)
    _load_weights(folder, name, student, description)
    return student


def _check_trust(subject: str, path: str, trust: Trust) -> None:
    if trust is True:
        return
    items = trust if isinstance(trust, Collection) and not isinstance(trust, str | type) else () if trust is False else (trust,)
    if not all(isinstance(item, str) or callable(item) for item in items):
        raise _CustomClassError(f"trust = {trust!r:.200} is neither True or False nor names of packages, modules or classes. Give names.")
    trusted = [item if isinstance(item, str) else import_path_of(item) for item in items]
    if any(path == name or path.startswith((f"{name}.", f"{name}:")) for name in trusted):
        return
    if trusted:
        addition, hint = f", which trust does not name ({', '.join(trusted)})", f"name it, too: trust={[*trusted, shortened(path)]!r}"
    else:
        only = f"trust=[{shortened(path)!r}]"
        addition, hint = "", f"call load_student(..., {only}), which trusts only this class, trust=True, or 'dgl-mutual predict --trust'"
    raise _CustomClassError(
        f"{subject} of the class {shortened(path)!r}{addition}. Loading it imports that module, which executes it. If you trust "
        f"the file and the module, {hint}."
    )


def _load_custom(folder: Path, name: str, description: Description, options: StudentOptions, trust: Trust) -> CustomStudent:
    architecture = options.architecture_name
    if ":" in architecture:  # a name without a colon is from an installed package, which needs no trust
        _check_trust(f"The student {name!r} in {folder} is", architecture, trust)
    plug_in = _plug_in(STUDENT_REGISTRY, architecture, description.origin)
    if plug_in is not None:
        options = options.model_copy(update={"architecture": plug_in.import_path})
    try:
        with streams_kept():
            width = len(description.edge_feature_names) if options.edge_features else 0
            outputs = description.target.num_outputs
            student = CustomStudent(options, description.task, description.in_features, outputs, name, edge_features=width)
    except UsageError as error:
        raise _CustomClassError(f"{error}{_other_version(description, plug_in)}") from error
    _load_weights(folder, name, student, description, _other_version(description, plug_in))
    _warn_of_changed_code(f"the student {name!r} ({architecture})", folder, description, student, architecture)
    return student


def _plug_in(registry: Registry[Any], name: str, origin: Origin | None) -> PlugIn | None:
    """Return the item of an installed package that a student or weighting was saved as; None if there is none."""
    if origin is None or ":" in name:
        return None
    try:
        return plug_in_of(registry, name, origin)
    except UsageError as error:
        raise _CustomClassError(str(error)) from None


def _other_version(description: Description, plug_in: PlugIn | None) -> str:
    """Return a sentence if the installed version of a package is not the one that a model was saved with."""
    if plug_in is None or description.origin is None or plug_in.package == description.origin.package:
        return ""
    return f" It was saved with the package {description.origin.package}, and {plug_in.package} is installed."


def _warn_of_changed_code(
    subject: str, folder: Path, description: Description, module: CohortMember | Coordinator, name: str | None = None
) -> None:
    """Warn if custom code has changed since the files were saved; for `name` see `digest_of_code`."""
    before, now = description.code, digest_of_code(module, name)
    if before is not None and now is not None and before != now:
        warn(
            f"The code of {subject} has changed since it was saved in {folder}. Its predictions come from the present code with the saved "
            "weights. Restore the former code, or train it again."
        )


def _check_size(weights: Path, options: StudentOptions) -> None:
    """Refuse a width that the file cannot hold: some of DGL's layers allocate memory when they are created, before weights are read."""
    least = ARCHITECTURES[options.architecture_name].fewest_weights(options.hidden)
    if weights.is_file() and least > max(weights.stat().st_size, 1 << 20):
        raise ValueError(f"hidden = {options.hidden}, and {weights.stat().st_size} bytes of weights")


def _read_description(path: Path) -> Description:
    try:
        values = read_json(read_bytes(path, MAX_DESCRIPTION))
    except FileNotFoundError:
        raise DataError(f"There is no checkpoint description {path}. Point to a .safetensors file or a folder that `save` wrote.") from None
    except PermissionError:
        raise DataError(unreadable(path)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}). The file is damaged; save the student again.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise DataError(f"{path} has no 'format: {FORMAT}': it was not written by this version of dgl_mutual. Save the student again.")
    _check_installed(values)
    try:
        return Description.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            raise DataError(
                f"{path} has {shortened(place)!r}, which this version of dgl_mutual does not know: a later version has probably written "
                "it, or it was edited. Load it with that version, or save the student again."
            ) from None
        raise _foreign(path, f"{place}: {plain_message(fault)}, found {shortened(fault['input'], most=80)!r}") from None


def _check_installed(values: Mapping[str, Any]) -> None:
    """Refuse a student or weighting whose package is not installed, before its name is reported as unknown."""
    try:
        origin = Origin.model_validate(values.get("origin"))
        for registry, part, key in ((STUDENT_REGISTRY, "student", "architecture"), (WEIGHTING_REGISTRY, "coordinator", "weighting")):
            if values.get(part) is not None:
                _plug_in(registry, str(values[part][key]), origin)
    except (ValidationError, LookupError, TypeError):  # it has no origin, or is wrong in other ways
        return


def _foreign(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a description that dgl_mutual wrote ({shortened(reason)}). Save the student again, or point to another checkpoint."
    )


def _check_saved_together(folder: Path, cohort_of: Mapping[str, str | None]) -> None:
    """Refuse files of different cohorts. Weights without a cohort were written by other tools, and are accepted."""
    if len({cohort for cohort in cohort_of.values() if cohort is not None}) > 1:
        raise DataError(
            f"{' and '.join(cohort_of)} in {folder} were saved with different cohorts. Saving was interrupted, or files were copied from "
            "elsewhere: save the cohort again, or copy all of its files."
        )


def _has_custom_code(module: StudentModule | Coordinator) -> bool:
    """Whether a student or a weighting is custom."""
    return any(map(is_custom, module.task_coordinators())) if isinstance(module, Coordinator) else module.custom_module is not None


def _load_weights(folder: Path, name: str, module: StudentModule | Coordinator, description: Description, hint: str = "") -> None:
    """Load the weights of a module that has only shapes, so that a description of terabytes is never allocated.

    Args:
        hint: last sentence of the message on weights that do not fit.
    """
    path = folder / f"{name}.safetensors"
    try:
        check_regular(path)
        with safetensors.safe_open(path, "pt") as opened:
            cohort = (opened.metadata() or {}).get("cohort")
        weights = load_file(path)
        dtypes = {value.dtype for value in weights.values() if value.is_floating_point()}
        if len(dtypes) > 1 or not dtypes <= set(_DTYPES):
            raise ValueError(f"numbers of the types {', '.join(sorted(map(str, dtypes)))}")
        for key, expected in module.state_dict().items():  # PyTorch only compares shapes
            if key in weights and weights[key].dtype not in (_DTYPES if expected.is_floating_point() else (expected.dtype,)):
                raise ValueError(f"{key} has the type {weights[key].dtype}")
        # A buffer of a custom module may be infinite, such as the initial value of a lowest loss.
        checked = {key for key, _ in module.named_parameters()} if _has_custom_code(module) else weights.keys()
        if not all(value.isfinite().all() for key, value in weights.items() if key in checked):
            raise ValueError("not all of them are finite")
        # The order of torch's sums depends on memory addresses, arbitrary for loaded tensors: copies predict as saved, to the bit.
        module.load_state_dict({key: value.clone() for key, value in weights.items()}, assign=True)
    except FileNotFoundError:
        raise DataError(f"There are no weights {path}: a checkpoint is a .json and a .safetensors side by side. Copy both.") from None
    except PermissionError:
        raise DataError(unreadable(path)) from None
    except (safetensors.SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"The weights {path} cannot be used ({shortened(error)}). They are damaged or belong to another student.{hint}"
        ) from error
    _check_saved_together(folder, {f"{name}.json": description.cohort, path.name: cohort})
