"""Registry of weightings, and the names that authors of weightings import.

A weighting is a file in this folder, which is found automatically, or a class elsewhere, which is named by its import path or by an entry
point of a package (group ``dgl_mutual.weightings``; see `dgl_mutual.registry`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dgl_mutual.coordinator import Coordinator, CoordinatorConfig, PerTask, Weighting, WeightingOptions
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.custom_modules import cause_of_equal_weights, fault_of_state
from dgl_mutual.options import fault_of_options, parse_options
from dgl_mutual.registry import Registry, made_by, subclass_of, subclasses_in
from dgl_mutual.utils.custom_code import errors_attributed_to, is_custom
from dgl_mutual.utils.torch_settings import settings_kept

__all__ = ["WEIGHTINGS", "WEIGHTING_REGISTRY", "CoordinatorConfig", "Weighting", "WeightingOptions", "make_coordinator"]

#: name -> class, in alphabetical order.
WEIGHTINGS: dict[str, type[Weighting]] = subclasses_in(__name__, __path__, Weighting)


def _fault(value: Any) -> str | None:
    fault = (
        subclass_of(Weighting, "dgl_mutual.Weighting")(value)
        or made_by(value, "weightings", ("options", "config"))
        or fault_of_options(value, WeightingOptions, "dgl_mutual.weightings.WeightingOptions")
    )
    if fault is None and value.Options.search_space:
        return f"has options {value.Options.__name__} with a search_space, and options of a weighting are not searched. Leave it out."
    return fault


#: Finds a weighting by name, import path or class.
WEIGHTING_REGISTRY: Registry[type[Weighting]] = Registry("weighting", WEIGHTINGS, _fault, group="dgl_mutual.weightings")


def make_coordinator(config: CoordinatorConfig) -> Coordinator:
    """Make the coordinator of a configuration, with fresh weights; for several tasks, one for each.

    Raises:
        UsageError: an unknown weighting, unknown options, or a setting that the weighting does not support.
    """
    if config.tasks is not None:
        coordinators = [
            make_coordinator(replace(config, num_outputs=width, tasks=None, multi_label=(multi_label,)))
            for width, multi_label in zip(config.tasks, config.multi_label or (False,) * len(config.tasks), strict=True)
        ]
        return PerTask(coordinators, config.tasks, config)
    weighting_class = WEIGHTING_REGISTRY.resolve(config.weighting)
    options = parse_options(weighting_class.Options, config.options, "strategy_options.weighting_options")
    title = f"The weighting {weighting_class.__name__!r}"

    def make() -> Weighting:
        with errors_attributed_to(title, weighting_class, "cannot be made"), settings_kept():
            return weighting_class(options, config)

    weighting = make()
    if not isinstance(getattr(weighting, "config", None), CoordinatorConfig):
        raise UsageError(f"{title} does not call super().__init__(options, config) in its __init__. Do so first.")
    if is_custom(weighting_class):
        if fault := fault_of_state(weighting):
            raise UsageError(f"{title} {fault}")
        if cause_of_equal_weights(weighting, make) in ("kept", "seeded"):
            raise UsageError(
                f"{title} has the same weights each time it is made, so that all seeds would start with them. Make them in its __init__, "
                "and set no seed there (torch.manual_seed)."
            )
    return weighting
