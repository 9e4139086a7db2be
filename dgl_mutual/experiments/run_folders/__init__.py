"""The folder of a run: its lock, its tables, and which trials are finished."""
