"""Writing trained students to files."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from pydantic_core import PydanticSerializationError
from safetensors.torch import save
from torch import Tensor, nn

from dgl_mutual.cohort import MEMBER_NAME, Cohort
from dgl_mutual.coordinator import Coordinator
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.nn.architectures import STUDENT_REGISTRY, make_custom
from dgl_mutual.nn.mlp import MLP
from dgl_mutual.nn.module import CohortMember
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import unserializable_key
from dgl_mutual.store.members import ENSEMBLE, MLP_MEMBER
from dgl_mutual.training.checkpoints.models import MAX_DESCRIPTION, Description, MLPShape, Preprocessing
from dgl_mutual.training.checkpoints.origins import origin_of
from dgl_mutual.utils.code_digest import changed_since_import, code_digest
from dgl_mutual.utils.custom_code import is_custom
from dgl_mutual.utils.files import check_writable, read_bytes, replacing
from dgl_mutual.utils.plain_json import read_json
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.version import __version__
from dgl_mutual.weightings import WEIGHTING_REGISTRY


def save_cohort(cohort: Cohort, dataset: Dataset, folder: Path, mlp: MLP | None = None, *, best: str) -> None:
    """Write ``<student>.safetensors`` and ``.json`` for each student, ``ensemble.*`` for the coordinator, and ``mlp.*`` if there is an MLP.

    A cohort saved there before is replaced as a whole, once all new files are on the disk; other files in the folder are kept.

    Args:
        best: the best student on validation, which can be loaded as ``best_by_val``.

    Raises:
        UsageError: a student that could not be loaded again.
        StoreError: a file of that name exists, or the folder cannot be written.
    """
    for student in cohort.members:
        _check_portable(student.options)
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{str(folder)!r} is a file. Name a folder to save the students in.")
    check_writable(folder)
    before = _saved_names(folder)
    common = Description(
        task=dataset.task,
        dataset=dataset.name,
        target=dataset.target,
        feature_names=dataset.feature_names,
        feature_kinds=dataset.feature_kinds,
        edge_feature_names=dataset.edge_feature_names,
        edge_feature_kinds=dataset.edge_feature_kinds,
        codes_of=dataset.codes_of,
        preprocessing=Preprocessing(positions=cohort.positions),
        versions={
            "dgl_mutual": __version__,
            "torch": torch.__version__,
            "dgl": dgl.__version__,
            "safetensors": safetensors.__version__,
        },
        cohort="",  # set below, once all weights are known
    )
    students = cohort.names[: cohort.num_students]
    config = cohort.coordinator.config
    if not isinstance(config.weighting, str):
        config = replace(config, weighting=WEIGHTING_REGISTRY.name_of(config.weighting))
    without_edges = {"edge_feature_names": (), "edge_feature_kinds": ()}
    models: dict[str, tuple[nn.Module, dict[str, Any]]] = {}  # with the fields specific to each description
    for name, member in zip(cohort.names, cohort.members, strict=True):
        origin = origin_of(STUDENT_REGISTRY, member.options.architecture)
        fields = {"student": member.options, "code": digest_of_code(member), "origin": origin}
        models[name] = member, {**fields, **({} if member.edge_features else without_edges)}
    added = cohort.names[cohort.num_students :]
    ensemble = {"members": students, "added": added, "coordinator": config, "best_by_val": best}
    code, origin = digest_of_code(cohort.coordinator), origin_of(WEIGHTING_REGISTRY, config.weighting)
    models[ENSEMBLE] = cohort.coordinator, {**ensemble, "code": code, "origin": origin}
    if mlp is not None:
        shape = MLPShape(depth=len(mlp.hidden) + 2, hidden=mlp.last.in_features)
        preprocessing = Preprocessing(positions=mlp.positions)
        models[MLP_MEMBER] = mlp, {"mlp": shape, "preprocessing": preprocessing, **without_edges}
    saved = {name: (_weights_of(module), common.model_copy(update=fields)) for name, (module, fields) in models.items()}
    digest = _digest(saved)
    with ExitStack() as files:  # no file is replaced before all are written
        for name, (weights, description) in saved.items():
            _save(files, folder, name, weights, description.model_copy(update={"cohort": digest}))
    _remove(folder, before - models.keys())


def digest_of_code(module: CohortMember | Coordinator, name: str | None = None) -> str | None:
    """Return the digest of the code of a custom student or weighting. None for others, without source, and, with a warning, if the source
    was changed after it was imported.

    Args:
        name: name by which a student was selected (default: the one in its options).
    """
    if isinstance(module, Coordinator):
        custom: list[tuple[Any, str]] = [(type(weighting), "") for weighting in module.task_coordinators() if is_custom(weighting)]
    else:
        options = module.options
        custom = [(make_custom(options), name or options.architecture_name)] if module.custom_module is not None else []
    if not custom:
        return None
    digest, changed = code_digest(*custom[0]), changed_since_import(*custom[0])
    if digest is None and changed is not None:
        warn(
            f"{changed} is not what its file says: the file was changed after it was imported, or the value was replaced in this process. "
            "So it cannot be checked whether a saved student was trained by this code. Repeat this in a new process."
        )
    return digest


def _weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the weights: tied weights share memory, which safetensors refuses."""
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in module.state_dict().items()}


