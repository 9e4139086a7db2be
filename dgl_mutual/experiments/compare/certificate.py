"""The Markdown certificate of a comparison, of which some sections are also printed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import pandas as pd

from dgl_mutual.experiments.compare.checks import BOUNDS, PRECISIONS, Check
from dgl_mutual.statistics import Paired
from dgl_mutual.utils.safe_text import markdown_text
from dgl_mutual.utils.wording import aligned, pipe_table

if TYPE_CHECKING:  # importing it needs torch_geometric
    from dgl_mutual.experiments.compare.trajectory import Trajectory

#: Difference from which on float32 trajectories count as apart; they have no bound.
_APART_FLOAT32 = 1e-4


@dataclass(frozen=True)
class Table:
    """Cells of Markdown below a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def markdown(self) -> str:
        """A pipe table."""
        return pipe_table(self.header, self.rows)

    @property
    def text(self) -> str:
        """The table for a terminal, without bold type."""
        plain = [[cell.replace("**", "") for cell in row] for row in (self.header, *self.rows)]
        header, *rows = aligned(plain, len(self.header))
        return "\n".join([header, "-" * max(map(len, (header, *rows))), *rows])


@dataclass(frozen=True)
class Section:
    """One section of a certificate.

    Attributes:
        body: a table, or a few lines of Markdown.
        prose: how to read it; only in the certificate.
        screen: text for the screen instead of `body`.
        on_screen: whether the section is shown on the screen.
    """

    title: str
    body: str | Table
    prose: str = ""
    screen: str = ""
    on_screen: bool = True

    @property
    def markdown(self) -> str:
        body = self.body.markdown if isinstance(self.body, Table) else self.body
        return "\n\n".join(part for part in (f"## {self.title}", self.prose, body) if part)

    @property
    def text(self) -> str:
        """The section for the screen."""
        return f"{self.title}\n{self.screen or (self.body.text if isinstance(self.body, Table) else self.body)}"


_TRAINED_ALIKE = """\
The same splits, starting weights, order of graphs and choice of epoch by validation; each side draws its own dropout."""
_EQUIVALENCE = """\
Mean ± standard deviation (ddof = 1). The difference is ours minus the reference, with its 95 % interval and the paired t-test of "none".
Equivalence: two one-sided t-tests against the margin. Training samples of folds, and of seeds of the protocol holdout, overlap; there,
interval and tests use the standard error of Nadeau and Bengio (2003)."""
_FOREIGN = (
    "Rows are paired by name. Splits, tuning and choice of epoch of the other side are not known here, unless its fingerprints say so."
)
_CONFIGURATION = """\
The command repeats the comparison; "..." in it stands for a folder. config.yaml beside this page is the complete configuration of our
side, with all its defaults."""
_NUMBERS = """\
Each difference is the largest of an entry, relative to max(1, largest entry); for gradients, relative to the member's largest gradient.
Both sides have the same weights: those of our side after a few epochs, with random noise added (names: `dgl_mutual/reference/mapping.py`).
Dropout is off, the exchange has its full weight, and a graph task has one batch."""
_TRAJECTORY = """\
Both sides train with Adam from the same weights and with the same order of graphs; dropout is off, and the exchange starts within a quarter
of the epochs and counts in full from the middle on. Gradients that are zero except for rounding (a bias before a batch norm) count as zero
on both sides. On a graph task at most 128 training and 64 validation graphs are used, and a step size of at most 0.001: beyond, such
training is chaotic, and rounding errors grow in any program. Every epoch is in trajectory.csv."""
_COST = """\
Time of an epoch (training, clean pass and validation): median of {epochs} epochs of each side. The sides run in separate processes and take
turns of a few epochs, of which the first is not counted. Memory: of a process that trains two epochs. The peak includes libraries and data;
"of it to train" is what is added after they are loaded. Inference: one student on the test samples, median of three, mean over students."""


def verdict(checks: Sequence[Check]) -> Section:
    """The verdict, and a line for every quantity that is out of bounds."""
    broken = [check for check in checks if not check.holds]
    if not broken:
        return Section("Verdict", f"Parity holds: all {len(checks)} quantities are within their bounds.")
    lines = [f"Parity is broken: {len(broken)} of {len(checks)} quantities are out of bounds."]
    lines += [f"{c.member}, {c.quantity}, {c.precision}: apart by {c.difference:.2e}, bound {c.bound:.0e}" for c in broken]
    return Section("Verdict", "\n- ".join(lines))


def largest(checks: Sequence[Check]) -> Section:
    """The largest differences of each member at the same weights."""
    rows = []
    for member in dict.fromkeys(check.member for check in checks):
        for precision in PRECISIONS:
            of_member = [check for check in checks if (check.member, check.precision) == (member, precision)]
            groups = ([check for check in of_member if check.quantity.startswith(name)] for name in ("logits", "loss", "gradients"))
            rows.append((member, precision, *map(_worst, groups)))
    return Section("Largest differences at the same weights", _table(("member", "precision", "logits", "loss terms", "gradients"), rows))


