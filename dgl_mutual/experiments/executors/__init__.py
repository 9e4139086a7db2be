"""Where trials run: in processes of this machine, on a Dask cluster, or in the processes of torchrun. One file each, one interface."""
