"""Options that were asked for and have no effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.resolve import added_members, strategy_options_of
from dgl_mutual.nn.architectures import uses_edges
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import resolve_student, without_effect
from dgl_mutual.options import OptionsType, parse_options
from dgl_mutual.search_space import SearchSpace
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.options import EXCEPT, reasons_from, resolved_options
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.utils.custom_code import is_custom
from dgl_mutual.utils.user_warnings import warn

#: What was asked for, as messages name it -> why it has no effect, or None if it has one.
_Findings: TypeAlias = Iterator[tuple[str, str | None]]


def refuse_folds(asked: RunConfig, resolved: RunConfig) -> None:
    """Refuse a number of folds under a protocol that has none. In a suite another dataset may have some.

    Raises:
        UsageError: as said.
    """
    if asked.folds is not None and resolved.folds is None:
        raise UsageError(
            f"folds = {asked.folds} does not apply under the protocol {resolved.protocol!r}, which has one split for each seed. Leave it "
            "out. Graphs have folds under the protocol nested, and a dataset with several official splits under splits."
        )


def warn_of_idle(runs: Sequence[tuple[RunConfig, RunConfig]], spaces: Sequence[SearchSpace] = ()) -> None:
    """Warn of what was asked for and has no effect wherever it was: at all points of a grid, and in all runs of a suite.

    Args:
        runs: each configuration as it was asked for, and resolved: one, or those of all points and runs.
        spaces: what the search of each of `runs` draws, by dotted key; empty where nothing is searched. Nothing is said of these options,
            nor of others that have an effect beside a value that may be drawn.
    """
    each = list(zip(runs, spaces or [{}] * len(runs), strict=True))
    for what, why in _nowhere_effective(finding for run, space in each for finding in _idle(*run, space)).items():
        warn(f"{what} has no effect, {why}")


def idle_in_search(resolved: RunConfig, searched: SearchSpace) -> dict[str, str]:
    """What of a search changes nothing that students learn, whatever else is drawn, by dotted key -> why."""
    points = _points(strategy_options_of(resolved), "strategy_options", searched)
    found = _at_all(reasons_from(point, len(resolved.students)) for point in points)
    return {f"strategy_options.{name}": why for name, why in found.items() if f"strategy_options.{name}" in searched}


def _nowhere_effective(findings: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """What has no effect in any of its findings -> a reason (see `_weakest`)."""
    reasons: dict[str, list[str | None]] = {}
    for what, why in findings:
        reasons.setdefault(what, []).append(why)
    return {what: _weakest([why for why in several if why is not None]) for what, several in reasons.items() if None not in several}


def _weakest(reasons: Sequence[str]) -> str:
    """The first reason that names an exception, which must not be said to have no effect; else the first."""
    return next((why for why in reasons if why.startswith(EXCEPT)), reasons[0])


def _idle(asked: RunConfig, resolved: RunConfig, searched: SearchSpace) -> _Findings:
    """What was asked for of one run."""
    yield from _idle_of_strategy(asked, resolved, searched)
    strategy_class = resolve_strategy(resolved.strategy)
    if strategy_class.trains:
        yield from _idle_of_students(asked, resolved, searched)
        others = {"unlabelled_ratio": _why_labelled_alone(strategy_class, resolved, searched), "edge_drop": _why_no_edges(resolved)}
        yield from _idle_of_training(asked, resolved, searched, others)
    if resolved.unlabelled is not None:  # a pool is among the training samples by which inputs are scaled
        why = _why_labelled_alone(strategy_class, resolved, searched)
        but = f"{EXCEPT}the scaling of numeric features, " if resolved.training.scale_inputs else ""
        yield f"unlabelled = {resolved.unlabelled}", None if why is None else f"{but}{why}"


def _why_no_edges(resolved: RunConfig) -> str | None:
    """Why leaving out edges changes nothing; None if it does."""
    if any(map(uses_edges, resolved.students)):
        return None
    return None if any(uses_edges(member) for _, member in added_members(resolved)) else "since no member of the cohort uses edges."


def _why_labelled_alone(strategy_class: type[Strategy], resolved: RunConfig, searched: SearchSpace) -> str | None:
    """Why all members learn from labelled samples alone; None if they do not, or a custom strategy does not say.

    An MLP is distilled on unlabelled samples, too.
    """
    if resolved.distill is not None:
        return None
    options = strategy_options_of(resolved)
    if not hasattr(options, "exchange_on"):
        return None if is_custom(strategy_class) else f"since students of {strategy_class.name} learn from labelled samples alone."
    if any(point.exchange_on != "labelled" for point in _points(options, "strategy_options", searched)):
        return None
    return "since students learn from others on labelled samples alone (strategy_options.exchange_on = labelled). Leave one of the two out."


def _points(options: OptionsType, group: str, searched: SearchSpace) -> Iterator[OptionsType]:
    """A group of options as it is, and with each value that a search may draw of one of them; of a range, its ends."""
    yield options
    for key, domain in searched.items():
        above, _, name = key.partition(".")
        if above == group and name in type(options).model_fields:
            for value in domain.ends:
                yield options.model_copy(update={name: value})


def _at_all(points: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Of options without an effect at points, each with a reason: those that are so at all of them."""
    several = list(points)
    return {name: _weakest([one[name] for one in several]) for name in several[0] if all(name in one for one in several)}


