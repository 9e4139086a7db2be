"""Which weight of ours is which of torch_geometric's, in both directions.

Ours, in ``convolutions.<layer>.``        reference, in ``convs.<layer>.``

gcn   ``weight`` (F_in, F_out)              ``lin.weight``, transposed
      ``bias``                              ``bias``
sage  ``weight`` = [W_self, W_neighbours]   ``lin_r.weight`` and ``lin_l.weight``, both transposed
      ``bias``                              ``lin_l.bias``
gin   ``weight`` (F_in, hidden)             ``nn.first.weight``, transposed
      ``bias``                              ``nn.first.bias``
      ``eps``, ``norm.*``, ``last.*``       ``eps``, ``nn.norm.*``, ``nn.last.*``
gat   ``weight`` (F_in, heads * width)      ``lin.weight``, transposed
      ``attention_source``                  ``att_src``, with a leading axis of 1
      ``attention_destination``             ``att_dst``, with a leading axis of 1
      ``bias``                              ``bias``

Batch norms between layers (``norms.<layer>.*``), the classifier (``classifier.*``) and the coordinator have the same names on both sides.
Every rule is linear, so gradients map like weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_OURS, _REFERENCE = "convolutions", "convs"


@dataclass(frozen=True)
class Rule:
    """One weight of ours and the weights of the reference that hold the same numbers."""

    ours: str
    reference: tuple[str, ...]
    split: Callable[[Tensor], Sequence[Tensor]]
    join: Callable[[Sequence[Tensor]], Tensor]


def _same(ours: str, reference: str) -> Rule:
    return Rule(ours, (reference,), lambda weight: [weight], lambda weights: weights[0])


def _transposed(ours: str, reference: str) -> Rule:
    return Rule(ours, (reference,), lambda weight: [weight.t()], lambda weights: weights[0].t())


def _unsqueezed(ours: str, reference: str) -> Rule:
    return Rule(ours, (reference,), lambda weight: [weight.unsqueeze(0)], lambda weights: weights[0].squeeze(0))


_SELF_AND_NEIGHBOURS = Rule(
    "weight",
    ("lin_r.weight", "lin_l.weight"),
    lambda weight: [half.t() for half in weight.chunk(2, dim=1)],
    lambda weights: torch.cat([half.t() for half in weights], dim=1),
)
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

#: architecture -> its rules, each about one weight of one layer.
RULES: dict[str, tuple[Rule, ...]] = {
    "gcn": (_transposed("weight", "lin.weight"), _same("bias", "bias")),
    "sage": (_SELF_AND_NEIGHBOURS, _same("bias", "lin_l.bias")),
    "gin": (
        _transposed("weight", "nn.first.weight"),
        _same("bias", "nn.first.bias"),
        _same("eps", "eps"),
        *(_same(f"norm.{part}", f"nn.norm.{part}") for part in _NORM),
        _same("last.weight", "nn.last.weight"),
        _same("last.bias", "nn.last.bias"),
    ),
    "gat": (
        _transposed("weight", "lin.weight"),
        _unsqueezed("attention_source", "att_src"),
        _unsqueezed("attention_destination", "att_dst"),
        _same("bias", "bias"),
    ),
}


def to_reference(architecture: str, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights (or gradients) of one of our students, by name, as those of a `ReferenceStudent`.

    Raises:
        KeyError: a weight that no rule knows.
    """
    rules = {rule.ours: rule for rule in RULES[architecture]}
    mapped: dict[str, Tensor] = {}
    for name, weight in ours.items():
        layer, rest = _within_layer(name, _OURS)
        if layer is None:
            mapped[name] = weight
        else:
            rule = rules[rest]
            mapped.update({f"{_REFERENCE}.{layer}.{part}": value for part, value in zip(rule.reference, rule.split(weight), strict=True)})
    return mapped


def to_ours(architecture: str, reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights (or gradients) of a `ReferenceStudent`, by name, as those of one of our students.

    Raises:
        KeyError: a weight that no rule knows, or one half of a weight without the other.
    """
    rules = {part: rule for rule in RULES[architecture] for part in rule.reference}
    mapped: dict[str, Tensor] = {}
    for name, weight in reference.items():
        layer, rest = _within_layer(name, _REFERENCE)
        if layer is None:
            mapped[name] = weight
        else:
            rule = rules[rest]
            mapped[f"{_OURS}.{layer}.{rule.ours}"] = rule.join([reference[f"{_REFERENCE}.{layer}.{part}"] for part in rule.reference])
    return mapped


def _within_layer(name: str, room: str) -> tuple[str | None, str]:
    """``("0", "lin.weight")`` of ``"convs.0.lin.weight"``; no layer for a weight outside the convolutions."""
    first, _, rest = name.partition(".")
    if first != room:
        return None, name
    layer, _, rest = rest.partition(".")
    return layer, rest
