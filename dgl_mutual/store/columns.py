"""Meaning of the columns in the CSV files of a run and a suite, in their order. The documentation is made from this."""

from __future__ import annotations

#: trials.csv, a contract with other people's scripts: one row per seed, fold and member; with several targets also one per target.
TRIALS = {
    "task": "`node` or `graph`.",
    "dataset": "Name of the dataset.",
    "fingerprint": "Hash of the graphs, features and labels, as in config.yaml.",
    "strategy": "Name of the strategy.",
    "member": (
        "Each student (`gcn-0`, ...), what the strategy adds (`teacher`, `leader`), `mlp` after distillation, `mean` of the students, "
        "`best_by_val` (the student that is best on validation; ties go to the first), `ensemble`."
    ),
    "architecture": "Architecture of the member.",
    "protocol": "How the samples were split.",
    "seed": "Number of the seed, from 0.",
    "fold": "Number of the fold, or of the dataset's own split, from 0; 0 where the protocol has one split.",
    "metric": "Name of the metric; with several targets `mean` over them, and one row for each, such as `accuracy(digit)`.",
    "train": "Metric on the training part, a fraction between 0 and 1, at the member's best epoch by validation.",
    "val": "The same on the validation part.",
    "test": "The same on the test part. No choice depends on it.",
    "best_epoch": "The epoch that was kept, from 0; empty where there is no single one.",
    "epochs": "Number of epochs that were trained.",
    "seconds_per_epoch": "Seconds of an epoch of the whole cohort, the first left out.",
    "train_seconds": "Seconds of the training of the whole cohort; of a grid, of the chosen point alone.",
    "inference_ms": (
        "Milliseconds that the member alone takes to predict all test samples, measured at the end of its trial, while other trials may be "
        "running. For comparisons use inference.csv."
    ),
    "parameters": "Number of parameters of the member alone.",
    "disagreement": (
        "Share of test samples, or of their labels, that two students predict differently, averaged over all pairs of students. "
        "With several targets the row of their mean has the share over all labels."
    ),
    "peak_mib": "Peak memory of the process in MiB (on a GPU: peak memory of torch on the GPU); of a grid, over all of its points.",
    "nll": "Negative log-likelihood in nats on the test part, mean over the known labels; with several targets the mean over them.",
    "ece": (
        "Expected calibration error on the test part, a fraction: 15 bins of equal width of the confidence. With several labels each "
        "known label is a decision of its own, of confidence max(p, 1 - p); with several targets the mean over them."
    ),
    "split": (
        "Hash of the data that were trained on, with their noise and without edge features and a pool, and of the split. Compare only rows "
        "with equal hashes."
    ),
    "test_to_train": (
        "Number of test samples divided by that of training and validation samples, with hidden labels or not, and without a pool."
    ),
}
#: Bins of equal width over the confidence, as in Guo et al. (see `dgl_mutual.training.evaluation.calibration`).
NUM_BINS = 15
#: reliability.csv: one row per trial, metric, member and bin of confidence that is not empty.
RELIABILITY = {
    "seed": "As in trials.csv.",
    "fold": "As in trials.csv.",
    "metric": "Metric of the target, as in trials.csv: with several targets, each has rows of its own.",
    "member": "Each student, what the strategy adds, `mlp` and `ensemble`.",
    "bin": "Number of the bin, from 0: bin b holds confidences above b / 15, up to (b + 1) / 15.",
    "count": "Number of decisions on the test part in the bin.",
    "accuracy": "Share of them that is right.",
    "confidence": "Their mean confidence.",
}
#: inference.csv: one row per member, written by `dgl-mutual time-inference`.
INFERENCE = {
    "seed": "The trial whose students were timed, as in trials.csv.",
    "fold": "As in trials.csv.",
    "member": "Each student, `mlp` and `ensemble`.",
    "samples": "Number of samples in a forward pass: all samples of the dataset.",
    "repeats": "Number of passes that were timed, after three warm-up passes. The members of a run take turns.",
    "median_ms": "Median milliseconds of a pass, without the time to make batches.",
    "quartile_1_ms": "First quartile.",
    "quartile_3_ms": "Third quartile.",
    "threads": "Number of threads.",
    "device": "`cpu`, or the name of the GPU.",
}
#: summary.csv: one row per member and part.
SUMMARY = {
    "task": "As in trials.csv.",
    "dataset": "As in trials.csv.",
    "strategy": "As in trials.csv.",
    "protocol": "As in trials.csv.",
    "member": "As in trials.csv.",
    "metric": "As in trials.csv.",
    "part": "`train`, `val` or `test`.",
    "mean": "Mean over the trials.",
    "std": "Standard deviation over the trials (ddof = 1); empty for one trial.",
    "n": "Number of trials in which the metric is defined.",
    "counts": "What `n` counts: `seeds`, `folds`, or `seeds x folds`.",
}
#: history.csv: one row per trial and epoch. Names in <angle brackets> vary.
HISTORY = {
    "seed": "As in trials.csv.",
    "fold": "As in trials.csv.",
    "epoch": "Number of the epoch, from 0, over all phases of the strategy.",
    "loss/<term>/<member>": "A loss term of a member, averaged over the steps of the epoch; without a member where the term is shared.",
    "train/<member>": "Metric on the training samples, of the training pass (dropout on).",
    "val/<member>": "Metric on the validation part; empty in epochs without validation.",
    "<metric>/train/<member>": "With several targets: the metric of each, for example `accuracy(digit)/train/gcn-0`.",
    "<metric>/val/<member>": "The same on the validation part.",
    "weights/<member>/<peer>": "Mean weight of a peer in the target of a member.",
    "exchange/<member>": "Mean KL divergence, in nats, from a member's target to its own prediction, before any weight.",
    "gate": "Share of the samples of the exchange on which members learn from others, with the option `gate`.",
    "confident": "Share of the pseudo-labels that are confident enough to be learned (`pseudo-label`).",
    "temperature": "Mean temperature that a student has for those before it (`bgnn`).",
    "task_weight/<target>": "Weight of the target in the loss, with `task_weights: uncertainty`.",
    "diversity/disagreement": "With `training.diversity`: as `disagreement` of trials.csv, on samples of the validation part.",
    "diversity/cka/<member>/<peer>": "With `training.diversity`: linear CKA of the last hidden states of two students.",
}
#: failures.csv: one row per trial that failed.
FAILURES = {
    "seed": "As in trials.csv.",
    "fold": "As in trials.csv.",
    "error": "The message.",
    "details": "The traceback.",
}
#: all.csv of a suite: these columns, then those of trials.csv.
SUITE = {
    "data": "Name of the dataset in the suite.",
    "method": "Name of the method in the suite.",
    "run": "Name of the run's folder.",
}
