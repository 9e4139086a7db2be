"""One process with all cores as threads, compared with one process per core: the reason for the defaults of --jobs and --threads.

    python benchmarks/threads.py Cora MUTAG --seeds 4

The same trials run both ways, alternating, from the start to the last result on disk; medians are reported.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import pandas as pd
from common import prepare, write

from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.runner import run


def seconds(config: RunConfig, jobs: int, threads: int) -> float:
    data_dir = Path(os.environ["DGL_MUTUAL_DATA"]) if "DGL_MUTUAL_DATA" in os.environ else None
    with TemporaryDirectory() as folder:
        started = perf_counter()
        run(config, out=Path(folder), data_dir=data_dir, offline=True, compute=Compute(device="cpu", jobs=jobs, threads=threads))
        return perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=["Cora", "MUTAG"])
    parser.add_argument("--seeds", type=int, default=2, help="one trial per seed, on graph tasks per seed and fold (ten)")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    rows = []
    for name in arguments.datasets:
        config, _, _ = prepare(name, epochs=arguments.epochs)
        config = config.model_copy(update={"seeds": arguments.seeds})
        ways = {(1, arguments.cores): [], (arguments.cores, 1): []}  # (jobs, threads)
        for _ in range(arguments.rounds):
            for (jobs, threads), times in ways.items():
                times.append(seconds(config, jobs, threads))
        as_threads, as_processes = (median(times) for times in ways.values())
        rows.append(
            {
                "dataset": name,
                "cores": arguments.cores,
                "one_process_s": round(as_threads, 1),
                "one_thread_s": round(as_processes, 1),
                "ratio": round(as_threads / as_processes, 2),
            }
        )
        write(
            pd.DataFrame(rows), arguments.out, "threads", "# The same trials by one process with all cores, and by processes of one thread"
        )


if __name__ == "__main__":
    main()
