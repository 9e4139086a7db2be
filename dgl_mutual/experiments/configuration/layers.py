"""Layers of a configuration (recipes, files, flags, Python) as nested mappings, and the rules by which one overrides another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from dgl_mutual.errors import UsageError
from dgl_mutual.store.configuration import Role, keys_of
from dgl_mutual.strategies import STRATEGY_REGISTRY, resolve_strategy
from dgl_mutual.utils.imports import is_import_path
from dgl_mutual.utils.plain_yaml import MAX_DEPTH, read_yaml
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import assignments

DEFAULT_STRATEGY = "gml"
#: Groups of options in a configuration, with an example of each.
_GROUPS: dict[str, dict[str, Any]] = {
    "student": {"hidden": 32},
    "strategy_options": {"weight": 0.5},
    "training": {"epochs": 50},
    "distill": {"hidden": 64},
    "grid": {"training.epochs": [50, 100]},
}
#: Keys that determine the fingerprint.
_FINGERPRINTED = [key for key in keys_of(Role.DATA, Role.POOL) if key != "fingerprint"]


def parse_assignment(text: str) -> dict[str, Any]:
    """Parse ``"training.epochs=50"`` into ``{"training": {"epochs": 50}}``; the value is YAML. Keys of a grid stay dotted.

    Raises:
        UsageError: the text is not of the form KEY=VALUE.
    """
    path, equals, value = text.partition("=")
    if not equals or not all(path.strip().split(".")):
        raise UsageError(f"Cannot set {text!r}: the form is KEY=VALUE, for example training.epochs=50.")
    try:
        values = read_yaml(value)
    except yaml.YAMLError:
        raise UsageError(f"Cannot set {path!r} to {value!r}: the value is not YAML. Quote it, for example {path}='\"...\"'.") from None
    group, _, key = path.strip().partition(".")
    return {"grid": {key: values}} if group == "grid" and key else nest(path.strip(), values)  # a grid has dotted keys


def from_command_line(flags: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """The layer of configuration that a command line sets.

    Args:
        flags: dotted key -> value of its flag; None if the flag was not given.
        texts: the assignments of --set.

    Raises:
        UsageError: see `parse_assignment`; also if the strategy is a mapping of options, or if a key has two values, for example
            --epochs 3 --set training.epochs=4.
    """
    values: dict[str, Any] = {}
    for layer in (*(nest(key, value) for key, value in flags.items() if value is not None), *map(parse_assignment, texts)):
        _refuse_options_for_a_strategy(layer)
        for key, first, second in _contradictions(values, layer):
            if key == "students" and isinstance(second, Mapping):  # a single student, such as students.1, is refused by `RunConfig`
                continue
            raise UsageError(f"{key} was given twice, as {first!r} and as {second!r}. Leave out one of them.")
        values = merge(values, layer)
    return values


def _refuse_options_for_a_strategy(layer: Mapping[str, Any]) -> None:
    """Raise `UsageError` if the strategy of a layer is a mapping of options."""
    options = layer.get("strategy")
    if isinstance(options, Mapping):
        known = STRATEGY_REGISTRY.names()
        # The name is a key with the options below it, or the value of a key such as ``name``.
        strategy = next((text for text in (*options, *options.values()) if isinstance(text, str) and text in known), None)
        inner = options.get(strategy) if strategy is not None else None
        meant = inner if isinstance(inner, Mapping) else {key: value for key, value in options.items() if strategy not in (key, value)}
        name = next(iter(meant), "weight")
        raise UsageError(
            f"The strategy is {dict(options)!r:.200}, a mapping, but it must be a name. Give its options as 'strategy_options', for "
            f"example strategy_options.{name}={meant.get(name, 1)}, and its name, for example strategy={strategy or DEFAULT_STRATEGY}."
        )


def _contradictions(first: Mapping[str, Any], second: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in second:
        if key not in first:
            continue
        before, now = first[key], second[key]
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from _contradictions(before, now, f"{above}{key}.")
        elif before != now:
            yield f"{above}{key}", before, now


def nest(path: str, value: Any) -> dict[str, Any]:
    """Turn ``("training.epochs", 50)`` into ``{"training": {"epochs": 50}}``.

    Raises:
        UsageError: more levels than any configuration has.
    """
    keys = path.split(".")
    if len(keys) > MAX_DEPTH:
        raise UsageError(f"The key {path[:40] + '...'!r} has {len(keys)} levels, but a configuration has at most {MAX_DEPTH}. Correct it.")
    for key in reversed(keys):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def unflatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"training.epochs": 50, "seeds": 3}`` into ``{"training": {"epochs": 50}, "seeds": 3}``.

    Raises:
        UsageError: see `nest`.
    """
    return merge(*(nest(path, value) for path, value in values.items()))


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge layers recursively, each overriding those before it."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def combine_layers(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Combine layers of a configuration, each overriding those before it.

    A layer that changes the strategy removes the options of the former strategy, with a warning; a layer that changes the weighting removes
    those of the former weighting. A layer that changes the data or the pool removes the fingerprint, and one that sets an option removes it
    from a former grid.

    Raises:
        UsageError: a group of options is not a mapping, or the strategy is one.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        _refuse_options_for_a_strategy(layer)
        for key, example in _GROUPS.items():  # a later layer would silently replace other values
            if layer.get(key) is not None and not isinstance(layer[key], Mapping):
                other = " (students names architectures)" if key == "student" else ""
                raise UsageError(
                    f"Option {key!r} = {layer[key]!r:.200}: a mapping from names to values is needed, for example {example}{other}."
                )
        before, now = values.get("strategy"), layer.get("strategy")
        if now is not None and before is None:
            values = _without_options_of_the_default(values, now)
        elif now is not None and now != before:
            values = _without_strategy_options(values, str(before), str(now))
        values = _without_grid_over(_without_weighting_options(values, layer), layer)
        if any(key in layer and layer[key] != values.get(key) for key in _FINGERPRINTED):
            values = {key: value for key, value in values.items() if key != "fingerprint"}
        values = merge(values, layer)
    return values