def _idle_of_strategy(asked: RunConfig, resolved: RunConfig, searched: SearchSpace) -> _Findings:
    """What was asked for of a strategy."""
    assert resolved.task is not None
    options, given = strategy_options_of(resolved), asked.strategy_options
    kind = type(options)
    reasons = _at_all(reasons_from(point, len(resolved.students)) for point in _points(options, "strategy_options", searched))
    for name in given:
        if name not in kind.model_fields or f"strategy_options.{name}" in searched:
            continue
        defaults = []
        if name in reasons:
            defaults.append(kind.model_fields[name].get_default(call_default_factory=True))
            with suppress(UsageError):  # another option may need it
                others = parse_options(kind, {key: value for key, value in given.items() if key != name})
                defaults.append(getattr(resolved_options(others, resolved.training.epochs, resolved.task), name))
        # By value: a complete configuration gives every option.
        if getattr(options, name) not in defaults:
            yield f"strategy_options.{name} = {getattr(options, name)}", reasons.get(name)


def _idle_of_training(asked: RunConfig, resolved: RunConfig, searched: SearchSpace, others: Mapping[str, str | None]) -> _Findings:
    """What was asked for of the training.

    Args:
        others: options -> why they have no effect given options outside `training`; None if they have one.
    """
    reasons = {**others, **_at_all(point.without_effect() for point in _points(resolved.training, "training", searched))}
    for name in sorted(asked.training.model_fields_set):
        value = getattr(asked.training, name)
        if f"training.{name}" not in searched and value != TrainingOptions.model_fields[name].default:
            yield f"training.{name} = {f'{value:g}' if isinstance(value, float) else value}", reasons.get(name)


def _idle_of_students(asked: RunConfig, resolved: RunConfig, searched: SearchSpace) -> _Findings:
    """What was asked for of built-in students, and changes none of those for which it was asked."""
    assert resolved.task is not None
    students = [(own, student) for own, student in zip(asked.students, resolved.students, strict=True) if not own.is_custom]
    reasons = []
    for own, student in students:
        open_to_search = {key: domain for key, domain in searched.items() if key.partition(".")[2] not in own.model_fields_set}
        reasons.append(_at_all(without_effect(point, resolved.task) for point in _points(student, "student", open_to_search)))
    given = asked.student.model_fields_set.union(*(own.model_fields_set for own, _ in students))
    others = {key.removeprefix("student.") for key in searched if key.startswith("student.")} | {"options"}  # which custom ones alone have
    for name in sorted(given - others):
        is_idle = any(name in why for why in reasons)
        # By value: a complete configuration gives every student its own value of what may have been asked for of all.
        asked_for: dict[Any, list[tuple[str, str | None]]] = {}
        for (own, student), why in zip(students, reasons, strict=True):
            source = own if name in own.model_fields_set else asked.student
            value = getattr(source, name) if name in source.model_fields_set else None
            if value is not None and not (is_idle and value == _left_out(student, name, resolved.task)):
                asked_for.setdefault(value, []).append((student.architecture_name, why.get(name)))
        for value, takers in asked_for.items():
            architecture, first = takers[0]
            what = f"student.{name} = {value}" if name in asked.student.model_fields_set else f"{name} = {value} of {architecture}"
            yield what, first if all(why is not None for _, why in takers) else None


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
    strategy_class = resolve_strategy(strategy)
    if strategy_class.trains:
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
            f"Strategy {strategy_class.name!r} trains nothing, so what was given has no effect: {', '.join(idle)}. Leave it out, or choose "
            "a strategy that trains students, for example correct-and-smooth."
        )
