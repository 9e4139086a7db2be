"""Helpers that know nothing of graphs: files, YAML, text, messages, progress bars."""
