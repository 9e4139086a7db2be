"""Helpers that are independent of graphs: files, YAML, text, messages, progress bars."""
