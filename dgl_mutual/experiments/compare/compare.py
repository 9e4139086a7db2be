"""Running a comparison and saving its results in a folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean, median

import pandas as pd
import torch

from dgl_mutual.cohort import student_names
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.errors import DataError
from dgl_mutual.experiments.compare import certificate
from dgl_mutual.experiments.compare.certificate import Section
from dgl_mutual.experiments.compare.checks import PRECISIONS, Check, parity_trial
from dgl_mutual.experiments.compare.folder import CertificateReport, ComparisonFolder
from dgl_mutual.experiments.compare.foreign import pair, read_results
from dgl_mutual.experiments.compare.scope import check_scope
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.resolve import added_members
from dgl_mutual.experiments.configuration.without_effect import refuse_folds, warn_of_options_without_effect
from dgl_mutual.experiments.environment import command_line, installed_version, source_commit, versions
from dgl_mutual.experiments.loading import load_data
from dgl_mutual.experiments.plan import Plan, prepare
from dgl_mutual.experiments.progress import Display, no_progress
from dgl_mutual.experiments.runner import run
from dgl_mutual.experiments.trial import split_digest, trial_data
from dgl_mutual.reference.requirement import require_torch_geometric
from dgl_mutual.reference.temporary import own_temporary_files
from dgl_mutual.statistics import Paired, compare_pairs, held_out_ratio
from dgl_mutual.store.files import FAILURES_FILE
from dgl_mutual.store.members import BEST, ENSEMBLE, MEAN, MLP_MEMBER
from dgl_mutual.store.summary import what_n_counts
from dgl_mutual.store.tables import read_trials, rows_of
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.training.evaluation.task_metrics import scorer_of, undefined_metrics
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.trial_data import TrialData
from dgl_mutual.utils.arguments import MAX_THREADS, whole_number
from dgl_mutual.utils.files import check_writable
from dgl_mutual.utils.safe_text import markdown_text, path_name
from dgl_mutual.utils.torch_settings import threads_kept
from dgl_mutual.utils.wording import assignments, counted

_VERSIONS = ("dgl_mutual", "dgl", "torch_geometric", "torch", "numpy", "scipy", "python", "platform")
Say = Callable[[str], None]


@own_temporary_files()
@threads_kept()
def compare_with_reference(
    config: RunConfig,
    *,
    out: Path | None = None,
    data_dir: Path | None = None,
    offline: bool = False,
    threads: int = 1,
    parity_epochs: int = 50,
    margin: float = 0.01,
    parity_only: bool = False,
    say: Say = lambda _: None,
    display: Display = no_progress,
) -> CertificateReport:
    """Compare with the package's own reference on torch_geometric, on a CPU.

    Args:
        config: complete or not; its seeds, folds and epochs apply to the comparison of accuracy.
        out: folder of the results (default: ``results/compare/<dataset>``).
        parity_epochs: number of epochs of the trajectories.
        margin: smallest difference of test metrics that matters.
        parity_only: skip accuracy and cost.
        display: opens a progress for each part that trains.

    Raises:
        MissingReference: no torch_geometric, or not in a supported version.
        UsageError, DataError, StoreError: nothing was compared.
    """
    require_torch_geometric()
    torch.set_num_threads(whole_number("threads", threads, 1, MAX_THREADS))
    plan, folder = _prepare(config, out, data_dir, offline)
    check_scope(plan.config, plan.dataset)
    if not parity_only:
        _check_test_labels(plan)
    # These import torch_geometric.
    from dgl_mutual.experiments.compare.snapshot import certify_numbers
    from dgl_mutual.experiments.compare.trajectory import certify_trajectory

    settings = f"{parity_epochs} epochs of parity, " + ("neither accuracy nor cost" if parity_only else f"margin {margin:g}")
    comparison = ComparisonFolder(folder, "dgl_mutual beside its torch_geometric reference", settings, plan)
    with comparison.locked():
        config, dataset, trials = plan.config, plan.dataset, plan.trials
        facts = _facts(plan, threads) | {"settings": comparison.settings}
        subject = parity_trial(trials[0], dataset)
        say("parity: the same numbers at the same weights")
        numbers = certify_numbers(subject, config, dataset)
        say(f"parity: {parity_epochs} epochs in float64, and in float32")
        trajectories = []
        with display() as progress:
            progress.start(len(PRECISIONS), 0)
            for precision in PRECISIONS:
                title = f"{precision}  {subject.name}"
                report = partial(progress.epoch, title)
                trajectories.append(certify_trajectory(subject, config, dataset, precision, epochs=parity_epochs, report=report))
                progress.end(title)
        checks = [_fingerprint_check(facts), *numbers, *(check for trajectory in trajectories for check in trajectory.checks)]
        rows = [{"kind": "parity", **asdict(check), "holds": check.holds} for check in checks]
        sections = [
            certificate.verdict(checks),
            certificate.facts(facts),
            certificate.largest(numbers),
            certificate.numbers(numbers),
            certificate.trajectories(trajectories),
        ]
        if not parity_only:
            further_sections, further_rows = _side_by_side(
                plan, margin=margin, data_dir=data_dir, threads=threads, say=say, display=display
            )
            sections += further_sections
            rows += further_rows
        table = pd.concat([trajectory.table.assign(precision=trajectory.precision) for trajectory in trajectories])
        return comparison.write(sections, rows, holds=all(check.holds for check in checks), trajectory=table)


def compare_with_file(
    config: RunConfig,
    file: Path,
    *,
    columns: Mapping[str, str],
    member: str = BEST,
    out: Path | None = None,
    runs: Path = Path("results"),
    data_dir: Path | None = None,
    offline: bool = False,
    jobs: int | None = None,
    threads: int = 1,
    margin: float = 0.01,
    say: Say = lambda _: None,
    display: Display = no_progress,
) -> CertificateReport:
    """Compare with results in a CSV file. Our missing trials are run first, below `runs`.

    Args:
        columns: our name of a column -> its name in the file (see `dgl_mutual.experiments.compare.foreign.COLUMNS`).
        out: folder of the results (default: ``results/compare/<dataset>-<name of the file>``).
        member: our member to compare with a file without members.

    Raises:
        UsageError, DataError, StoreError: nothing was compared.
    """
    compute = Compute(device="cpu", jobs=jobs, threads=threads)
    foreign, percent = read_results(file, columns)
    plan, folder = _prepare(config, out, data_dir, offline, f"-{file.stem}")
    config, dataset = plan.config, plan.dataset
    pair(_planned(plan), foreign, member=member)  # refuses results that cannot match before anything is trained
    title = f"dgl_mutual beside {markdown_text(file.name)}"
    comparison = ComparisonFolder(folder, title, f"margin {margin:g}, member {member}", plan)
    with comparison.locked():
        say("running our missing trials")
        with display() as progress:
            report = run(config, out=runs, data_dir=data_dir, offline=offline, compute=compute, progress=progress)
        trials = rows_of(read_trials(report.folder), plan.keys)  # the folder may hold more seeds
        if trials.empty:
            raise DataError(f"None of our trials finished: {'; '.join(report.failed)}. See {report.folder / FAILURES_FILE}.")
        pairing = pair(trials[trials["metric"] == dataset.target.metric], foreign, member=member)
        facts = {
            **_common_facts(plan, threads),
            "settings": comparison.settings,
            "dataset fingerprint": fingerprint(dataset),
            "reference": f"{file.name}{', in percent' if percent else ''}",
            "our trials": report.folder.name,
            "pairs": len(pairing.table),
        }
        tests = _tests(pairing.table, margin, plan)
        sections = [
            certificate.facts(facts),
            certificate.unmatched((*pairing.unmatched, *(f"our trial failed: {line}" for line in report.failed))),
            certificate.accuracy(pairing.table, tests, dataset.target.metric, what_n_counts(pairing.table), foreign=True),
        ]
        return comparison.write(sections, _accuracy_rows(pairing.table, tests))


def _prepare(config: RunConfig, out: Path | None, data_dir: Path | None, offline: bool, beside: str = "") -> tuple[Plan, Path]:
    dataset = load_data(config, data_dir=data_dir, offline=offline)
    folder = out or Path("results") / "compare" / path_name(f"{dataset.name}{beside}")
    check_writable(folder)
    plan = prepare(config, dataset)
    refuse_folds(plan.given, plan.config)
    warn_of_options_without_effect(plan.asked_and_resolved)
    return plan, folder


def _planned(plan: Plan) -> pd.DataFrame:
    """The rows that trials.csv will have, without metrics: `test` is 0 if it will be defined, else NaN."""
    config, dataset = plan.config, plan.dataset
    columns = ("dataset", "fingerprint", "split", "seed", "fold", "member", "test")
    rows = []
    for trial in plan.trials:
        data = trial_data(trial, config, dataset)
        key = (dataset.name, config.fingerprint, split_digest(data.dataset, data.split), trial.seed, trial.fold)
        test = 0.0 if _has_test_metric(data) else math.nan
        rows += [(*key, member, test) for member in _members(config)]
    return pd.DataFrame(rows, columns=columns)


def _has_test_metric(data: TrialData) -> bool:
    """Whether the test metric is defined: labels of the test part are known, for each of several tasks."""
    dataset = data.dataset
    return not undefined_metrics(
        scorer_of(dataset, official=False), torch.as_tensor(dataset.labels), data.split, dataset.target.num_outputs
    )


def _check_test_labels(plan: Plan) -> None:
    """Raise `DataError` if both sides could be trained, but not compared."""
    for trial in plan.trials:
        if not _has_test_metric(trial_data(trial, plan.config, plan.dataset)):
            raise DataError(
                f"No test label of {plan.dataset.name} is known in seed {trial.seed} fold {trial.fold}, so there is no accuracy to "
                "compare. Leave it out with --parity-only (in Python: parity_only=True), or give the labels."
            )


def _members(config: RunConfig) -> list[str]:
    """The members of trials.csv, in its order."""
    strategy_class = resolve_strategy(config.strategy)
    members = (
        [*student_names(config.students), *(name for name, _ in added_members(config))] if strategy_class.trains else [strategy_class.name]
    )
    return [*members, MEAN, BEST, ENSEMBLE, *([] if config.distill is None else [MLP_MEMBER])]


def _facts(plan: Plan, threads: int) -> dict[str, object]:
    """Names and values for the certificate. The fingerprint of the reference is that of the graphs that its students see."""
    from dgl_mutual.reference.graphs import from_graphs, to_graphs

    dataset = plan.dataset
    seen = from_graphs(to_graphs(dataset), dataset)
    return {**_common_facts(plan, threads), "fingerprint, ours": fingerprint(dataset), "fingerprint, reference": fingerprint(seen)}


def _common_facts(plan: Plan, threads: int) -> dict[str, object]:
    config, dataset = plan.config, plan.dataset
    training = config.training
    installed = {**versions(), **{name: installed_version(name) for name in ("torch_geometric", "numpy", "scipy")}}
    return {
        "dataset": f"{dataset.name} ({config.task} task)",
        "size": f"{counted(dataset.num_graphs, 'graph')}, {counted(dataset.num_nodes, 'node')}, {counted(dataset.num_edges, 'edge')}",
        "students": ", ".join(student.architecture_name for student in config.students),
        "strategy": config.strategy,
        "strategy options": assignments(config.strategy_options) or "-",
        "protocol": f"{config.protocol}; seeds: {config.seeds}" + (f"; folds: {config.folds}" if config.folds else ""),
        "training": f"{counted(training.epochs, 'epoch')} at most, learning rate {training.learning_rate:g}, "
        f"weight decay {training.weight_decay:g}"
        + (f", batches of {training.batch_size} graphs" if config.task == "graph" else "")
        + _averaged(training),
        "command": command_line(),
        "versions": ", ".join(f"{name} {installed[name]}" for name in _VERSIONS if installed.get(name)),
        "commit": source_commit() or "-",
        "threads": threads,
    }


def _averaged(training: TrainingOptions) -> str:
    decay = "" if training.average != "ema" else f" with decay {training.average_decay:g}"
    return "" if training.average == "none" else f", weights averaged ({training.average}{decay} from epoch {training.average_start})"


def _fingerprint_check(facts: Mapping[str, object]) -> Check:
    same = facts["fingerprint, ours"] == facts["fingerprint, reference"]
    return Check("data", "fingerprint", "-", 0.0 if same else 1.0, 0.0)


def _side_by_side(
    plan: Plan, *, margin: float, data_dir: Path | None, threads: int, say: Say, display: Display
) -> tuple[list[Section], list[dict[str, object]]]:
    """Accuracy and cost as sections of the certificate, and as rows of compare.csv."""
    from dgl_mutual.experiments.compare.memory import measure_memory
    from dgl_mutual.experiments.compare.sides import train_both

    config, dataset, trials = plan.config, plan.dataset, plan.trials
    say("accuracy and cost: training both sides")
    matches = []
    with display() as progress:
        progress.start(len(trials), 0)
        for trial in trials:
            matches.append(train_both(trial, config, dataset, on_epoch=progress.epoch))
            progress.end(trial.title)
    pairs = pd.concat([match.pairs for match in matches], ignore_index=True)
    tests = _tests(pairs, margin, plan)
    say("memory of each side")
    ours, theirs = (measure_memory(side, config, trials[0].split, data_dir=data_dir, threads=threads) for side in ("ours", "reference"))
    students = pairs[~pairs["member"].isin([MEAN, BEST, ENSEMBLE])]
    ensemble = pairs[pairs["member"] == ENSEMBLE].iloc[0]
    costs: list[tuple[str, float | None, float | None]] = [
        ("seconds an epoch", median(m.seconds_ours for m in matches), median(m.seconds_reference for m in matches)),
        ("peak memory, MiB", ours.peak, theirs.peak),
        ("of it to train, MiB", ours.training, theirs.training),
        ("parameters, all students", float(ensemble["parameters_ours"]), float(ensemble["parameters_reference"])),
        ("inference of one student, ms", fmean(students["inference_ms_ours"]), fmean(students["inference_ms_reference"])),
    ]
    sections = [
        certificate.accuracy(pairs, tests, dataset.target.metric, what_n_counts(pairs)),
        certificate.cost(costs, min(match.epochs for match in matches)),
    ]
    rows = _accuracy_rows(pairs, tests)
    rows += [{"kind": "cost", "quantity": name, "ours": ours, "reference": reference} for name, ours, reference in costs]
    return sections, rows


def _tests(pairs: pd.DataFrame, margin: float, plan: Plan) -> dict[str, Paired]:
    assert plan.config.protocol is not None
    mean_ratio = fmean(trial.split.test_to_train for trial in plan.trials)
    # 0 if seeds count as independent.
    test_to_train = held_out_ratio(plan.config.protocol, plan.config.folds or 1, mean_ratio) or 0.0
    differences = pairs.assign(difference=pairs["ours"] - pairs["reference"]).groupby("member", sort=False)["difference"]
    return {str(member): compare_pairs(values.tolist(), margin, test_to_train) for member, values in differences}


def _accuracy_rows(pairs: pd.DataFrame, tests: Mapping[str, Paired]) -> list[dict[str, object]]:
    table = pairs[["seed", "fold", "member", "ours", "reference"]]
    table = table.assign(kind="accuracy", quantity="test", difference=table["ours"] - table["reference"])
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    for member, paired in tests.items():
        figures = {**asdict(paired), "difference": paired.mean, "equivalent": paired.equivalent}
        rows.append({"kind": "accuracy, paired", "quantity": "test", "member": member, **figures})
    return rows
