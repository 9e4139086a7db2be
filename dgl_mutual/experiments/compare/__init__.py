"""Comparing with torch_geometric: with the package's own reference, or with results in a CSV file."""
