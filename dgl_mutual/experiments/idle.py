"""Options that were asked for and have no effect."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from dgl_mutual.data.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.nn.architectures import uses_edges
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import resolve_student, without_effect
from dgl_mutual.options import OptionsType, parse_options
from dgl_mutual.search_space import Choice, SearchSpace
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.options import StrategyOptions, resolved_options
from dgl_mutual.training.strategy_calls import extra_members
from dgl_mutual.utils.user_code import blamed, is_ours
from dgl_mutual.utils.wording import kind_of


def refuse_idle(asked: RunConfig, resolved: RunConfig, searched: SearchSpace | None = None) -> None:
    """Refuse what was asked for of one run or search and has no effect on it, or warn of it. In a suite it may, on another dataset.

    Args:
        searched: what a search draws, by dotted key. Nothing is said of these options, nor of others that have an effect beside a value
            that may be drawn.

    Raises:
        UsageError: folds under a protocol that has none.
    """
    if asked.folds is not None and resolved.folds is None:
        raise UsageError(
            f"folds = {asked.folds} has no meaning under the protocol {resolved.protocol!r}, which has one split for each seed. Leave it "
            "out. Graphs have folds under the protocol nested, and a dataset with several official splits under splits."
        )
    varied = asked.grid or {}  # at another point an option may have an effect
    searched = searched or {}
    kind = resolve_strategy(resolved.strategy)
    options = parse_options(kind.Options, resolved.strategy_options, "strategy_options")
    idle: dict[str, str] = {}
    for_ensemble: dict[str, str] = {}
    if not any(key.startswith("strategy_options.") for key in varied):
        count = len(resolved.students)
        idle |= _idle_of_strategy(options, "without_effect", count, asked.strategy_options, resolved, searched)
        for_ensemble = _idle_of_strategy(options, "for_ensemble_alone", count, asked.strategy_options, resolved, searched)
    if kind.trains and not any(key.startswith("student") for key in varied):
        idle |= _idle_of_students(asked, resolved, searched)
        is_drawn = "training.edge_drop" in searched
        if resolved.training.edge_drop and not is_drawn and not any(uses_edges(student) for student in resolved.students):
            added = [member for _, member in extra_members(kind, options, resolved.students)]
            if not any(uses_edges(member) for member in added):
                idle[f"training.edge_drop = {resolved.training.edge_drop}"] = "since no member of the cohort uses edges."
        if resolved.training.unlabelled_ratio is not None and not hasattr(options, "exchange_on") and is_ours(kind):
            why = f"since students of {resolved.strategy} learn from labelled samples alone."
            idle[f"training.unlabelled_ratio = {resolved.training.unlabelled_ratio:g}"] = why
    for what, why in idle.items():
        warnings.warn(f"{what} has no effect, {why}", stacklevel=3)
    for what, why in for_ensemble.items():
        if what not in idle:
            warnings.warn(f"{what} changes the ensemble alone, {why}", stacklevel=3)


def _points(options: OptionsType, group: str, searched: SearchSpace) -> Iterator[OptionsType]:
    """A group of options as it is, and with each value that a search may draw of one of them; of a range, its ends."""
    yield options
    for key, domain in searched.items():
        above, _, name = key.partition(".")
        if above == group and name in type(options).model_fields:
            for value in domain.values if isinstance(domain, Choice) else (domain.low, domain.high):
                yield options.model_copy(update={name: value})


def _idle_of_strategy(
    options: StrategyOptions,
    method: str,
    num_students: int,
    asked: Mapping[str, Any],
    resolved: RunConfig,
    searched: SearchSpace,
) -> dict[str, str]:
    """What was asked for of a strategy and has no effect, or a lesser one -> why.

    Args:
        method: of `StrategyOptions`, which gives names of such options with reasons: ``without_effect`` or ``for_ensemble_alone``.
    """
    assert resolved.task is not None
    kind, idle = type(options), {}
    points = []
    for point in _points(options, "strategy_options", searched):
        what = f"{method} of the options {kind.__name__!r}"
        with blamed(what, options):
            found = getattr(point, method)(num_students)
        if not isinstance(found, Mapping):
            raise UsageError(f"{what} returns {kind_of(found)}. It must return a mapping from names of options to reasons.")
        points.append(found)
    for name, why in points[0].items():
        if name not in asked or f"strategy_options.{name}" in searched or not all(name in point for point in points):
            continue
        defaults = [kind.model_fields[name].get_default(call_default_factory=True)]
        with suppress(UsageError):  # another option may need it
            others = parse_options(kind, {key: value for key, value in asked.items() if key != name})
            defaults.append(getattr(resolved_options(others, resolved.training.epochs, resolved.task), name))
        # By value: a complete configuration gives every option.
        if getattr(options, name) not in defaults:
            idle[f"strategy_options.{name} = {getattr(options, name)}"] = why
    return idle


def _idle_of_students(asked: RunConfig, resolved: RunConfig, searched: SearchSpace) -> dict[str, str]:
    """What was asked for of built-in students and changes none of those for which it was asked -> why."""
    assert resolved.task is not None
    students = [(own, student) for own, student in zip(asked.students, resolved.students, strict=True) if not own.is_custom]
    reasons = []
    for own, student in students:
        open_to_search = {key: domain for key, domain in searched.items() if key.partition(".")[2] not in own.model_fields_set}
        found, *others = (without_effect(point, resolved.task) for point in _points(student, "student", open_to_search))
        reasons.append({name: why for name, why in found.items() if all(name in other for other in others)})
    idle: dict[str, str] = {}
    for name in sorted({name for why in reasons for name in why if f"student.{name}" not in searched}):
        # By value: a complete configuration gives every student its own value of what may have been asked for of all.
        asked_for: dict[Any, list[tuple[str, str | None]]] = {}
        for (own, student), why in zip(students, reasons, strict=True):
            source = own if name in own.model_fields_set else asked.student
            value = getattr(source, name)
            if name in source.model_fields_set and value not in (None, _left_out(student, name, resolved.task)):
                asked_for.setdefault(value, []).append((student.architecture_name, why.get(name)))
        for value, takers in asked_for.items():
            architecture, first = takers[0]
            if first is not None and all(why is not None for _, why in takers):
                of_all = name in asked.student.model_fields_set
                idle[f"student.{name} = {value}" if of_all else f"{name} = {value} of {architecture}"] = first
    return idle


def _left_out(student: StudentOptions, name: str, task: TaskName) -> Any:
    """What an option of a resolved student is where nothing is said."""
    default = StudentOptions.model_fields[name].default
    if default is not None:
        return default
    plain = resolve_student(student.model_copy(update={name: default}), task, has_edge_features=bool(student.edge_features))
    return getattr(plain, name)


def refuse_untrained(strategy: str | type[Strategy], given: Mapping[str, Any], others: Sequence[str] = ()) -> None:
    """Refuse what was asked for of students and their training, where the strategy trains nothing.

    Args:
        given: what was asked for explicitly, as a layer of configuration. In what a recipe or a run's file says it does no harm.
        others: names of other things that were asked for and watch a training.

    Raises:
        UsageError: names what has no effect.
    """
    kind = resolve_strategy(strategy)
    if kind.trains:
        return
    idle = [
        name
        for key in ("students", "student", "training")
        if given.get(key) is not None
        for name in ([f"{key}.{inner}" for inner in given[key]] if isinstance(given[key], Mapping) else [key])
    ]
    noise = given.get("noise")
    idle += ["noise in features"] if isinstance(noise, str) and noise.startswith("feature:") else []
    idle += others
    if idle:
        raise UsageError(
            f"Strategy {kind.name!r} trains nothing, so what was given has no effect: {', '.join(idle)}. Leave it out, or choose a "
            "strategy that trains students, for example correct-and-smooth."
        )
