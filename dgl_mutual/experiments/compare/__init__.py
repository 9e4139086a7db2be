"""Comparing with torch_geometric: the package's own reference, or somebody's results in a CSV file."""
