"""Executors of trials: processes of this machine, a Dask cluster, or the processes of torchrun. One file each, one interface."""
