"""Students and their message passing. Each module imports only from modules listed before it:

csr             sparse matrices as data
kernels         sparse products without gradients; chooses MKL, cuSPARSE or DGL
adjacency       the graph of one convolution, and its normalised adjacency matrices
batch, blocks, views, noise       the input of students: graphs with features
dgl_graphs      the input in DGL's own form
autograd, functional, edge_functional   spmm, edge_softmax, propagate, attention; messages of nodes and edges: with gradients
options         options of students
norm, dropout, pooling, parts   layers between and after convolutions
streams, custom_modules         random streams and checks for custom modules
unsaved_state                   state of custom modules outside of their weights
convolutions, dgl_layers, structure_free        one layer each
architectures   convolutions and custom students by name
module          base classes of students, which train on batches and can be called on a DGLGraph
mlp, custom, student    students
"""
