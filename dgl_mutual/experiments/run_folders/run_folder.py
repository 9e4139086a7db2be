"""Which run a folder is of: the configuration in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dgl_mutual.store.configuration import RESOLVED, has_both, identity
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