def numbers(checks: Sequence[Check]) -> Section:
    """Largest differences at the same weights, one row per quantity and member."""
    by_place: dict[tuple[str, str], dict[str, Check]] = {}
    for check in checks:
        by_place.setdefault((check.quantity, check.member), {})[check.precision] = check
    rows = [
        (quantity, member, *(_checked(by_precision[precision]) for precision in PRECISIONS))
        for (quantity, member), by_precision in sorted(by_place.items(), key=lambda item: item[0][0])
    ]
    header = ("quantity", "member", *(f"{precision} (bound {BOUNDS[precision]:.0e})" for precision in PRECISIONS))
    return Section("Every quantity at the same weights", _table(header, rows), _NUMBERS, on_screen=False)


def trajectories(results: Sequence[Trajectory]) -> Section:
    """Differences of both sides along their trajectories, and the epoch in which they part."""
    rows: list[tuple[object, ...]] = []
    for trajectory in results:
        table, bound = trajectory.table, trajectory.bound if math.isfinite(trajectory.bound) else _APART_FLOAT32
        parted = trajectory.parted(bound)
        where = f"not within {len(table)} epochs" if parted is None else f"in epoch {parted}"
        marks = sorted({1, max(1, len(table) // 2), len(table)})
        for epoch in marks:
            row = table.iloc[epoch - 1]
            figures = [f"{row[name]:.6g}" for name in ("loss_ours", "loss_reference")]
            last = f"{where} (by more than {bound:.0e})" if epoch == marks[-1] else ""
            rows.append((trajectory.precision, epoch, *figures, f"{row['loss']:.1e}", f"{row['weights']:.1e}", last))
    header = ("precision", "epoch", "loss, ours", "loss, reference", "apart: a loss term", "apart: a weight", "they part")
    return Section(f"{len(results[0].table)} epochs from the same weights", _table(header, rows), _TRAJECTORY)


def accuracy(pairs: pd.DataFrame, tests: Mapping[str, Paired], metric: str, counts: str, *, foreign: bool = False) -> Section:
    """Paired test metrics of each member on both sides."""
    rows = []
    for member, paired in tests.items():
        of_member = pairs[pairs["member"] == member]
        rows.append(
            (
                member,
                _mean_and_spread(of_member["ours"].tolist()),
                _mean_and_spread(of_member["reference"].tolist()),
                f"{paired.mean:+.4f}",
                _interval(paired),
                _p(paired.p_difference),
                f"{_p(paired.p_equivalence)} ({_equivalence(paired)})",
            )
        )
    margin, n = next(iter(tests.values())).margin, max(paired.n for paired in tests.values())
    header = ("member", "ours", "reference", "difference", "95 % interval", "p (differ)", f"p (within {margin:g})")
    title = f"Test {metric} side by side ({'one pair' if n == 1 else f'n = {n} {counts}'})"
    return Section(title, _table(header, rows), f"{_FOREIGN if foreign else _TRAINED_ALIKE}\n{_EQUIVALENCE}")


def cost(rows: Iterable[tuple[str, float | None, float | None]], epochs: int) -> Section:
    """Costs of both sides as (name, ours, reference); `epochs` of each trial were timed."""
    lines = []
    for name, ours, reference in rows:
        ratio = f"{reference / ours:.2f}" if ours and reference else "-"
        lines.append((name, _figure(ours), _figure(reference), ratio))
    return Section("Cost side by side", _table(("", "ours", "reference", "reference / ours"), lines), _COST.format(epochs=epochs))


def facts(values: Mapping[str, object]) -> Section:
    """Names and values of a comparison; the screen shows those that identify the data."""
    identity = [f"{name}: {values[name]}" for name in values if name == "dataset" or "fingerprint" in name]
    return Section(
        "What was compared",
        _table(("", ""), [(name, markdown_text(str(value))) for name, value in values.items()]),
        _CONFIGURATION,
        screen="\n".join(identity),
    )


def unmatched(lines: Sequence[str]) -> Section:
    """Rows of either side without a partner."""
    if not lines:
        return Section("Rows without a partner", "None: every row has its partner.")
    body = "\n".join(f"- {markdown_text(line)}" for line in lines)
    return Section("Rows without a partner", body, screen="\n".join(f"- {line}" for line in lines))


def _table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> Table:
    return Table(tuple(map(str, header)), tuple(tuple(map(str, row)) for row in rows))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _checked(check: Check) -> str:
    return f"{check.difference:.1e}" + ("" if check.holds else " **out of bounds**")


def _worst(checks: Sequence[Check]) -> str:
    return _checked(max(checks, key=lambda check: check.difference)) if checks else "-"


def _mean_and_spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def _interval(paired: Paired) -> str:
    return "-" if math.isnan(paired.low) else f"[{paired.low:+.4f}, {paired.high:+.4f}]"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _equivalence(paired: Paired) -> str:
    nothing = "equal differences say nothing"
    if paired.n == 1 or math.isnan(paired.mean):
        nothing = "one pair says nothing" if paired.n == 1 else "a pair is without a number"
    return {None: nothing, True: "equivalent", False: "not shown"}[paired.equivalent]
