"""The same method once more, on torch_geometric and plain torch, written the way torch_geometric's documentation writes such code.

It shares options, data arrays, splits and metrics with the package and nothing else, so that agreement between the two says something.
"""