def _without_grid_over(values: dict[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the options that a later layer sets from the grid of earlier layers."""
    grid = values.get("grid")
    if not isinstance(grid, Mapping):
        return values
    remaining = {key: choices for key, choices in grid.items() if value_at(layer, str(key)) is None}
    return values if len(remaining) == len(grid) else {**values, "grid": remaining or None}


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key of nested mappings; None if there is none."""
    value: Any = values
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _without_strategy_options(values: dict[str, Any], before: str, now: str) -> dict[str, Any]:
    options, grid = values.get("strategy_options") or {}, values.get("grid") or {}
    varied = [key for key in grid if key.startswith("strategy_options.")]
    if not options and not varied:
        return values
    described = [*([assignments(options)] if options else []), *(f"grid over {key.partition('.')[2]}" for key in varied)]
    warn(f"Options of {before} that {now} does not take over: {', '.join(described)}.")
    rest = {key: choices for key, choices in grid.items() if key not in varied}
    return {**values, "strategy_options": {}, "grid": rest or None}


def _without_options_of_the_default(values: dict[str, Any], now: Any) -> dict[str, Any]:
    """Options given without a strategy apply to a strategy named later. Those that only the default strategy has are removed."""
    options = values.get("strategy_options")
    if not isinstance(options, Mapping) or not options or not isinstance(now, str) or is_import_path(now) or now == DEFAULT_STRATEGY:
        return values
    known, default = (set(resolve_strategy(name).Options.model_fields) for name in (now, DEFAULT_STRATEGY))
    dropped = {key: value for key, value in options.items() if key in default - known}
    if dropped:
        warn(f"Options of {DEFAULT_STRATEGY} that {now} does not take over: {assignments(dropped)}.")
    return {**values, "strategy_options": {key: value for key, value in options.items() if key not in dropped}}


def _without_weighting_options(values: dict[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the options of a weighting that a later layer replaces."""
    options, later = values.get("strategy_options"), layer.get("strategy_options")
    if not isinstance(options, Mapping) or not isinstance(later, Mapping) or not options.get("weighting_options"):
        return values
    before, now = options.get("weighting"), later.get("weighting")
    if before is None or now is None or now == before:
        return values
    warn(f"Options of the weighting {before} that {now} does not take over: {assignments(options['weighting_options'])}.")
    return {**values, "strategy_options": {key: value for key, value in options.items() if key != "weighting_options"}}
