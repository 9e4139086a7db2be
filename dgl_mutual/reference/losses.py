"""Reference losses in plain torch: one function per strategy, student by student.

Symbols: z_i logits of student i (N, C), y labels, T temperature, p = softmax(z / T), or a sigmoid per label on multi-label data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_mutual.reference.coordinator import ReferenceCoordinator, weighted_sum


@dataclass(frozen=True)
class ReferenceStep:
    """The inputs of a loss.

    Attributes:
        logits: z_i with gradient, one (N, C) per student.
        targets: logits of the peers, without gradient, one (N, C) per student.
        labels, samples: labels and indices of the N samples.
        labelled, exchange: rows for the supervised term, and for the exchange.
        ramp: factor of the exchange.
        prior: the class prior (C,).
    """

    logits: Sequence[Tensor]
    targets: Sequence[Tensor]
    labels: Tensor
    samples: Tensor
    labelled: Tensor
    exchange: Tensor
    ramp: float
    prior: Tensor


def supervised(z: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, or binary cross-entropy where labels are real numbers; unknown labels (-1, NaN) are left out."""
    if y.is_floating_point():
        known = ~torch.isnan(y)
        return F.binary_cross_entropy_with_logits(z[known], y[known])
    return F.cross_entropy(z, y, ignore_index=-1)


def probabilities(z: Tensor, temperature: float, multi_label: bool) -> Tensor:
    """p(z / T)."""
    return torch.sigmoid(z / temperature) if multi_label else torch.softmax(z / temperature, dim=-1)


def divergence(target: Tensor, z: Tensor, temperature: float, multi_label: bool) -> Tensor:
    """KL(target || p(z / T)), averaged over samples (and labels)."""
    if multi_label:
        target = target.clamp(0, 1)  # a mix of probabilities may pass 1 by a rounding error
        return F.binary_cross_entropy_with_logits(z / temperature, target) - F.binary_cross_entropy(target, target)
    return F.kl_div(F.log_softmax(z / temperature, dim=-1), target, reduction="batchmean")


def entropy(z: Tensor, multi_label: bool) -> Tensor:
    """H(p(z)) of each sample, averaged over labels: (N,)."""
    if multi_label:
        per_label: Tensor = torch.distributions.Bernoulli(logits=z).entropy()  # type: ignore[no-untyped-call]  # torch's own gap
        return per_label.mean(dim=-1)
    per_sample: Tensor = torch.distributions.Categorical(logits=z).entropy()  # type: ignore[no-untyped-call]  # torch's own gap
    return per_sample


def class_prior(y: Tensor, num_outputs: int) -> Tensor:
    """(n_c + 1) / (n + C) of the known labels, or (n_1 + 1) / (n + 2) for each binary label: (C,)."""
    if y.is_floating_point():
        return torch.stack([(label[~torch.isnan(label)].double().sum() + 1) / (int((~torch.isnan(label)).sum()) + 2) for label in y.T])
    return torch.stack([((y == label).sum().double() + 1) / (int((y >= 0).sum()) + num_outputs) for label in range(num_outputs)])


def divergence_of_mean(z: Tensor, prior: Tensor, multi_label: bool) -> Tensor:
    """KL of the mean prediction from the class prior, averaged over labels: a scalar."""
    distribution_class = torch.distributions.Bernoulli if multi_label else torch.distributions.Categorical
    mean = probabilities(z, 1.0, multi_label).mean(dim=0)
    divergences: Tensor = torch.distributions.kl_divergence(distribution_class(probs=mean), distribution_class(probs=prior))
    return divergences.mean()


def independent(step: ReferenceStep, options: Mapping[str, Any], coordinator: ReferenceCoordinator) -> dict[str, list[Tensor]]:
    """loss_i = CE(z_i, y)."""
    return {"supervised": [supervised(z[step.labelled], step.labels[step.labelled]) for z in step.logits]}


def dml(step: ReferenceStep, options: Mapping[str, Any], coordinator: ReferenceCoordinator) -> dict[str, list[Tensor]]:
    """loss_i = CE(z_i, y) + lambda T^2 / (K - 1) sum_j KL(p_j || p_i)."""
    multi_label = step.labels.is_floating_point()
    mutual = []
    for i, z in enumerate(step.logits):
        terms = []
        for j, peer in enumerate(step.targets):
            if j != i:
                target = probabilities(peer[step.exchange], _target_temperature(options), multi_label)
                terms.append(divergence(target, z[step.exchange], options["temperature"], multi_label))
        mutual.append(_scale(options) * step.ramp * torch.stack(terms).mean())
    return {**independent(step, options, coordinator), "mutual": mutual}


