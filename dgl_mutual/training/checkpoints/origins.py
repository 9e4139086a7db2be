"""The installed package that provides a student or weighting of a saved model by name."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from pydantic import BaseModel, Field

from dgl_mutual.errors import UsageError
from dgl_mutual.registry import PlugIn, Registry, installed_plug_ins


class Origin(BaseModel):
    """An entry point of an installed package, as a description keeps it."""

    package: str = Field(pattern=r"^[\w.-]{1,200} \S{1,100}$")
    """Name and version."""
    path: str
    """Import path."""


def origin_of(registry: Registry[Any], name: object) -> Origin | None:
    """Where a name comes from; None for a built-in item, an import path or a class."""
    found = [plug_in for plug_in in registry.plug_ins() if plug_in.name == name]
    return Origin(package=found[0].package, path=found[0].import_path) if len(found) == 1 else None


def plug_in_of(registry: Registry[Any], name: str, origin: Origin) -> PlugIn:
    """What the package of `origin` provides under a name, whatever else has that name. Nothing is imported.

    Raises:
        UsageError: the package is not installed, or no longer provides it.
    """
    package, _, version = origin.package.partition(" ")
    what = f"The {registry.kind} {name!r} is of the package {origin.package}"
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(f"{what}, which is not installed: pip install {package}.") from None
    present = f"{found.metadata['Name']} {found.version}"
    provided = [one for one in installed_plug_ins(registry.group) if (one.name, one.package) == (name, present)]
    if not provided:
        raise UsageError(f"{what}, and {present}, which is installed, does not provide it. Go back: pip install {package}=={version}.")
    return next((one for one in provided if one.import_path == origin.path), provided[0])
