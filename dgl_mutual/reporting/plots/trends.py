"""Metric by cohort size and by level of noise."""

from __future__ import annotations

import json
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from dgl_mutual.errors import listed
from dgl_mutual.reporting.labels import all_but, line_names
from dgl_mutual.reporting.plots.curves import mean_text
from dgl_mutual.reporting.plots.style import PAGE, figure, file_name, finished, line_style
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.tables import metric_name
from dgl_mutual.store.members import ENSEMBLE, MEAN
from dgl_mutual.utils.user_warnings import warn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Position of a run on its line: a size, or a kind and an amount of noise.
_Place = TypeVar("_Place", int, tuple[str, float])
#: Minimum height in inches of the panels by cohort size, which are narrow.
_SMALL = 1.25


def accuracy_by_size(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure per dataset with several cohort sizes: mean student, ensemble, disagreement, time, memory."""
    for dataset, group in _by_dataset([run for run in runs if not run.config.get("noise")]):
        group = _of_several_sizes(group)
        if not group:
            continue
        metric = metric_name(group[0].trials["metric"].iloc[0])
        shown: dict[str, Callable[[Run], pd.Series[float]]] = {
            f"test {metric},\nmean student": partial(_of_member, member=MEAN, column="test"),
            f"test {metric},\nensemble": partial(_of_member, member=ENSEMBLE, column="test"),
            "disagreement\nof students": partial(_of_member, member=MEAN, column="disagreement"),
        }
        costs: dict[str, Callable[[Run], pd.Series[float]]] = {
            "seconds\nper epoch": partial(_of_member, member=MEAN, column="seconds_per_epoch"),
            "peak memory,\nMiB": partial(_of_member, member=MEAN, column="peak_mib"),
        }
        shown |= costs
        shown = {title: y for title, y in shown.items() if any(len(y(run)) for run in group)}
        drawn = figure(PAGE / 5 * len(shown), 1)
        panels = drawn.subplots(1, len(shown), squeeze=False)[0]
        sizes = sorted({run.num_students for run in group})
        for axes, (title, y) in zip(panels, shown.items(), strict=True):
            _series(axes, group, lambda run: run.num_students, y)
            axes.set_title(title)
            axes.set_xlabel("K students")
            axes.set_xticks(sizes)
            axes.set_xlim(sizes[0] - 0.4, sizes[-1] + 0.4)
            low, high = axes.get_ylim()
            if title in costs and low < 0.7 * high:  # smaller differences would not be visible on an axis from zero
                axes.set_ylim(0, 1.1 * high)
        yield file_name("cohort-size", dataset), finished(drawn, panels, _bars(group), least=_SMALL)


def _of_several_sizes(runs: Sequence[Run]) -> list[Run]:
    """The runs that differ from another run only in having more or fewer students; one per size, named for their lines."""
    depths = _default_depths(runs)
    groups = [
        group
        for line in _lines(runs, lambda run: _all_but_the_cohort(run, depths), lambda run: run.num_students)
        for group in _with_cohorts_in_common([run for size in sorted(line, reverse=True) for run in line[size]])
    ]
    lines = [line for group in groups for line in _lines(group, lambda _: "", lambda run: run.num_students)]
    comparable, alone = [line for line in lines if len(line) > 1], [line for line in lines if len(line) == 1]
    if comparable and alone:
        omitted = [run for line in alone for same_size in line.values() for run in same_size]
        warn(f"Left out of the plot cohort-size, since no other run differs in its students alone: {_listed(omitted)}.")
    return _one_each(comparable, "students", "cohort-size", "with a cohort of the same size")


def _with_cohorts_in_common(runs: Sequence[Run]) -> list[list[Run]]:
    """Group runs: the students of a run are among those of another run of its group. An MLP is no smaller cohort of GNNs.

    Args:
        runs: the larger cohorts first.
    """
    groups: list[list[Run]] = []
    for run in runs:
        students = _architectures(run)
        joined = [group for group in groups if any(students <= _architectures(other) for other in group)]
        groups = [*(group for group in groups if group not in joined), [*chain.from_iterable(joined), run]]
    return groups


def _architectures(run: Run) -> Counter[str]:
    return Counter(str(student["architecture"]) for student in run.config["students"])


def _with_noise(runs: Sequence[Run]) -> list[Run]:
    """The runs with noise, and those that differ from one only in the noise; one per amount, named for their lines."""

    def rest(run: Run) -> str:
        return json.dumps(all_but(run, "noise"), sort_keys=True, default=str)

    lines = [line for line in _lines(runs, rest, _noise) if any(kind for kind, _ in line)]
    return _one_each(lines, "noise", "noise", "of the same configuration")


def _lines(runs: Sequence[Run], line: Callable[[Run], str], place: Callable[[Run], _Place]) -> list[dict[_Place, list[Run]]]:
    """The runs of each line, by their place on it. A folder that a suite names several times counts once."""
    lines: dict[str, dict[_Place, list[Run]]] = {}
    for run in runs:
        same_place = lines.setdefault(line(run), {}).setdefault(place(run), [])
        if run.folder.resolve() not in {other.folder.resolve() for other in same_place}:
            same_place.append(run)
    return list(lines.values())


def _one_each(lines: Sequence[Mapping[_Place, Sequence[Run]]], differing: str, plot: str, alike: str) -> list[Run]:
    """The first run at each place, named for their lines; a warning names the others."""
    omitted = [run for line in lines for same_place in line.values() for run in same_place[1:]]
    if omitted:
        warn(f"Left out of the plot {plot}, since there is another run {alike}: {_listed(omitted)}. Give one of them at a time.")
    return _named([[line[place][0] for place in sorted(line)] for line in lines], differing)


def _listed(runs: Sequence[Run]) -> str:
    return listed([f"{run.method} ({run.folder.name})" for run in runs], 8)


def _named(lines: Sequence[Sequence[Run]], shown: str) -> list[Run]:
    """The runs of all lines, each line with a unique name: suites may use several names for a method, or one name for several."""
    names = line_names([line[0] for line in lines], shown)
    return [replace(run, method=name) for name, line in zip(names, lines, strict=True) for run in line]


def _default_depths(runs: Sequence[Run]) -> dict[Any, Any]:
    """The default depth of each architecture, from the runs of one task without a given depth."""
    depths: dict[Any, Any] = {}
    for run in runs:
        students, given_students = run.config["students"], run.given.get("students")
        if not isinstance(given_students, list):  # the default, names, or the options of all students
            given_students = [given_students] * len(students)
        if not _has_depth(run.given.get("student")) and len(given_students) == len(students):
            depths.update(
                (student["architecture"], student.get("depth"))
                for student, given in zip(students, given_students, strict=True)
                if not _has_depth(given)
            )
    return depths


def _has_depth(given: Any) -> bool:
    return isinstance(given, Mapping) and "depth" in given


def _all_but_the_cohort(run: Run, depths: Mapping[Any, Any]) -> str:
    """The configuration without the cohort. Options that students share count, such as their width; those of their architectures do not.

    All options of a custom student count, since it has none of the built-in ones.

    Args:
        depths: the default depth of each architecture, which counts as none, since others may have another default.
    """
    shared = []
    for student in run.config["students"]:
        depth = student.get("depth")
        built_in = [student.get("hidden"), None if depth == depths.get(student["architecture"]) else depth]
        shared.append(student.get("options", [*built_in, *(student.get(key) for key in ("norm", "readout", "pooling"))]))
    students = sorted({str(options) for options in shared if options != {}})
    return json.dumps([all_but(run, "students"), students], sort_keys=True, default=str)


def accuracy_by_noise(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure per dataset with noise: the mean student's test metric, with a panel per kind of noise."""
    for dataset, group in _by_dataset(runs):
        group = _with_noise(group)
        kinds = sorted({_noise(run)[0] for run in group} - {""})
        if not kinds:
            continue
        drawn = figure(min(PAGE, 0.7 + 2.1 * len(kinds)), 1)
        panels = drawn.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            chosen = [run for run in group if _noise(run)[0] in ("", kind)]
            _series(axes, chosen, lambda run: _noise(run)[1], partial(_of_member, member=MEAN, column="test"))
            axes.set_xlabel(f"{kind} noise")
        panels[0].set_ylabel(f"test {metric_name(group[0].trials['metric'].iloc[0])}, mean student")
        drawn.suptitle(textwrap.fill(dataset, 15 + 26 * len(kinds)), fontsize=8)
        yield file_name("noise", dataset), finished(drawn, panels, _bars(group))


def _bars(runs: Sequence[Run]) -> str:
    bars = ", bars: one standard deviation (ddof = 1)" if any(len(run.finished) > 1 for run in runs) else ""
    return f"{mean_text(runs).capitalize()}{bars}."


def _by_dataset(runs: Sequence[Run]) -> Iterator[tuple[str, list[Run]]]:
    """The runs with finished trials by dataset, and by metric if a dataset has several: ``Cora (macro-f1)``."""
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if len(run.trials):
            groups[run.overall["dataset"].iloc[0], run.overall["metric"].iloc[0]].append(run)
    datasets = [dataset for dataset, _ in groups]
    for (dataset, metric), group in groups.items():
        yield (dataset if datasets.count(dataset) == 1 else f"{dataset} ({metric})"), group


def _series(axes: Axes, runs: Sequence[Run], x: Callable[[Run], float], y: Callable[[Run], pd.Series[float]]) -> None:
    """Draw a line per method through the means, with bars of one standard deviation (ddof = 1)."""
    methods = list(dict.fromkeys(run.method for run in runs))
    reach = [x(run) for run in runs]
    # Shifted, so that bars do not overlap.
    step = (max(reach) - min(reach)) / max(60, 25 * len(methods))
    for index, method in enumerate(methods):
        points = sorted(((x(run), y(run)) for run in runs if run.method == method and len(y(run))), key=itemgetter(0))
        positions, values = [position + step * (index - (len(methods) - 1) / 2) for position, _ in points], [value for _, value in points]
        spread = [0.0 if len(value) < 2 else float(value.std()) for value in values]
        axes.errorbar(positions, [value.mean() for value in values], spread, label=method, capsize=2, elinewidth=0.8, **line_style(index))


def _of_member(run: Run, member: str, column: str) -> pd.Series[float]:
    return run.overall.loc[run.overall["member"] == member, column].dropna()


def _noise(run: Run) -> tuple[str, float]:
    """Kind and amount: ``("feature", 0.2)``; ``("", 0)`` without noise."""
    kind, _, amount = str(run.config.get("noise") or "").partition(":")
    return kind, float(amount or 0)
