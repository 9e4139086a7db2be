"""Determinism check: small trials in separate processes must give the same numbers to the bit."""

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
    """Train a cohort on the digits, node and graph task, twice with one thread, and once with `OTHER_THREADS`.

    Two runs with one thread must agree to the bit. With another number of threads sums may be rounded differently, which is reported and is
    not a fault.

    Raises:
        TrainingError: a process that trained did not end well.
    """
    first, again, other = (_train_apart(threads) for threads in (1, 1, OTHER_THREADS))
    findings = []
    for task, digests in first.items():
        findings.append(_compare(f"{task} again", digests, again[task], required=True))
        findings.append(_compare(f"{task} {OTHER_THREADS} threads", digests, other[task], required=False))
    return findings


def train(threads: int) -> dict[str, dict[str, str]]:
    """A digest of each thing that a trial leaves, the clock aside, by task."""
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
    # Python puts the working folder first on the path of such a process; only what is built in is imported before it has this one's.
    path = f"import sys; sys.path[:] = {sys.path!r}"
    code = f"{path}; import json; from dgl_mutual.experiments.determinism import train; print(json.dumps(train({threads})))"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise TrainingError(f"A trial with {threads} threads ended with status {done.returncode}: {last}")
    digests: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return digests


def _compare(subject: str, first: dict[str, str], other: dict[str, str], *, required: bool) -> Finding:
    equal = [name for name in first if first[name] == other[name]]
    different = [name for name in first if name not in equal]
    state = "; ".join(f"{what}: {', '.join(names)}" for what, names in (("bit-equal", equal), ("different", different)) if names)
    hint = "report it, with the output of 'dgl-mutual --version'" if required else "compare only runs with the same --threads"
    return Finding(subject, not different, state, hint if different else "", optional=not required)
