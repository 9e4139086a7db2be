"""Import paths in configuration files: custom code that a command would import, and so execute, because a file names it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import RunConfig, read_values
from dgl_mutual.experiments.configuration.given import given_values, layer_of_file
from dgl_mutual.experiments.configuration.recorded import config_of
from dgl_mutual.experiments.recipes import read_recipe
from dgl_mutual.store.configuration import GIVEN, RESOLVED
from dgl_mutual.utils.imports import is_import_path


def import_paths(values: Any) -> Iterator[str]:
    """All strings ``package.module:Name`` among plain values, also in lists such as ``gcn,mypkg.nets:MyNet``.

    All keys count, since strategies, students, weightings, datasets and their options may all be imported.
    """
    if isinstance(values, str):
        yield from (name for part in values.split(",") if is_import_path(name := part.strip()))
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from import_paths(value)
    elif isinstance(values, Iterable):
        for value in values:
            yield from import_paths(value)


def check_trust(configs: Iterable[RunConfig], source: object, typed: Mapping[str, Any] | None = None) -> None:
    """Refuse configurations from a file that name code to import, unless the command line names it too.

    Both parts of a run's config.yaml are checked, since the run's own configuration is resolved to see whether defaults have changed.

    Args:
        source: the file, for the message.
        typed: values set on the command line.

    Raises:
        UsageError: the file names code; the message lists it.
    """
    values = [values for config in configs for values in (given_values(config), *_recorded(config))]
    refuse_code(values, source, known=set(import_paths(typed)))


def _recorded(config: RunConfig) -> Iterator[Any]:
    """The values in the config.yaml of a run, except the names of its targets, which are never imported."""
    if config.record is not None:
        yield config.record.values[GIVEN]
        yield {key: value for key, value in config.record.values[RESOLVED].items() if key != "targets"}


def refuse_code(values: Any, source: object, known: Collection[str] = ()) -> None:
    """Refuse plain values from a file that name code to import, except for `known` paths.

    Raises:
        UsageError: they name code; the message lists it.
    """
    paths = dict.fromkeys(path for path in import_paths(values) if path not in known)
    if paths:
        raise UsageError(
            f"{str(source)!r} names custom code: {', '.join(paths)}. Using it imports the module, which executes it. "
            "If you trust the file and the module, add --trust (in Python trust=True)."
        )


def trusted_config(file: Path | None, typed: Mapping[str, Any], *, trust: bool, recipe: str | None = None) -> RunConfig:
    """The configuration of a recipe, a file and the command line; each is optional, and later ones override earlier ones.

    Args:
        typed: see `check_trust`.

    Raises:
        UsageError: see `read_recipe`, `read_values`, `parse_config` and, without `trust`, `check_trust`.
    """
    values = {} if file is None else read_values(file)
    start = {} if recipe is None else read_recipe(recipe, layer_of_file(values), typed)
    config = config_of(values, below=start, above=typed)
    if file is not None and not trust:
        check_trust([config], file, typed)
    return config
