"""The version of the package; a build reads it without importing anything else."""

from __future__ import annotations

__version__ = "0.2.0"
