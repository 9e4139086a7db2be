"""Searches over the options of a method with Optuna, on validation alone."""