def _digest(saved: dict[str, tuple[dict[str, Tensor], Description]]) -> str:
    """Return a digest that identifies a cohort: a process that is killed while it replaces files may leave files of two cohorts."""
    digest = hashlib.sha256()
    for weights, description in saved.values():
        digest.update(save(weights))
        digest.update(description.model_dump_json().encode())
    return digest.hexdigest()


def _check_portable(options: StudentOptions) -> None:
    """Refuse a custom student that could not be loaded again."""
    if not isinstance(options.architecture, str):
        STUDENT_REGISTRY.name_of(options.architecture)
    try:
        options.model_dump_json()
    except PydanticSerializationError as error:
        raise UsageError(
            f"The student {options.label!r} cannot be saved: its option {unserializable_key(options)!r} is not a plain value ({error}). "
            "Give numbers, strings, lists or mappings, from which the class creates what it needs."
        ) from None


def remove_cohort(folder: Path) -> None:
    """Remove the files of `save_cohort` from a folder, if it exists; other files are kept."""
    _remove(folder, _saved_names(folder))


def _saved_names(folder: Path) -> set[str]:
    """Return the names of the files of a saved cohort; none if there is no cohort."""
    description = _read_description(folder / f"{ENSEMBLE}.json")
    if description is None:
        return set()
    listed = [name for key in ("members", "added") if isinstance(names := description.get(key, []), list) for name in names]
    return {ENSEMBLE, MLP_MEMBER, *(name for name in listed if isinstance(name, str) and MEMBER_NAME.fullmatch(name))}


def _remove(folder: Path, names: Collection[str]) -> None:
    for file in (folder / f"{name}.json" for name in names):
        weights = file.with_name(f"{file.stem}.safetensors")
        if weights.is_file() and _read_description(file) is not None:
            file.unlink()
            weights.unlink()


def _read_description(file: Path) -> dict[str, Any] | None:
    """Read the values of a description; None if the file is something else."""
    try:
        values = read_json(read_bytes(file, MAX_DESCRIPTION))
    except (OSError, ValueError, RecursionError):
        return None
    versions = values.get("versions") if isinstance(values, dict) else None
    return values if isinstance(versions, dict) and "format" in values and "dgl_mutual" in versions else None


def _save(files: ExitStack, folder: Path, name: str, weights: dict[str, Tensor], description: Description) -> None:
    metadata = description.model_dump(include={"cohort"})
    _write(weights, files.enter_context(replacing(folder / f"{name}.safetensors", durable=False)), metadata)
    described = files.enter_context(replacing(folder / f"{name}.json", durable=False))
    described.write_text(description.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")


def write_tensors(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None, *, within: Path | None = None) -> None:
    """Write a safetensors file atomically; for `within` see `replacing`.

    Raises:
        StoreError: the file cannot be written, or `within` is gone.
    """
    with replacing(file, within=within, durable=False) as temporary:
        _write(tensors, temporary, metadata)


def _write(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    """Write without `save_file`, whose temporary files remain when a process is killed and can be read only by their owner."""
    file.write_bytes(save(tensors, metadata))
