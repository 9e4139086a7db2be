"""The results of a suite for Python and notebooks: tables, tests and plots."""

from __future__ import annotations

import html
import os
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from dgl_mutual.errors import StoreError, UsageError, unknown
from dgl_mutual.reporting.baseline import baseline_of, compare_with_baseline, warn_of_gaps
from dgl_mutual.reporting.comparison import Comparison, compare
from dgl_mutual.reporting.export import FORMATS, export
from dgl_mutual.reporting.formats import cell_text, to_text
from dgl_mutual.reporting.plots import draw, plots_need
from dgl_mutual.reporting.plots.style import drawing
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import gather, preferred_baseline, suite_runs
from dgl_mutual.reporting.tables import BOLD, TextTable, is_fraction, text_table
from dgl_mutual.store.files import SUITE_FILE, TUNING_FILE
from dgl_mutual.store.outputs import write_result
from dgl_mutual.store.tables import NAME_COLUMNS, TUNING_COLUMNS, read_tuning
from dgl_mutual.utils.arguments import MAX_PRECISION, check_booleans, names_in, whole_number
from dgl_mutual.utils.files import check_regular, replacing
from dgl_mutual.utils.paths import user_path
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Files that are not copied: locks, and temporary files.
_HIDDEN = shutil.ignore_patterns(".*")


