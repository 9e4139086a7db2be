"""The version of the package, alone so that a build can read it without importing anything else."""

from __future__ import annotations

__version__ = "0.2.0"
