"""Students, and the message passing that they are made of. Each module imports only from those above it:

csr             sparse matrices as data
kernels         sparse products without gradients; chooses MKL, cuSPARSE or DGL
adjacency       the graph of one convolution, and its normalised adjacency matrices
batch, blocks, views, noise     the input of students: graphs with features
functional, edge_functional     spmm, edge_softmax, propagate, attention; messages of nodes and edges: with gradients
norm, dropout, pooling, parts   what stands between and after convolutions
convolutions, dgl_layers, structure_free        one layer each
options, architectures          what a student is made of
streams, custom_modules         random streams and checks for custom modules
student, mlp, custom            modules to train and to call on a DGLGraph
"""
