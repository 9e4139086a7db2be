"""The members of a cohort: first their options, then the modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from dgl_mutual.cohort import MEMBER_NAME, RESERVED_NAMES, student_names
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.architectures import runs_on_dgl
from dgl_mutual.nn.dgl_graphs import check_device
from dgl_mutual.nn.module import CohortMember
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import resolve_student
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.training.checked_strategy import extra_members
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.distributed.sync_batch_norm import share_batch_norm
from dgl_mutual.training.inputs import Inputs
from dgl_mutual.training.method import Method
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.seeds import TrialSeed


def resolve_members(method: Method, dataset: Dataset, device: torch.device) -> dict[str, StudentOptions]:
    """Return the resolved options of all members by name: of the students, and of the members that the strategy adds.

    Raises:
        UsageError: see `resolve_student` and `check_device`; or a strategy adds a member whose name is taken, or cannot be the name of a
            file.
    """
    students, strategy = method.students, method.strategy.name
    extras = extra_members(method.strategy, method.options, students)
    for name, extra in extras:
        if not MEMBER_NAME.fullmatch(name):
            raise UsageError(
                f"Strategy {strategy!r} adds a member {name!r}, which cannot be a part of the name of a file. Use letters, "
                "digits, '_', '-' and '.', and begin with a letter or digit."
            )
        if extra.edge_features and not any(student.edge_features for student in students):
            raise UsageError(
                f"The member {name!r} of the strategy {strategy!r} takes edge features, and no student does. Turn them on for a "
                "student of a dataset that has them, or leave edge_features out of the strategy's options."
            )
    resolved = [
        *students,
        *(resolve_student(extra, dataset.task, has_edge_features=dataset.edge_features is not None) for _, extra in extras),
    ]
    names = (*student_names(resolved[: len(students)]), *(name for name, _ in extras))
    taken = (*names, *RESERVED_NAMES)
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise UsageError(f"Strategy {strategy!r} adds members under names that are taken: {', '.join(twice)}. Give each its own.")
    for name, member in zip(names, resolved, strict=True):
        if runs_on_dgl(member):
            check_device(device, name)
    return dict(zip(names, resolved, strict=True))


def check_members(members: Iterable[StudentOptions], training: TrainingOptions) -> None:
    """Refuse built-in members that do not fit the options of training.

    Args:
        members: resolved options.

    Raises:
        UsageError: a late starter in a training of one epoch, or a member with noise that would depend on which nodes are sampled together.
    """
    for member in (member for member in members if not member.is_custom):
        if member.starts_after is not None and training.epochs < 2:
            raise UsageError(
                f"starts_after = {member.starts_after:g} of {member.architecture_name} needs an epoch to wait and one to learn, and "
                f"training.epochs = {training.epochs}. Leave it out, or train for longer."
            )
        if member.feature_noise is not None and training.sampler is not None:
            raise UsageError(
                f"feature_noise of {member.architecture_name} is the same for a node in each evaluation on the whole graph, and would "
                "depend on which nodes are sampled together. Leave it out, or leave out --sampler."
            )


def make_members(
    members: Mapping[str, StudentOptions],
    inputs: Inputs,
    setting: Setting,
    *,
    seed: TrialSeed,
    placement: Placement,
) -> list[CohortMember]:
    """Create the modules of members with resolved options; each draws its initial weights from its own stream.

    Raises:
        UsageError: see `CustomStudent` and its `check_weights`.
    """
    modules = []
    for index, (name, member) in enumerate(members.items()):
        with seed.seeded_globally("initialisation", part=(index,)):
            module = inputs.student(member, setting, name)
            module.check_weights()
            modules.append(module.to(placement.device, placement.dtype))
            share_batch_norm(modules[-1], placement.ranks, name)
    return modules
