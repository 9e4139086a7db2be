"""Training on a graph in parts, by DGL's distributed graph store, without pickles on the wire."""
