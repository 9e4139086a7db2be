"""An epoch of the cohort (training, clean pass, validation) compared with torch_geometric: time and peak memory.

    python benchmarks/epochs.py Cora MUTAG:128 --epochs 10 --out results/benchmarks
    torchrun --nproc-per-node 2 benchmarks/epochs.py MUTAG:32 --epochs 10
    python benchmarks/epochs.py ogbg-molbace:32 NCI1:32 --students gin --strategy independent --edge-labels 4 --table epochs-edges

Under torchrun, the processes divide our students and the threads; the reference has all threads, and memory is not measured.
Both sides alternate every five epochs, each in a separate process. The first epoch of a turn, with caches filled by the other side, does
not count; medians and their ratio are reported. Peak memory is that of a process that does nothing else. Needs the extra [reference], and
the data in the folder DGL_MUTUAL_DATA.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import pandas as pd
import torch
from common import ARCHITECTURES, prepare, write

from dgl_mutual.experiments.compare.memory import measure_memory
from dgl_mutual.experiments.compare.sides import train_both
from dgl_mutual.experiments.trial import fit_resolved
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.distributed.process_group import process_group

DATASETS = ["Cora", "CiteSeer", "MUTAG:32", "MUTAG:128", "PROTEINS:32", "PROTEINS:128"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=DATASETS, help="NAME or NAME:BATCH_SIZE")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--students", default=",".join(ARCHITECTURES), help="architectures, separated by commas")
    parser.add_argument("--strategy", default="gml")
    parser.add_argument("--edge-labels", type=int, default=0, help="number of random edge labels for datasets without edge features")
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU time, for a machine that is not idle")
    parser.add_argument("--table", default="epochs", help="name of the table's files")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    data_dir = Path(os.environ["DGL_MUTUAL_DATA"]) if "DGL_MUTUAL_DATA" in os.environ else None
    students = arguments.students.split(",")
    rows = []
    with process_group("cpu", "students") as ranks:
        torch.set_num_threads(max(1, arguments.threads // ranks.size))
        for wanted in arguments.datasets:
            name, _, batch_size = wanted.partition(":")
            config, dataset, trial = prepare(
                name,
                epochs=arguments.epochs,
                batch_size=int(batch_size) if batch_size else None,
                strategy=arguments.strategy,
                architectures=students,
                edge_labels=arguments.edge_labels,
            )
            if ranks.rank:
                fit_resolved(trial, config, dataset, placement=Placement(ranks=ranks))
                continue
            clock = time.process_time if arguments.cpu_time else time.perf_counter
            match = train_both(trial, config, dataset, ranks=ranks, threads=arguments.threads, clock=clock)
            row: dict[str, object] = {
                "dataset": name,
                "batch": batch_size or "full",
                "processes": ranks.size,
                "ours_ms": round(1000 * match.seconds_ours, 1),
                "reference_ms": round(1000 * match.seconds_reference, 1),
                "ratio": round(match.seconds_reference / match.seconds_ours, 2),
                "epochs": match.epochs,
            }
            if ranks.size == 1 and not arguments.no_memory:
                for side in ("ours", "reference"):
                    memory = measure_memory(side, config, trial.split, data_dir=data_dir, threads=arguments.threads)
                    row[f"{side}_mib"] = None if memory.peak is None else round(memory.peak)
                    row[f"{side}_training_mib"] = None if memory.training is None else round(memory.training)
            rows.append(row)
            measure = "CPU time" if arguments.cpu_time else "time"
            title = f"# One epoch ({measure}) of {', '.join(students)} under {arguments.strategy}, beside torch_geometric"
            if arguments.edge_labels:
                title += f"\n\nEdges of datasets without edge features have one of {arguments.edge_labels} random labels."
            write(pd.DataFrame(rows), arguments.out, arguments.table, title)


if __name__ == "__main__":
    main()
