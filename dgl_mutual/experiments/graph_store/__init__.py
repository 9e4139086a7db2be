"""Training on a partitioned graph, by DGL's distributed graph store, without pickles on the wire."""
