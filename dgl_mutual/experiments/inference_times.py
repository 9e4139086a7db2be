"""inference.csv of a run: the inference time of each member of a finished trial."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.compute import is_cuda, resolve_device
from dgl_mutual.experiments.configuration.resolve import check_fingerprint
from dgl_mutual.experiments.configuration.trust import trusted_config
from dgl_mutual.experiments.loading import load_data
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.run_folders.folder_lock import lock
from dgl_mutual.experiments.run_folders.run_store import RunStore
from dgl_mutual.experiments.same_data import check_data
from dgl_mutual.experiments.trial import trial_name
from dgl_mutual.store.files import CONFIG_FILE, INFERENCE_FILE
from dgl_mutual.store.tables import INFERENCE_COLUMNS, keys_of, overall, rows_of
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.training.checkpoints import TrainedModel, load_student
from dgl_mutual.training.timing import time_inference
from dgl_mutual.utils.arguments import MAX_THREADS, whole_number
from dgl_mutual.utils.files import check_writable, write_text
from dgl_mutual.utils.safe_text import csv_text
from dgl_mutual.utils.torch_settings import threads_kept


@threads_kept()
def time_run(
    run_folder: Path,
    *,
    repeats: int = 30,
    threads: int = 1,
    device: str = "auto",
    trust: bool = False,
    data_dir: Path | None = None,
    offline: bool = False,
) -> Path:
    """Time the members of the first trial of a run whose students are kept, and write inference.csv into the run's folder.

    Args:
        repeats: see `time_inference`.
        threads: number of threads.
        trust: import code that the run's files name.

    Raises:
        StoreError: the run has no students (label-propagation trains none), or its folder was copied without them; or the official split,
            or the meaning of columns or labels, has changed since they were trained.
        UsageError, DataError: the data cannot be loaded, or are not those of the run, or code is not trusted.
    """
    store = RunStore(run_folder)
    trials = overall(store.trials)
    with_students = [key for key in sorted(keys_of(trials)) if (store.checkpoints / trial_name(*key) / "ensemble.json").is_file()]
    config = trusted_config(run_folder / CONFIG_FILE, {}, trust=trust)
    if not resolve_strategy(config.strategy).trains:
        raise StoreError(
            f"{str(run_folder)!r} has no students, since the strategy {config.strategy!r} trains none, so nothing can be timed. Leave this "
            "run out."
        )
    if not with_students:
        raise StoreError(
            f"{str(run_folder)!r} keeps no students of a finished trial (checkpoints/), so nothing can be timed. Run it again, for example "
            f"with one seed: dgl-mutual run --config {shlex.quote(str(run_folder / CONFIG_FILE))} --seeds 1 --out FOLDER"
        )
    check_writable(run_folder)
    device = resolve_device(device)
    seed, fold = with_students[0]
    folder = store.checkpoints / trial_name(seed, fold)
    dataset = load_data(config, data_dir=data_dir, offline=offline)
    again = f"dgl-mutual run --config {shlex.quote(str(run_folder / CONFIG_FILE))} --set fingerprint=null --out FOLDER"
    check_fingerprint(config, dataset, f"train again on those that are there: {again}")
    check_data(store.finished_trials(), prepare(config, dataset), f"Train again on those that are there: {again}")
    rows = rows_of(trials, [(seed, fold)])
    models: dict[str, TrainedModel] = {
        str(member): load_student(folder, str(member), trust=trust).to(device)
        for member in rows["member"]
        if (folder / f"{member}.json").is_file()
    }
    torch.set_num_threads(whole_number("threads", threads, 1, MAX_THREADS))
    times = time_inference(models, dataset, repeats=repeats)
    device_name = torch.cuda.get_device_name(device) if is_cuda(device) else device
    shared = {"seed": seed, "fold": fold, "samples": dataset.num_samples, "threads": threads, "device": device_name}
    table = pd.DataFrame([{"member": member, **shared, **asdict(time)} for member, time in times.items()], columns=INFERENCE_COLUMNS)
    file = run_folder / INFERENCE_FILE
    with lock(run_folder):
        write_text(file, csv_text(table), within=run_folder)
    return file