def gml(step: ReferenceStep, options: Mapping[str, Any], coordinator: ReferenceCoordinator) -> dict[str, list[Tensor]]:
    """loss_i = CE(z_i, y) + lambda T^2 KL(t_i || p_i) - gamma H(p_i) + rho KL(mean p_i || class prior), and the coordinator's own loss.

    t_i is the coordinator's mix.
    """
    multi_label = step.labels.is_floating_point()
    terms = independent(step, options, coordinator)
    exchanged = [z[step.exchange] for z in step.logits]
    if step.ramp > 0:
        with torch.no_grad():
            peers = [z[step.exchange] for z in step.targets]
            coordinator.observe(peers)
            targets = _mixed_targets(peers, step.samples[step.exchange], options, coordinator, multi_label)
        terms["mutual"] = [
            _scale(options) * step.ramp * divergence(target, z, options["temperature"], multi_label)
            for target, z in zip(targets, exchanged, strict=True)
        ]
    if not (options["entropy_schedule"] == "warmup" and step.ramp > 0):
        everywhere = torch.arange(len(step.labels), device=step.labels.device)
        # All training samples are labelled: hidden labels are not covered.
        rows = {"exchange": step.exchange, "labelled": step.labelled, "training": step.labelled, "all": everywhere}[options["entropy_on"]]
        gamma, prior_weight = options["entropy_weight"], options["class_prior_weight"]
        rho = max(0.0, -gamma) if prior_weight is None else prior_weight
        if gamma != 0:
            terms["entropy"] = [-gamma * entropy(z[rows], multi_label).mean() for z in step.logits]
        if rho > 0:
            terms["class_prior"] = [rho * divergence_of_mean(z[rows], step.prior, multi_label) for z in step.logits]
    if list(coordinator.parameters()):
        inputs = [z.detach() for z in step.logits] if options["coordinator_inputs"] == "train" else step.targets
        labelled = step.labelled
        logits = [z[labelled] for z in inputs]
        terms["coordinator"] = [_coordinator_loss(logits, step.labels[labelled], step.samples[labelled], options, coordinator)]
    return terms


#: strategy -> its loss terms: one value per student, or a single one that they share.
LOSSES: dict[str, Callable[[ReferenceStep, Mapping[str, Any], ReferenceCoordinator], dict[str, list[Tensor]]]] = {
    "independent": independent,
    "dml": dml,
    "gml": gml,
}


def _target_temperature(options: Mapping[str, Any]) -> float:
    temperature = options["target_temperature"]
    return float(options["temperature"] if temperature is None else temperature)


def _scale(options: Mapping[str, Any]) -> float:
    squared = options["temperature"] ** 2 if options["scale_by_temperature"] else 1.0
    return float(options["weight"] * squared)


def _mixed_targets(
    peers: Sequence[Tensor], samples: Tensor, options: Mapping[str, Any], coordinator: ReferenceCoordinator, multi_label: bool
) -> list[Tensor]:
    """t_i for every student i."""
    temperature = _target_temperature(options)
    confidences = [-entropy(z, multi_label) for z in peers]
    targets = []
    for i in range(len(peers)):
        weights = coordinator.peer_weights(i, peers, confidences, samples)
        if options["mix"] == "probabilities":
            mixed = weighted_sum(weights, [probabilities(z, temperature, multi_label) for z in peers])
            targets.append(mixed if multi_label else mixed / mixed.sum(dim=-1, keepdim=True))
        else:
            targets.append(probabilities(weighted_sum(weights, peers), temperature, multi_label))
    return targets


def _coordinator_loss(
    logits: Sequence[Tensor], labels: Tensor, samples: Tensor, options: Mapping[str, Any], coordinator: ReferenceCoordinator
) -> Tensor:
    """Cross-entropy of the mixes for each student and for the ensemble, and the pull of the weights towards 1 / (K - 1)."""
    confidences = [-entropy(z, labels.is_floating_point()) for z in logits]
    weights = [coordinator.peer_weights(i, logits, confidences, samples) for i in range(len(logits))]
    ensemble_weights = coordinator.ensemble_weights(logits, confidences, samples)
    losses = [supervised(weighted_sum(of_receiver, logits), labels) for of_receiver in (*weights, ensemble_weights)]
    loss = torch.stack(losses).mean()
    if options["uniform_kl_weight"] > 0:
        peer_weights = torch.stack([torch.stack(list(of_receiver.values())) for of_receiver in weights])
        uniform = torch.full_like(peer_weights, 1 / (len(logits) - 1))
        # KL(uniform || weights) sums over the peers (dimension 1) and is averaged over receivers, samples and classes.
        pull = F.kl_div(peer_weights.clamp(min=1e-12).log(), uniform, reduction="none").sum(dim=1).mean()
        loss = loss + options["uniform_kl_weight"] * pull
    return loss
