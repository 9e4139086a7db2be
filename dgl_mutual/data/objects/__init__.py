"""Datasets from objects in memory: arrays, DGL graphs, PyG data."""
