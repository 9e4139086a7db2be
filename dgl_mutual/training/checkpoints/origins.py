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
    """Return the package that provides a name; None for a built-in item, an import path or a class."""
    plug_ins = [plug_in for plug_in in registry.plug_ins() if plug_in.name == name]
    return Origin(package=plug_ins[0].package, path=plug_ins[0].import_path) if len(plug_ins) == 1 else None


def plug_in_of(registry: Registry[Any], name: str, origin: Origin) -> PlugIn:
    """Return the item that the package of `origin` provides under a name, whatever else has that name. Nothing is imported.

    Raises:
        UsageError: the package is not installed, or no longer provides it.
    """
    package, _, version = origin.package.partition(" ")
    subject = f"The {registry.kind} {name!r} is of the package {origin.package}"
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(f"{subject}, which is not installed: pip install {package}.") from None
    installed = f"{distribution.metadata['Name']} {distribution.version}"
    provided = [plug_in for plug_in in installed_plug_ins(registry.group) if (plug_in.name, plug_in.package) == (name, installed)]
    if not provided:
        raise UsageError(f"{subject}, and {installed}, which is installed, does not provide it. Go back: pip install {package}=={version}.")
    return next((plug_in for plug_in in provided if plug_in.import_path == origin.path), provided[0])
