"""A second implementation of the method, on torch_geometric and plain torch, in the style of torch_geometric's documentation.

It shares options, data arrays, splits and metrics with the package and nothing else, so that agreement of the two is evidence.
"""