class Experiment:
    """Results of `dgl_mutual.experiment`: the trials of every method on every dataset, with tables, tests and plots.

    It represents a suite's folder, so `Experiment.load` also opens folders of ``dgl-mutual suite``. A notebook shows its table.

    Attributes:
        folder: the suite's folder; the run folders are in the same parent folder.
    """

    def __init__(self, folder: Path | str, *, temporary: object = None) -> None:
        self.folder = user_path(folder).absolute()
        self._temporary = temporary  # a folder with the lifetime of this object

    @cached_property
    def runs(self) -> list[Run]:
        """The runs that have finished trials."""
        return [run for run in suite_runs(self.folder) if len(run.trials)]

    @property
    def methods(self) -> list[str]:
        """The names of the methods."""
        return list(dict.fromkeys(run.method for run in self.runs))

    @property
    def trials(self) -> pd.DataFrame:
        """A row per dataset, method, seed, fold and member (and target, of several): `data`, `method`, then the columns of trials.csv."""
        return _rows(self.runs, "trials")

    @property
    def failures(self) -> pd.DataFrame:
        """Trials that failed: `data`, `method`, `seed`, `fold`, `error`, `details`."""
        return _rows(suite_runs(self.folder), "failures")

    def summary(
        self, baseline: str | None = None, *, value: str = "test", metric: str | None = None, members: str | Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return a row per dataset, member and method, with mean, std (ddof = 1), n, and the tests against a baseline.

        Args:
            baseline: a method, or ``none`` (default: the experiment's own, else independent if it is one of several methods; if it
                has no trials, or they do not pair with those of others, nothing is tested, with a warning).
            value: ``test``, ``val``, ``train``; ``nll``, ``ece``; ``seconds_per_epoch``, ``train_seconds``, ``peak_mib``, ``inference_ms``,
                ``parameters``, ``epochs``, ``best_epoch``; or ``disagreement``.
            metric: only datasets scored by it, for example ``rocauc`` (default: all).
            members: names, for example ``mean,gcn-0`` (default: mean, best_by_val, ensemble).

        Raises:
            UsageError: an unknown name, or trials that do not pair with those of a given baseline.
        """
        return self._comparison(baseline, value, metric, members).rows

    def table(
        self,
        baseline: str | None = None,
        *,
        value: str = "test",
        metric: str | None = None,
        members: str | Sequence[str] | None = None,
        percent: bool | None = None,
        precision: int | None = None,
    ) -> pd.DataFrame:
        """Return the table of ``dgl-mutual export`` as text: methods as rows, datasets as columns. Its ``attrs["caption"]`` explains it.

        Args:
            baseline, value, metric, members: see `summary`.
            percent: show fractions times 100 (default: if the value is a fraction).
            precision: number of decimals (default: 1 for percent, 3 for fractions, depending on the value for costs).

        Raises:
            UsageError: see `summary`; percent of a value that is not a fraction, or an invalid precision.
        """
        comparison = self._comparison(baseline, value, metric, members)
        percent = is_fraction(value) if percent is None else percent
        _check_form(precision, percent=percent)
        return _frame(text_table(comparison, percent=percent, precision=precision))

    def export(
        self,
        path: str | Path,
        *,
        baseline: str | None = None,
        value: str = "test",
        metric: str | None = None,
        members: str | Sequence[str] | None = None,
        datasets: str | Sequence[str] | None = None,
        methods: str | Sequence[str] | None = None,
        percent: bool = False,
        precision: int | None = None,
        wide: bool = False,
        by_target: bool = False,
    ) -> Path:
        """Write the table of ``dgl-mutual export``, with the same defaults, as CSV, LaTeX or Markdown, depending on the file's suffix.

        An existing file is replaced atomically; it does not change if anything fails.

        Args:
            path: a file that ends in ``.csv``, ``.tex`` or ``.md``; missing parent folders are created.
            baseline, value, metric, members: see `summary`.
            datasets, methods: a name or names to show, as in tables (default: all); tests are adjusted over the shown comparisons.
            percent: fractions times 100.
            precision: number of decimals (default: all of them in CSV, else as in `table`).
            wide: CSV with a row per method and columns per dataset, instead of a row per value with its tests.
            by_target: a column for each target, learned alone or together with others.

        Returns:
            The file.

        Raises:
            UsageError: another suffix, an unknown name, trials that do not pair with those of a given baseline, percent of a
                value that is not a fraction, wide LaTeX or Markdown, or an invalid path.
            StoreError: the file cannot be written.
        """
        _check_form(precision, percent=percent, wide=wide, by_target=by_target)
        file = user_path(path)
        kind = FORMATS.get(file.suffix.lower())
        if kind is None:
            raise UsageError(f"{str(path)!r} does not end in {', '.join(FORMATS)}, which say the format. Name a file such as 'table.csv'.")
        text = export(
            self.runs,
            kind,
            preferred=preferred_baseline([self.folder]),
            wide=wide,
            baseline=baseline,
            value=value,
            metric=metric,
            members=members,
            datasets=_chosen("datasets", datasets, "['Cora']"),
            methods=_chosen("methods", methods, "['gml']"),
            precision=precision,
            percent=percent,
            by_target=by_target,
        )
        write_result(file, text)
        return file

    @property
    def searches(self) -> pd.DataFrame:
        """All trials of the searches that tuned the methods: ``data, method, search`` and the columns of tuning.csv.

        Raises:
            UsageError: nothing was tuned.
            StoreError: the file is damaged.
        """
        if not (self.folder / TUNING_FILE).is_file():
            raise UsageError("The methods were not tuned. Give experiment(tuned=N), or run 'dgl-mutual suite ... --tuned N'.")
        return read_tuning(self.folder, [*NAME_COLUMNS, *TUNING_COLUMNS])

    def compare(self, a: str, b: str, *, value: str = "test", members: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Compare method `a` with method `b`, paired by seed and fold.

        Columns, a row per dataset and member: ``data, member, mean_a, mean_b, difference`` (a - b), ``low, high`` (95 % interval
        by Student's t, not adjusted; over folds and seeds of ``holdout`` with the corrected standard error), ``effect`` (Cohen's d of
        pairs), ``wins, losses, n, test, p, p_holm`` (adjusted over the rows shown).

        Raises:
            UsageError: there is no such method, or their trials pair on no dataset. Unpaired datasets are left out, with a warning.
        """
        for method in (a, b):
            if not isinstance(method, str) or method not in self.methods:
                raise unknown("method", method, self.methods)
        if a == b:
            raise UsageError(f"{a!r} cannot be compared with itself. Name two methods: {', '.join(self.methods)}.")
        datas = {method: dict.fromkeys(run.data for run in self.runs if run.method == method) for method in (a, b)}
        if datas[a].keys().isdisjoint(datas[b]):
            raise UsageError(
                f"{a!r} (on {', '.join(datas[a])}) and {b!r} (on {', '.join(datas[b])}) have no data in common, so their trials do not "
                "pair. Name two methods of the same data, label rate and noise."
            )
        trials = gather([run for run in self.runs if run.method in (a, b)])
        comparison = compare(trials, value=value, members=members, baseline=b)
        if comparison.unpaired:
            warn(f"Left out, since the trials are not paired: {', '.join(comparison.unpaired)}.")
        rows = comparison.rows[(comparison.rows["method"] == b) | (comparison.rows["test"] != "")]
        keys = ["data", "member"]
        other = rows[rows["method"] == b][[*keys, "mean"]].rename(columns={"mean": "mean_b"})
        compared = rows[rows["method"] == a].rename(columns={"mean": "mean_a"}).merge(other, on=keys)
        columns = [*keys, "mean_a", "mean_b", "difference", "low", "high", "effect", "wins", "losses", "n", "test", "p", "p_holm"]
        return compared[columns].astype({"wins": int, "losses": int})

    def plot(self, kind: str, *, baseline: str | None = None) -> dict[str, Figure]:
        """Draw figures, and return them by name.

        Args:
            kind: a kind of plot, for example ``gains`` or ``curves``; ``dgl-mutual plot --help`` lists all of them.
            baseline: the method with which ``gains`` compare the others (default: that of the suite, else independent).

        Raises:
            UsageError: no such kind or method, no matplotlib, or the runs have no data for it.
        """
        with drawing():
            figures = dict(draw(self.runs, [kind], baseline or baseline_of(self.runs, preferred_baseline([self.folder]))))
        if not figures:
            raise UsageError(f"These runs have no data for the plot {kind!r}. {plots_need([kind])}")
        return figures

    def save(self, path: str | Path) -> Path:
        """Copy everything into a new or empty folder: the suite's folder, and those of its runs with their students.

        Raises:
            UsageError: the path is invalid.
            StoreError: another experiment has used the folder since, the target is not empty or is within a copied folder, there is a
                link or special file in them, or writing fails. No partial copy remains.
        """
        path = user_path(path)
        if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
            raise StoreError(f"{str(path)!r} exists already. Name a new folder.")
        current = suite_runs(self.folder)
        if not {(run.data, run.method, run.folder) for run in self.runs} <= {(run.data, run.method, run.folder) for run in current}:
            raise StoreError(
                f"Another experiment has since used the folder {str(self.folder)!r} with other runs. Run this experiment again with its "
                "own name= or out=, and then save it."
            )
        folders = [self.folder, *dict.fromkeys(run.folder for run in current)]
        for folder in folders:
            if path.resolve().is_relative_to(folder.resolve()):
                raise StoreError(f"{str(path)!r} is in {str(folder)!r}, which would be copied. Name a folder outside of it.")
            _check_copyable(folder)
        with replacing(path.resolve()) as copy:
            for folder in folders:
                shutil.copytree(folder, copy / folder.resolve().name, symlinks=True, ignore=_HIDDEN)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """Open a folder written by `save`, a suite's folder, or a folder that contains a single suite.

        Raises:
            UsageError: there is no such folder, or it contains several suites.
            StoreError: there is no suite, or its files are damaged.
        """
        path = user_path(path)
        if not path.is_dir():
            raise UsageError(f"There is no folder {str(path)!r}. Give one written by Experiment.save or 'dgl-mutual suite'.")
        suites = [path] if (path / SUITE_FILE).is_file() else sorted(file.parent for file in path.glob(f"*/{SUITE_FILE}"))
        if not suites:
            raise StoreError(
                f"In {str(path)!r} there is no suite (no {SUITE_FILE}). Give a folder written by Experiment.save or 'dgl-mutual suite'."
            )
        if len(suites) > 1:
            raise UsageError(f"{str(path)!r} has several suites: {', '.join(suite.name for suite in suites)}. Give the folder of one.")
        experiment = cls(suites[0])
        _ = experiment.runs  # raises if files are damaged
        return experiment

    def __repr__(self) -> str:
        datas = dict.fromkeys(run.data for run in self.runs)
        trials = sum(len(run.finished) for run in self.runs)
        methods, data = ", ".join(self.methods) or "no method", ", ".join(datas) or "no data"
        head = f"Experiment: {methods} on {data}; {counted(trials, 'trial')} in {self.folder}"
        if not self.runs:
            return head
        try:
            table = self._shown()
        except UsageError as error:
            return f"{head}\n\nNo table: {error}"
        return f"{head}\n\n{to_text(table)}".rstrip("\n")

    def _repr_html_(self) -> str:
        try:
            table = self._shown() if self.runs else None
        except UsageError:
            table = None
        if table is None:
            return f"<p>{html.escape(repr(self))}</p>"
        frame = _frame(table)
        return f"{frame.to_html()}\n<p>{html.escape(frame.attrs['caption'])}</p>"

    def _shown(self) -> TextTable:
        return text_table(self._comparison(None, "test", None, None), percent=True)

    def _comparison(self, baseline: str | None, value: str, metric: str | None, members: str | Sequence[str] | None) -> Comparison:
        trials = gather(self.runs, metric)
        suite_baseline = preferred_baseline([self.folder])
        comparison = compare_with_baseline(trials, baseline, suite_baseline, value=value, metric=metric, members=members)
        warn_of_gaps(comparison)
        return comparison


def _rows(runs: Sequence[Run], name: Literal["trials", "failures"]) -> pd.DataFrame:
    """A table of all runs, with their data and methods as first columns; only these columns without runs."""
    if not runs:
        return pd.DataFrame(columns=["data", "method"])
    tables: list[pd.DataFrame] = [getattr(run, name).assign(data=run.data, method=run.method) for run in runs]
    rows = pd.concat(tables, ignore_index=True)
    return rows[["data", "method", *(name for name in rows if name not in ("data", "method"))]]


def _chosen(name: str, given: str | Sequence[str] | None, example: str) -> list[str]:
    """The given names; empty for None."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else names_in(name, given, example)


def _check_form(precision: object, **flags: object) -> None:
    """Refuse an invalid number of decimals, and flags that are neither True nor False."""
    check_booleans(**flags)
    if precision is not None:
        whole_number("precision", precision, 0, MAX_PRECISION)


def _check_copyable(folder: Path) -> None:
    """Allow only folders and regular files: a link may lead anywhere on this machine, and a device has no end.

    Raises:
        StoreError: there is a link, a device or the like; hidden files are ignored.
    """
    for place, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in (*inner, *(name for name in files if not name.startswith("."))):
            file = Path(place, name)
            try:
                reason = "it is a link" if file.is_symlink() else None
                if reason is None and not file.is_dir():
                    check_regular(file)
            except OSError as error:
                reason = str(error)
            if reason is not None:
                raise StoreError(f"{str(file)!r} cannot be copied: {reason}. Put a file or folder in its place, or remove it.")


def _frame(table: TextTable) -> pd.DataFrame:
    rows = [[cell_text(cell) for cell in row] for group in table.groups for row in group]
    frame = pd.DataFrame(rows, columns=list(table.header)).set_index(list(table.header[: table.num_labels]))
    frame.attrs["caption"] = " ".join(sentence for sentence in table.caption if not sentence.startswith(f"{BOLD}:"))
    return frame
