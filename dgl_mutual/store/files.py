"""Names of the files in folders of results."""

#: Of a run.
CONFIG_FILE = "config.yaml"
TRIALS_FILE = "trials.csv"
HISTORY_FILE = "history.csv"
RELIABILITY_FILE = "reliability.csv"
GRID_FILE = "grid.csv"
FAILURES_FILE = "failures.csv"
SUMMARY_FILE = "summary.csv"
ENVIRONMENT_FILE = "environment.json"
#: Of a run, once its students are timed (see `dgl-mutual time-inference`).
INFERENCE_FILE = "inference.csv"
#: Of a suite: which runs are its own, under which names; and all of their trials in one table.
SUITE_FILE = "suite.yaml"
ALL_FILE = "all.csv"
#: Of a search, and of a suite whose methods were tuned: all trials of the search, or of all searches.
TUNING_FILE = "tuning.csv"
#: Of a search.
BEST_FILE = "best.yaml"
SETTINGS_FILE = "tuning.yaml"
JOURNAL_FILE = "journal.log"
#: Of a comparison.
TRAJECTORY_FILE = "trajectory.csv"
COMPARE_FILE = "compare.csv"
CERTIFICATE_FILE = "certificate.md"

#: All files of a run, of a search, and of a comparison. Those of a comparison are in the order in which they are written: it is finished
#: once it has a certificate.
RUN_FILES = (
    *(CONFIG_FILE, TRIALS_FILE, HISTORY_FILE, RELIABILITY_FILE, GRID_FILE, FAILURES_FILE, SUMMARY_FILE, ENVIRONMENT_FILE),
    INFERENCE_FILE,
)
SEARCH_FILES = (JOURNAL_FILE, BEST_FILE, TUNING_FILE, SETTINGS_FILE)
COMPARISON_FILES = (CONFIG_FILE, TRAJECTORY_FILE, COMPARE_FILE, CERTIFICATE_FILE)
