"""HTML report of a run or suite: a self-contained page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting.baseline import baseline_of, compare_with_baseline
from dgl_mutual.reporting.comparison import Comparison, compare
from dgl_mutual.reporting.plots import PLOTS
from dgl_mutual.reporting.plots.style import drawing
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import gather, load_runs, preferred_baseline, read_suite
from dgl_mutual.reporting.status import status_of
from dgl_mutual.reporting.tables import text_table
from dgl_mutual.store.files import SUITE_FILE
from dgl_mutual.store.outputs import MADE_BY
from dgl_mutual.utils.safe_text import terminal_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def report(paths: Sequence[Path]) -> str:
    """Return the HTML page.

    Args:
        paths: see `load_runs`.

    Raises:
        UsageError: matplotlib is not installed, or there is no such folder.
        StoreError: no runs, or none with a finished trial.
    """
    import jinja2

    runs = load_runs(paths)
    finished = [run for run in runs if len(run.trials)] or runs
    comparison, objection = _compare(finished, paths)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dgl_mutual.reporting", "."), autoescape=True, undefined=jinja2.StrictUndefined, finalize=_visible
    )
    statuses = [status_of(path) for path in paths]
    page: str = environment.get_template("report.html").render(
        made_by=MADE_BY,
        title=", ".join(path.resolve().name for path in paths),
        description=_description(paths),
        table=None if comparison is None else text_table(comparison, percent=True),
        costs=None if comparison is None else text_table(compare(gather(finished), value="seconds_per_epoch")),
        objection=objection,
        incomplete=[run for status in statuses for run in status.runs if not run.is_complete],
        not_begun=[entry for status in statuses for entry in status.not_begun.items()],
        plots=dict(_plots(finished, baseline_of(finished, preferred_baseline(paths)))),
        configurations=[(run, yaml.safe_dump(run.config, sort_keys=False)) for run in runs],
        environments=[(run, yaml.safe_dump(run.environment, sort_keys=False)) for run in runs if run.environment],
    )
    return page


def _visible(value: object) -> object:
    """Escape characters that are not shown, or change the order of text, in what is not yet HTML."""
    return terminal_text(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _compare(runs: Sequence[Run], paths: Sequence[Path]) -> tuple[Comparison | None, str]:
    """The comparison, or None if it is impossible, and the reason for that or for missing tests."""
    trials = gather(runs)
    try:
        comparison = compare_with_baseline(trials, of_suite=preferred_baseline(paths))
    except UsageError as error:  # they cannot be combined in one table
        return None, str(error)
    return comparison, comparison.objection


def _description(paths: Sequence[Path]) -> str:
    suites = [read_suite(path) for path in paths if (path / SUITE_FILE).is_file()]
    return " ".join(str(suite.get("description") or "") for suite in suites)


def _plots(runs: Sequence[Run], baseline: str | None) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Heading -> (name, image as a data URI)."""
    with drawing():
        for plot in PLOTS.values():
            try:
                images = [(name, _data_uri(figure)) for name, figure in plot.figures(runs, baseline)]
            except UsageError:  # ranks of runs that cannot be combined in one table; `_compare` gives the reason
                continue
            if images:
                yield plot.heading, images


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
