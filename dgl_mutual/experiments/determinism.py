"""Determinism check: small trials in separate processes must give bit-equal results."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

from dgl_mutual.errors import TrainingError
from dgl_mutual.experiments.doctor import Finding

EPOCHS = 3
OTHER_THREADS = 2


def check_determinism() -> list[Finding]:
    """Train a cohort on the node and graph task of the digits, twice with one thread, and once with `OTHER_THREADS`.

    The two runs with one thread must be bit-equal. Another number of threads may round sums differently, which is reported but not a fault.

    Raises:
        TrainingError: a training process failed.
    """
    first, again, other = (_train_apart(threads) for threads in (1, 1, OTHER_THREADS))
    findings = []
    for task, digests in first.items():
        findings.append(_compare(f"{task} again", digests, again[task], required=True))
        findings.append(_compare(f"{task} {OTHER_THREADS} threads", digests, other[task], required=False))
    return findings


def train(threads: int) -> dict[str, dict[str, str]]:
    """Task -> digests of the results of a trial, except for its times."""
    import torch

    from dgl_mutual.data.sources.load import load_dataset
    from dgl_mutual.experiments.configuration.config import parse_config
    from dgl_mutual.experiments.plan import prepare
    from dgl_mutual.experiments.trial import fit_resolved

    torch.set_num_threads(threads)
    digests = {}
    for task in ("node", "graph"):
        given = {"task": task, "seeds": 1, "students": "gcn,gat", "student": {"hidden": 16}, "training": {"epochs": EPOCHS}}
        plan = prepare(parse_config(given), load_dataset("digits", task))
        result = fit_resolved(plan.trials[0], plan.config, plan.dataset)
        weights = b"".join(value.numpy().tobytes() for value in result.cohort.state_dict().values())
        metrics = [[member.member, member.train, member.val, member.test] for member in result.members]
        contents = {"metrics": json.dumps(metrics).encode(), "history": json.dumps(result.history).encode(), "weights": weights}
        digests[task] = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return digests


def _train_apart(threads: int) -> dict[str, dict[str, str]]:
    # Python puts the working folder first on the path of the process, so this process's path is set before any import from a file.
    path = f"import sys; sys.path[:] = {sys.path!r}"
    code = f"{path}; import json; from dgl_mutual.experiments.determinism import train; print(json.dumps(train({threads})))"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    if process.returncode:
        last = (process.stderr.strip() or "no message").splitlines()[-1]
        raise TrainingError(f"A trial with {threads} threads ended with status {process.returncode}: {last}")
    digests: dict[str, dict[str, str]] = json.loads(process.stdout.splitlines()[-1])
    return digests


def _compare(subject: str, first: dict[str, str], other: dict[str, str], *, required: bool) -> Finding:
    equal = [name for name in first if first[name] == other[name]]
    different = [name for name in first if name not in equal]
    state = "; ".join(f"{what}: {', '.join(names)}" for what, names in (("bit-equal", equal), ("different", different)) if names)
    hint = "report it, with the output of 'dgl-mutual --version'" if required else "compare only runs with the same --threads"
    return Finding(subject, not different, state, hint if different else "", optional=not required)
