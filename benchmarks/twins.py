"""Training on generated graphs of OGB's size: the twin of ogbn-arxiv in full batches, that of ogbn-products with sampled neighbours.

    python benchmarks/twins.py --work twins

The graphs (2 GiB) and the runs are kept in the work folder, and reused. Epochs include exact evaluation on all nodes. Memory is the peak
of the process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from common import write

RUNS = {
    "arxiv-twin": ["--epochs", "5"],
    "products-twin": ["--sampler", "neighbor", "--fanout", "10,10", "--batch-size", "1024", "--epochs", "1"],
}


def run(name: str, work: Path, threads: int) -> pd.DataFrame:
    """The rows of a run on a twin, which are both made if missing."""
    graph, runs = work / name, work / f"runs-{name}"
    if not graph.exists():
        dgl_mutual("data", "generate", name, "--out", str(graph))
    dgl_mutual("run", "--dataset", str(graph), *RUNS[name], "--seeds", "1", "--threads", str(threads), "--out", str(runs))
    return pd.read_csv(next(runs.glob("*/trials.csv")))


def dgl_mutual(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dgl_mutual", *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {', '.join(RUNS)}")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    rows = []
    for name in arguments.names or RUNS:
        trials = run(name, arguments.work, arguments.threads).set_index("member")
        of_all, chosen = trials.iloc[0], trials.loc["best_by_val"]
        rows.append(
            {
                "graph": name,
                "epoch_s": round(of_all["seconds_per_epoch"], 1),
                "peak_mib": round(of_all["peak_mib"]),
                "best_student": chosen["architecture"],
                "its_test": round(chosen["test"], 3),
                "its_inference_s": round(chosen["inference_ms"] / 1000, 1),
            }
        )
    write(pd.DataFrame(rows), arguments.out, "twins", f"# Four students on graphs of OGB's size, with {arguments.threads} threads")


if __name__ == "__main__":
    main()
