"""Options that were given and have no effect."""

from __future__ import annotations

from collections import defaultdict
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
from dgl_mutual.strategies.base.options import EXCEPT, checked_reasons, resolved_options
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.utils.custom_code import is_custom
from dgl_mutual.utils.user_warnings import warn

#: Each given option as messages name it, for example ``training.fanout = (5, 5)``, and the reason why it has no effect; None if it has one.
_GivenOptions: TypeAlias = Iterable[tuple[str, str | None]]


def refuse_folds(asked: RunConfig, resolved: RunConfig) -> None:
    """Raise `UsageError` for a number of folds under a protocol without folds. Not for suites, where another dataset may have folds."""
    if asked.folds is not None and resolved.folds is None:
        raise UsageError(
            f"folds = {asked.folds} does not apply under the protocol {resolved.protocol!r}, which has one split for each seed. Leave it "
            "out. Graphs have folds under the protocol nested, and a dataset with several official splits under splits."
        )


def warn_of_options_without_effect(runs: Sequence[tuple[RunConfig, RunConfig]], spaces: Sequence[SearchSpace] = ()) -> None:
    """Warn of given options that have no effect in any of `runs`.

    Args:
        runs: configurations, each as given and resolved: a single one, all points of a grid, or all runs of a suite.
        spaces: the search space of each of `runs`; empty without a search. Searched options are not warned of, nor options that have an
            effect together with some value in the search space.
    """
    given_options: defaultdict[str, list[str | None]] = defaultdict(list)
    for (asked, resolved), space in zip(runs, spaces or [{}] * len(runs), strict=True):
        for option, reason in _options_of_run(asked, resolved, space):
            given_options[option].append(reason)
    for option, reasons in given_options.items():
        if None not in reasons:
            warn(f"{option} has no effect, {_weakest([reason for reason in reasons if reason is not None])}")


def without_effect_in_search(resolved: RunConfig, searched: SearchSpace) -> dict[str, str]:
    """The searched options, by dotted key, that change nothing that students learn, whatever else is drawn -> the reason."""
    points = _points(strategy_options_of(resolved), "strategy_options", searched)
    reasons = _at_all_points(checked_reasons(point, len(resolved.students)) for point in points)
    return {f"strategy_options.{name}": why for name, why in reasons.items() if f"strategy_options.{name}" in searched}


def _weakest(reasons: Sequence[str]) -> str:
    """The first reason with an exception, since the exception has an effect; without any, the first reason."""
    return next((why for why in reasons if why.startswith(EXCEPT)), reasons[0])


def _options_of_run(asked: RunConfig, resolved: RunConfig, searched: SearchSpace) -> _GivenOptions:
    """The given options of one run."""
    yield from _strategy_options(asked, resolved, searched)
    strategy_class = resolve_strategy(resolved.strategy)
    if strategy_class.trains:
        yield from _student_options(asked, resolved, searched)
        others = {"unlabelled_ratio": _why_labelled_alone(strategy_class, resolved, searched), "edge_drop": _why_no_edges(resolved)}
        yield from _training_options(asked, resolved, searched, others)
    if resolved.unlabelled is not None:  # a pool is among the training samples by which inputs are scaled
        why = _why_labelled_alone(strategy_class, resolved, searched)
        but = f"{EXCEPT}the scaling of numeric features, " if resolved.training.scale_inputs else ""
        yield f"unlabelled = {resolved.unlabelled}", None if why is None else f"{but}{why}"


def _why_no_edges(resolved: RunConfig) -> str | None:
    """The reason why dropping edges changes nothing; None if it changes something."""
    is_used = any(map(uses_edges, resolved.students)) or any(uses_edges(member) for _, member in added_members(resolved))
    return None if is_used else "since no member of the cohort uses edges."


def _why_labelled_alone(strategy_class: type[Strategy], resolved: RunConfig, searched: SearchSpace) -> str | None:
    """The reason why all members learn from labelled samples alone; None if they do not, or if that of a custom strategy is unknown.

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
    """The options themselves, then copies in which one option has a value of its search space; of a range, only its ends."""
    yield options
    for key, domain in searched.items():
        searched_group, _, name = key.partition(".")
        if searched_group == group and name in type(options).model_fields:
            for value in domain.ends:
                yield options.model_copy(update={name: value})


def _at_all_points(reasons: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The options that have no effect at any point -> a reason.

    Args:
        reasons: for each point, its options without effect -> the reason.
    """
    first, *others = reasons
    return {
        name: _weakest([why, *(other[name] for other in others)]) for name, why in first.items() if all(name in other for other in others)
    }


