"""Predictions of trained members, and their scores."""
