"""Names of the files in folders of results."""

#: Files of a run.
CONFIG_FILE = "config.yaml"
TRIALS_FILE = "trials.csv"
HISTORY_FILE = "history.csv"
RELIABILITY_FILE = "reliability.csv"
GRID_FILE = "grid.csv"
FAILURES_FILE = "failures.csv"
SUMMARY_FILE = "summary.csv"
ENVIRONMENT_FILE = "environment.json"
#: File of a run whose students have been timed (see `dgl-mutual time-inference`).
INFERENCE_FILE = "inference.csv"
#: Files of a suite: the list of its runs with their names, and a table of all their trials.
SUITE_FILE = "suite.yaml"
ALL_FILE = "all.csv"
#: File of a search, and of a suite with tuned methods: all trials of the search, or of all searches.
TUNING_FILE = "tuning.csv"
#: Files of a search.
BEST_FILE = "best.yaml"
SETTINGS_FILE = "tuning.yaml"
JOURNAL_FILE = "journal.log"
#: Files of a comparison.
TRAJECTORY_FILE = "trajectory.csv"
COMPARE_FILE = "compare.csv"
CERTIFICATE_FILE = "certificate.md"

#: All files of a run, a search, and a comparison. Those of a comparison are in the order of writing: it is finished with its certificate.
RUN_FILES = (
    *(CONFIG_FILE, TRIALS_FILE, HISTORY_FILE, RELIABILITY_FILE, GRID_FILE, FAILURES_FILE, SUMMARY_FILE, ENVIRONMENT_FILE),
    INFERENCE_FILE,
)
SEARCH_FILES = (JOURNAL_FILE, BEST_FILE, TUNING_FILE, SETTINGS_FILE)
COMPARISON_FILES = (CONFIG_FILE, TRAJECTORY_FILE, COMPARE_FILE, CERTIFICATE_FILE)
