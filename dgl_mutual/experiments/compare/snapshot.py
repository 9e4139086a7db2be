"""Parity at the same weights: logits, loss terms and gradients."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.compare.checks import (
    BOUNDS,
    PRECISIONS,
    Check,
    difference,
    gradients_difference,
    terms_difference,
    without_dropout,
)
from dgl_mutual.experiments.compare.ours import assembled
from dgl_mutual.experiments.compare.theirs import make_reference
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.trial import Trial, fit_resolved
from dgl_mutual.reference.mapping import to_ours, to_reference
from dgl_mutual.store.members import ENSEMBLE
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.step_maker import StepMaker

#: Number of our epochs before the comparison, so that running statistics and weights have realistic values.
_WARMUP_EPOCHS = 3
#: Standard deviation of the noise that is then added to each weight.
_PERTURBATION = 0.05


def certify_numbers(trial: Trial, config: RunConfig, dataset: Dataset) -> list[Check]:
    """Compare logits, loss terms and gradients of both sides on the full graph or one batch, at the weights after a few epochs plus noise.

    Initial weights, with zero biases, unit norms and uniform coordinators, would hide mistakes.
    """
    config = without_dropout(config, _WARMUP_EPOCHS)
    cohort = fit_resolved(trial, config, dataset, placement=Placement(dtype=torch.float64)).cohort
    plain = config.training.model_copy(update={"scale_inputs": False, "average": "none"})  # the trained cohort takes unscaled features
    config = config.model_copy(update={"training": plain})
    generator = trial.trial_seed.generator("compare")
    with torch.no_grad():
        for parameter in cohort.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=_PERTURBATION)
    return [check for precision in PRECISIONS for check in _check_numbers(trial, config, dataset, cohort, precision)]


def _check_numbers(trial: Trial, config: RunConfig, dataset: Dataset, cohort: Cohort, precision: str) -> list[Check]:
    dtype, bound = PRECISIONS[precision], BOUNDS[precision]
    cohort = copy.deepcopy(cohort).to(dtype)
    theirs, there_and_back = _their_numbers(trial, config, dataset, cohort)
    ours = _our_numbers(trial, config, dataset, cohort)
    checks = [
        Check(name, "weights there and back", precision, difference(torch.tensor(float(same)), torch.tensor(1.0)), 0.0)
        for name, same in zip(cohort.names, there_and_back, strict=True)
    ]

    def compare(quantity: str, members: Sequence[str], mine: Sequence[Tensor], reference: Sequence[Tensor]) -> None:
        for name, a, b in zip(members, mine, reference, strict=True):
            checks.append(Check(name, quantity, precision, difference(a, b), bound))

    compare("logits, training", cohort.names, ours.logits, theirs.logits)
    compare("logits, evaluation", (*cohort.names, ENSEMBLE), ours.clean, theirs.clean)
    for name, apart in terms_difference(ours.terms, theirs.terms).items():
        term, _, member = name.partition("/")
        checks.append(Check(member or "coordinator", f"loss: {term}", precision, apart, bound))
    for name, mine, reference in zip((*cohort.names, "coordinator"), ours.gradients, theirs.gradients, strict=True):
        if mine:
            checks.append(Check(name, "gradients", precision, gradients_difference(mine, reference), bound))
    return checks


@dataclass(frozen=True, eq=False)
class _Numbers:
    """The numbers of one side.

    Attributes:
        logits: logits of each student in training mode.
        clean: logits of each student and, last, of the ensemble in evaluation mode.
        terms: named loss terms.
        gradients: gradients of each student and, last, of the coordinator, in the reference's layout.
    """

    logits: Sequence[Tensor]
    clean: Sequence[Tensor]
    terms: Mapping[str, float]
    gradients: Sequence[Mapping[str, Tensor]]


def _our_numbers(trial: Trial, config: RunConfig, dataset: Dataset, trained: Cohort) -> _Numbers:
    state, feed = assembled(trial, config, dataset, next(trained.parameters()).dtype)
    cohort, strategy = state.cohort, state.strategy
    cohort.load_state_dict(trained.state_dict())
    batch = next(iter(feed.training_batches()))
    cohort.eval()
    with torch.no_grad():
        clean = torch.stack([output.logits for output in cohort(batch.batch)])
        ensemble = cohort.ensemble_logits(clean, batch.samples)
    state.clean.latest[:, batch.index] = clean
    state.clean.keep()
    cohort.train()
    step = StepMaker.of(state).step(range(len(cohort)), batch, _after_warmup(config))
    terms = strategy.loss_terms(step)
    cohort.zero_grad()
    torch.cat([term.reshape(-1) for term in terms.values()]).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
    named: dict[str, float] = {}
    for term, value in terms.items():
        names = [term] if value.dim() == 0 else [f"{term}/{name}" for name in cohort.names]
        named.update(zip(names, value.reshape(-1).tolist(), strict=True))
    gradients = [to_reference(student.options.architecture_name, _gradients(student)) for student in cohort.members]
    return _Numbers(list(step.logits.detach()), [*clean, ensemble], named, [*gradients, _gradients(strategy.coordinator)])


def _after_warmup(config: RunConfig) -> int:
    """The first epoch with full exchange."""
    return sum(config.strategy_options.get("exchange_warmup", ()))


def _their_numbers(trial: Trial, config: RunConfig, dataset: Dataset, cohort: Cohort) -> tuple[_Numbers, list[bool]]:
    """The reference's numbers at the cohort's weights, and whether the weights of each student survive the round trip."""
    dtype = next(cohort.parameters()).dtype
    architectures = [student.architecture_name for student in config.students]
    states = [student.state_dict() for student in cohort.members]
    mapped = [to_reference(architecture, state) for architecture, state in zip(architectures, states, strict=True)]
    weights = [*mapped, cohort.coordinator.state_dict()]
    reference = make_reference(config, dataset, trial.split, seed=trial.seed, fold=trial.fold, dtype=dtype, weights=weights)
    back = [to_ours(architecture, student.state_dict()) for architecture, student in zip(architectures, reference.students, strict=True)]
    same = [
        mine.keys() == state.keys() and all(torch.equal(mine[key], state[key]) for key in mine)
        for mine, state in zip(back, states, strict=True)
    ]
    reference.epoch = _after_warmup(config)
    data = next(iter(reference.train_loader))
    reference.students.eval()
    with torch.no_grad():
        clean = reference.forward(data)
        reference.clean[:, data.sample] = torch.stack(clean)
        reference.average.copy_(reference.clean)
        ensemble = reference.ensemble_logits(data.sample)
    reference.students.train()
    logits = reference.forward(data)
    terms = reference.loss_terms(data, logits)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
    values = {name: value.item() for name, value in terms.items()}
    gradients = [_gradients(module) for module in (*reference.students, reference.coordinator)]
    return _Numbers(logits, [*clean, ensemble], values, gradients), same


def _gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in module.named_parameters()}