def _strategy_options(asked: RunConfig, resolved: RunConfig, searched: SearchSpace) -> _GivenOptions:
    """The given options of the strategy."""
    assert resolved.task is not None
    options, given = strategy_options_of(resolved), asked.strategy_options
    options_class = type(options)
    reasons = _at_all_points(checked_reasons(point, len(resolved.students)) for point in _points(options, "strategy_options", searched))
    for name in given:
        if name not in options_class.model_fields or f"strategy_options.{name}" in searched:
            continue
        defaults = []
        if name in reasons:
            defaults.append(options_class.model_fields[name].get_default(call_default_factory=True))
            with suppress(UsageError):  # another option may need it
                others = parse_options(options_class, {key: value for key, value in given.items() if key != name})
                defaults.append(getattr(resolved_options(others, resolved.training.epochs, resolved.task), name))
        # By value: a complete configuration gives every option.
        if getattr(options, name) not in defaults:
            yield f"strategy_options.{name} = {getattr(options, name)}", reasons.get(name)


def _training_options(asked: RunConfig, resolved: RunConfig, searched: SearchSpace, others: Mapping[str, str | None]) -> _GivenOptions:
    """The given options of the training.

    Args:
        others: training options that depend on options of other groups -> the reason why they have no effect; None if they have one.
    """
    reasons = {**others, **_at_all_points(point.without_effect() for point in _points(resolved.training, "training", searched))}
    for name in sorted(asked.training.model_fields_set):
        value = getattr(asked.training, name)
        if f"training.{name}" not in searched and value != TrainingOptions.model_fields[name].default:
            yield f"training.{name} = {f'{value:g}' if isinstance(value, float) else value}", reasons.get(name)


def _student_options(asked: RunConfig, resolved: RunConfig, searched: SearchSpace) -> _GivenOptions:
    """The given options of built-in students. A value has no effect if it has none in each student that it was given for."""
    assert resolved.task is not None
    students = [(given, student) for given, student in zip(asked.students, resolved.students, strict=True) if not given.is_custom]
    reasons = []
    for given, student in students:
        open_to_search = {key: domain for key, domain in searched.items() if key.partition(".")[2] not in given.model_fields_set}
        reasons.append(_at_all_points(without_effect(point, resolved.task) for point in _points(student, "student", open_to_search)))
    names = asked.student.model_fields_set.union(*(given.model_fields_set for given, _ in students))
    names -= {key.removeprefix("student.") for key in searched if key.startswith("student.")}
    names.discard("options")  # which custom students alone have
    for name in sorted(names):
        may_have_no_effect = any(name in why for why in reasons)
        # By value: in a complete configuration, each student has its own copy of an option that may have been given for all students.
        by_value: dict[Any, list[tuple[str, str | None]]] = {}
        for (given, student), why in zip(students, reasons, strict=True):
            source = given if name in given.model_fields_set else asked.student
            value = getattr(source, name) if name in source.model_fields_set else None
            if value is not None and not (may_have_no_effect and value == _default_of(student, name, resolved.task)):
                by_value.setdefault(value, []).append((student.architecture_name, why.get(name)))
        for value, takers in by_value.items():
            architecture, reason = takers[0]
            option = f"student.{name} = {value}" if name in asked.student.model_fields_set else f"{name} = {value} of {architecture}"
            yield option, reason if all(why is not None for _, why in takers) else None


def _default_of(student: StudentOptions, name: str, task: TaskName) -> Any:
    """The value that an option of a resolved student has if it is not given."""
    default = StudentOptions.model_fields[name].default
    if default is not None:
        return default
    plain = resolve_student(student.model_copy(update={name: default}), task, has_edge_features=bool(student.edge_features))
    return getattr(plain, name)


def refuse_untrained(strategy: str | type[Strategy], given: Mapping[str, Any], others: Sequence[str] = ()) -> None:
    """Refuse options of students and training if the strategy trains nothing.

    Args:
        given: explicitly given options, as a layer of configuration. Those of a recipe or of a run's file are accepted.
        others: names of other arguments that observe a training.

    Raises:
        UsageError: lists the options without effect.
    """
    strategy_class = resolve_strategy(strategy)
    if strategy_class.trains:
        return
    unused = [
        name
        for key in ("students", "student", "training")
        if given.get(key) is not None
        for name in ([f"{key}.{inner}" for inner in given[key]] if isinstance(given[key], Mapping) else [key])
    ]
    noise = given.get("noise")
    unused += ["noise in features"] if isinstance(noise, str) and noise.startswith("feature:") else []
    unused += others
    if unused:
        raise UsageError(
            f"Strategy {strategy_class.name!r} trains nothing, so these options have no effect: {', '.join(unused)}. Leave them out, or "
            "choose a strategy that trains students, for example correct-and-smooth."
        )
