"""From a configuration to a folder of results. Each module imports only from modules listed before it:

recipes         named options for known datasets
configuration   what a run is to do: layers of options, resolved on a dataset
compute, processes, environment     devices and processes of trials; the machine and versions of a result
progress_estimate, progress     remaining time, and its display
loading         datasets with their pools
trial, plan     one training with one seed on one fold; all trials of a run
run_folders     tables of finished trials, snapshots, and the lock of a run
graph_store     training on a partitioned graph
work, executors     a trial as work for any process; where trials run
doctor, determinism, same_data, estimate    checks and estimates before a run
runner          all trials of a run that are not finished; start reading here
predictions, inference_times    what trained students are used for
tuning          searches over options
suites          several methods on several datasets
compare         comparison with torch_geometric
option_table, strategy_table    what commands show
"""
