"""Comparison of official splits and meanings of the data, which the fingerprint does not cover, with those of finished trials."""

from __future__ import annotations

from dgl_mutual.data.protocols import OFFICIAL_PROTOCOLS
from dgl_mutual.data.schema import differences, schema_of
from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.configuration.splits import split_of
from dgl_mutual.experiments.plan import Plan
from dgl_mutual.experiments.run_folders.run_store import Kept
from dgl_mutual.experiments.trial import Trial, split_digest, trial_data
from dgl_mutual.store.tables import KEY


def check_data(kept: Kept, plan: Plan, fix: str | None = None) -> None:
    """Refuse to go on with finished trials if the official splits of the dataset, or the meaning of its data, have changed.

    Args:
        fix: advice in the message (default: choose another folder, or start over).

    Raises:
        StoreError: names or kinds of columns, targets or classes differ from those that the run has recorded, if any; or the first
            finished trial of a fold was trained or tested on other samples.
    """
    if not kept.keys:
        return
    fix = fix or f"Choose another folder with --out (in Python: out=...), or {kept.start_over(plan.keys)}."
    _check_schema(kept, plan, fix)
    if plan.config.protocol in OFFICIAL_PROTOCOLS:
        _check_official_splits(kept, plan, fix)


def _check_schema(kept: Kept, plan: Plan, fix: str) -> None:
    differ = differences(kept.recorded("schema"), schema_of(plan.dataset))
    if differ:
        raise StoreError(
            f"The numbers of {plan.dataset.name} are those of the trials in {str(kept.folder)!r}, but their meaning has changed: "
            f"{differ}. Names or kinds were changed in its files, or by the code that makes the dataset. {fix}"
        )


def _check_official_splits(kept: Kept, plan: Plan, fix: str) -> None:
    """See `check_data`. Trials are prepared again with their noise, since the digests in trials.csv include it."""
    digests = kept.trials.groupby(KEY)["split"].first().to_dict()
    first_seeds: dict[int, int] = {}
    for seed, fold in sorted(kept.keys):
        first_seeds.setdefault(fold, seed)
    requested = {trial.key: trial for trial in plan.trials}
    for fold, seed in first_seeds.items():
        trial = requested.get((seed, fold)) or Trial(seed, fold, split_of(plan.config, plan.dataset, seed, fold))
        data = trial_data(trial, plan.config, plan.dataset)
        if digests[trial.key] != split_digest(data.dataset, data.split):
            raise StoreError(
                f"The official split of {plan.dataset.name} is another than that of the trials in {str(kept.folder)!r}: seed "
                f"{trial.seed}, fold {trial.fold} has other training, validation or test samples now. The masks in its files have changed. "
                f"{fix}"
            )
