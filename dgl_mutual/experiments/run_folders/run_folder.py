"""Which folder is whose: the folder of a run by its name, and the configuration in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dgl_mutual.store.configuration import RESOLVED, has_both, identity, num_seeds
from dgl_mutual.utils.plain_yaml import read_yaml_file


def read_resolved(file: Path) -> dict[str, Any] | None:
    """The resolved configuration in a config.yaml; None where there is none that can be read."""
    try:
        values = read_yaml_file(file)
        if not has_both(values):
            return None
        resolved = {"dataset": "", **values[RESOLVED]}
        identity(resolved)
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError):  # no YAML, or values in the place of groups
        return None
    return resolved


def folder_of_run(out: Path, name: str, resolved: dict[str, Any]) -> Path:
    """Where below `out` a run has its folder: the one of its name, or one that holds the same run by the name of another identity, as the
    kept runs in results/ do (of several, the one with most seeds).

    Args:
        name: the run's name, which ends in a hash.
        resolved: its resolved configuration as plain values.
    """
    if (out / name).exists():
        return out / name
    decisive, found = identity(resolved), {}
    for file in out.glob(f"{name[:-8]}{'[0-9a-f]' * 8}/config.yaml"):
        other = read_resolved(file)
        if other is not None and identity(other) == decisive:
            found[file.parent] = num_seeds(other)
    return max(sorted(found), key=found.__getitem__, default=out / name)
