"""Conversion between weights of our students and those of torch_geometric, in both directions.

Ours, in ``convolutions.<layer>.``        reference, in ``convs.<layer>.``

gcn   ``weight`` (F_in, F_out)              ``lin.weight``, transposed
      ``bias``                              ``bias``
sage  ``self_weight``                       ``lin_r.weight``, transposed
      ``neighbour_weight``                  ``lin_l.weight``, transposed
      ``bias``                              ``lin_l.bias``
gin   ``weight`` (F_in, hidden)             ``nn.first.weight``, transposed
      ``bias``                              ``nn.first.bias``
      ``eps``, ``norm.*``, ``last.*``       ``eps``, ``nn.norm.*``, ``nn.last.*``
gat   ``weight`` (F_in, heads * width)      ``lin.weight``, transposed
      ``attention_source``                  ``att_src``, with a leading axis of 1
      ``attention_destination``             ``att_dst``, with a leading axis of 1
      ``bias``                              ``bias``

With edge features, additionally:

gcn   ``edge_weight`` (D, hidden)           ``edge.weight``, transposed
      ``root``, ``last.*``                  ``root``, ``last.*``
sage  ``messages.encoder`` (F_in, hidden)   ``encoder.weight``, transposed
gin   ``messages.weight`` (D, hidden)       ``lin.weight``, transposed
      ``messages.bias``                     ``lin.bias``
gat   ``edge_weight`` (D, heads * width)    ``lin_edge.weight``, transposed
      ``attention_edge``                    ``att_edge``, with a leading axis of 1

With residual connections, in ``residuals.<layer>.`` of both sides: ``weight`` (F_in, hidden), transposed, and ``bias``.

Norms between layers (``norms.<layer>.*``), the virtual node (``virtual_node.*``), the classifier (``classifier.*``), the read-out of the
input (``input_readout.*``) and the coordinator have the same names on both sides.
Every rule is linear, so gradients map like weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """A weight of ours, its counterpart in the reference, and the conversions between them."""

    ours: str
    reference: str
    to_reference: Callable[[Tensor], Tensor]
    to_ours: Callable[[Tensor], Tensor]


def _same(ours: str, reference: str) -> Rule:
    return Rule(ours, reference, lambda weight: weight, lambda weight: weight)


def _transposed(ours: str, reference: str) -> Rule:
    return Rule(ours, reference, torch.t, torch.t)


def _unsqueezed(ours: str, reference: str) -> Rule:
    return Rule(ours, reference, lambda weight: weight.unsqueeze(0), lambda weight: weight.squeeze(0))


_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

_MESSAGES = (
    _transposed("messages.encoder", "encoder.weight"),
    _transposed("messages.weight", "lin.weight"),
    _same("messages.bias", "lin.bias"),
)

#: architecture -> its rules, one for each weight of a layer.
RULES: dict[str, tuple[Rule, ...]] = {
    "gcn": (
        _transposed("weight", "lin.weight"),
        _same("bias", "bias"),
        _transposed("edge_weight", "edge.weight"),
        _same("root", "root"),
        _same("last.weight", "last.weight"),
        _same("last.bias", "last.bias"),
    ),
    "sage": (
        _transposed("self_weight", "lin_r.weight"),
        _transposed("neighbour_weight", "lin_l.weight"),
        _same("bias", "lin_l.bias"),
        *_MESSAGES,
    ),
    "gin": (
        _transposed("weight", "nn.first.weight"),
        _same("bias", "nn.first.bias"),
        _same("eps", "eps"),
        *(_same(f"norm.{part}", f"nn.norm.{part}") for part in _NORM),
        _same("last.weight", "nn.last.weight"),
        _same("last.bias", "nn.last.bias"),
        *_MESSAGES,
    ),
    "gat": (
        _transposed("weight", "lin.weight"),
        _unsqueezed("attention_source", "att_src"),
        _unsqueezed("attention_destination", "att_dst"),
        _transposed("edge_weight", "lin_edge.weight"),
        _unsqueezed("attention_edge", "att_edge"),
        _same("bias", "bias"),
    ),
}


#: Rules of a residual map, for any architecture.
_RESIDUAL_RULES = (_transposed("weight", "weight"), _same("bias", "bias"))


def to_reference(architecture: str, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights (or gradients) of our student, by name, to those of a `ReferenceStudent`.

    Raises:
        KeyError: a weight without a rule.
    """
    rules = {(prefix, rule.ours): (their_prefix, rule.reference, rule.to_reference) for prefix, their_prefix, rule in _rules(architecture)}
    return _mapped(ours, rules)


def to_ours(architecture: str, reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights (or gradients) of a `ReferenceStudent`, by name, to those of our student.

    Raises:
        KeyError: a weight without a rule.
    """
    rules = {(their_prefix, rule.reference): (prefix, rule.ours, rule.to_ours) for prefix, their_prefix, rule in _rules(architecture)}
    return _mapped(reference, rules)


def _rules(architecture: str) -> Iterator[tuple[str, str, Rule]]:
    """Yield the name prefixes of each rule's weights, ours and the reference's, and the rule."""
    for rule in RULES[architecture]:
        yield "convolutions", "convs", rule
    for rule in _RESIDUAL_RULES:
        yield "residuals", "residuals", rule


def _mapped(
    weights: Mapping[str, Tensor], rules: Mapping[tuple[str, str], tuple[str, str, Callable[[Tensor], Tensor]]]
) -> dict[str, Tensor]:
    """Convert weights ``<prefix>.<layer>.<name>`` to their counterparts; those without a rule for ``<prefix>`` stay as they are.

    Args:
        rules: (prefix, name) -> prefix and name of the counterpart, and the conversion of the weight.
    """
    prefixes = {prefix for prefix, _ in rules}
    mapped = {}
    for path, weight in weights.items():
        prefix, _, rest = path.partition(".")
        if prefix in prefixes:
            layer, _, name = rest.partition(".")
            new_prefix, new_name, convert = rules[prefix, name]
            mapped[f"{new_prefix}.{layer}.{new_name}"] = convert(weight)
        else:
            mapped[path] = weight
    return mapped
