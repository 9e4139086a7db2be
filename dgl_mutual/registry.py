"""Resolution of names that users give: built-in items, items of installed packages, import paths, or the classes themselves.

One `Registry` serves each family (strategies, students, weightings, datasets). A name is looked up in this order:

1. the items of this package;
2. ``"package.module:Name"``, an import path. The working folder is searched after ``sys.path``, also by the installed command;
3. the entry points of installed packages in the family's group, for example in a pyproject.toml::

       [project.entry-points."dgl_mutual.strategies"]
       agreement = "mypkg.ideas:Agreement"

An item is only imported when it is named, so a package that cannot be imported does not affect other names. Packages installed while
Python runs are found, too.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import multiprocessing
import os
import pkgutil
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.utils.imports import import_object, import_path_of, not_importable
from dgl_mutual.utils.python_compat import is_class
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import kind_of

T = TypeVar("T")

#: Placeholder for an import path in a list of choices.
IMPORT_PATH = "package.module:Name (an import path)"


@dataclass(frozen=True)
class Found(Generic[T]):
    """An item and its origin.

    Attributes:
        name: its name in a configuration.
        value: the class, function or object itself.
        origin: ``built in``, the package and version that provides it, or ``import path``.
    """

    name: str
    value: T
    origin: str


@dataclass(frozen=True)
class PlugIn:
    """An entry point of an installed package, not imported yet."""

    name: str
    path: str
    package: str

    @property
    def import_path(self) -> str:
        """``package.module:Name``, without extras."""
        return self.path.partition("[")[0].strip()


def subclasses_in(package: str, path: Iterable[str], base: type[Any]) -> dict[str, Any]:
    """The concrete subclasses of `base` in the modules of a package, by their `name`, in alphabetical order.

    Args:
        package, path: ``__name__`` and ``__path__`` of the package.
    """
    modules = [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(path)]
    members = {member for module in modules for member in vars(module).values() if is_class(member)}
    classes = {member.name: member for member in members if issubclass(member, base) and not inspect.isabstract(member)}
    return dict(sorted(classes.items()))


class Registry(Generic[T]):
    """The items of one family.

    Args:
        kind: noun for an item in messages, for example ``strategy``.
        built_in: name -> item of this package.
        fault: a check of objects. It returns None for a valid item, else the fault, as the end of a sentence that starts with its name.
        group: entry-point group of the family, for example ``dgl_mutual.strategies``.
    """

    def __init__(self, kind: str, built_in: Mapping[str, T], fault: Callable[[Any], str | None], group: str) -> None:
        self.kind = kind
        self.built_in = built_in
        self.group = group
        self._fault = fault
        self._told: set[PlugIn] = set()

    def find(self, name_or_item: str | T) -> Found[T]:
        """Find the item that a name or import path stands for; a class stands for itself.

        Raises:
            UsageError: the name is unknown, the module cannot be found or imported, or the object is not an item of this family.
        """
        if name_or_item is None:
            example = next(iter(self.built_in), "package.module:Name")
            raise UsageError(f"The name of a {self.kind} is empty (null). Give one, for example {example}, or leave it out.")
        if not isinstance(name_or_item, str):
            self._check(name_or_item, f"The {self.kind} {_shown(name_or_item)}")
            return self._describe(name_or_item)
        name = name_or_item
        if name in self.built_in:
            self.warn_of_hidden(name)
            return Found(name, self.built_in[name], "built in")
        if ":" in name:
            value = import_object(name, self.kind)
            self._check(value, name)
            return Found(name, value, "import path")
        plug_ins = [plug_in for plug_in in self.plug_ins() if plug_in.name == name]
        if not plug_ins:
            raise unknown(self.kind, name, [*self.names(), IMPORT_PATH])
        if len(plug_ins) > 1:
            ways = "; ".join(f"{plug_in.import_path} ({plug_in.package})" for plug_in in plug_ins)
            raise UsageError(f"Several installed packages provide a {self.kind} {name!r}. Name one by its import path: {ways}.")
        return Found(name, self.load(plug_ins[0]), plug_ins[0].package)

    def resolve(self, name_or_item: str | T) -> T:
        """Like `find`, but return only the item."""
        return self.find(name_or_item).value

    def load(self, plug_in: PlugIn) -> T:
        """Import an item of an installed package.

        Raises:
            UsageError: it cannot be imported, or is not an item of this family; the message names the package.
        """
        try:
            value = import_object(plug_in.import_path, self.kind)
            self._check(value, plug_in.import_path)
        except UsageError as error:
            raise UsageError(
                f"The {self.kind} {plug_in.name!r} of the installed package {plug_in.package} cannot be used. {error} "
                "Report this to the package's authors, or uninstall it."
            ) from None
        return value  # type: ignore[no-any-return]  # `_check` has seen that it is one

    def check_name(self, name: str) -> None:
        """Check that an item has this name, without importing anything.

        Raises:
            UsageError: no item has it; the message lists all names.
        """
        if name in self.built_in:
            self.warn_of_hidden(name)
        elif ":" not in name and name not in self.names():
            raise unknown(self.kind, name, [*self.names(), IMPORT_PATH])

    def names(self) -> list[str]:
        """All known names: built-in ones, then those of installed packages."""
        return list(dict.fromkeys([*self.built_in, *sorted(plug_in.name for plug_in in self.plug_ins())]))

    def plug_ins(self) -> list[PlugIn]:
        """The items of installed packages, except for those with a built-in name. Nothing is imported."""
        return [plug_in for plug_in in installed_plug_ins(self.group) if plug_in.name not in self.built_in]

    def listed_plug_ins(self) -> list[tuple[PlugIn, str]]:
        """All items of installed packages, each with its origin and, if its name is not unique, the import path to use instead."""
        plug_ins = installed_plug_ins(self.group)
        counts = Counter(plug_in.name for plug_in in plug_ins)
        listed = []
        for plug_in in plug_ins:
            is_built_in = plug_in.name in self.built_in
            why = "the name means the built-in one" if is_built_in else "several packages have the name"
            is_hidden = is_built_in or counts[plug_in.name] > 1
            listed.append((plug_in, f"from {plug_in.package}{f'; {why}, so name it {plug_in.import_path}' if is_hidden else ''}"))
        return listed

    def warn_of_hidden(self, name: str) -> None:
        """Warn, once per process, of items of installed packages with the name of a built-in item."""
        if multiprocessing.parent_process() is not None:  # the parent process warns
            return
        for plug_in in installed_plug_ins(self.group):
            is_told = plug_in in self._told
            if not is_told and plug_in.name in self.built_in and self.built_in[plug_in.name] == self.built_in[name]:
                self._told.add(plug_in)
                warn(
                    f"The installed package {plug_in.package} provides a {self.kind} {plug_in.name!r}, too. The built-in one is used; "
                    f"{plug_in.import_path} names the other."
                )

    def name_of(self, value: T) -> str:
        """The name of an item in a configuration: its built-in name, or its import path.

        Raises:
            UsageError: another process cannot import it.
        """
        described = self._describe(value)
        reason = not_importable(value) if described.origin != "built in" else None
        if reason is not None:
            raise UsageError(
                f"The {self.kind} {_shown(value)} cannot be found again later or by another process: {reason}. "
                "Define it at the top level of a module (a .py file) and import it from there."
            )
        return described.name

    def _describe(self, value: T) -> Found[T]:
        for name, known in self.built_in.items():
            if known is value:
                return Found(name, value, "built in")
        return Found(import_path_of(value), value, "import path")

    def _check(self, value: Any, name: str) -> None:
        fault = self._fault(value)
        if fault is not None:
            raise UsageError(f"{name} {fault}")


def subclass_of(base: type, name: str) -> Callable[[Any], str | None]:
    """Return a check for `Registry`: is a value a concrete subclass of `base`, which users import as `name`?"""

    def fault(value: Any) -> str | None:
        if isinstance(value, base):
            return f"is an instance. Give the class itself, {type(value).__name__}, and its options beside it."
        if not is_class(value):
            return f"is not a class but {kind_of(value)}. Give a subclass of {name}."
        if not issubclass(value, base):
            return f"is not a subclass of {name}. Derive the class from it."
        missing = sorted(getattr(value, "__abstractmethods__", ()))
        return f"is abstract. Define its {', '.join(missing)}." if missing else None

    return fault


def made_by(cls: type, family: str, arguments: tuple[str, ...]) -> str | None:
    """The fault of a class that cannot be called with these positional arguments; None if it can."""
    try:
        inspect.signature(cls).bind(*arguments)
    except TypeError:
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]  # only inspected, not called
        take = "this argument, and pass it" if len(arguments) == 1 else f"these {len(arguments)} arguments, and pass them"
        return f"has __init__{signature}, but {family} are made with ({', '.join(arguments)}). Take {take} to super().__init__."
    return None


def installed_plug_ins(group: str) -> tuple[PlugIn, ...]:
    """The entry points of all installed packages in one group, ordered by package name."""
    return all_plug_ins().get(group, ())


def all_plug_ins() -> Mapping[str, tuple[PlugIn, ...]]:
    """Group of this package -> the entry points of all installed packages in it, ordered by package name."""
    return _all_plug_ins(tuple((entry, _modified(entry)) for entry in sys.path))


@lru_cache(maxsize=8)
def _all_plug_ins(path: tuple[tuple[str, int], ...]) -> Mapping[str, tuple[PlugIn, ...]]:
    """See `all_plug_ins`.

    Args:
        path: folders of ``sys.path`` with their modification times, which change when a package is installed.
    """
    by_distribution: dict[str, list[tuple[str, PlugIn]]] = {}
    for distribution in importlib.metadata.distributions(path=[entry for entry, _ in path]):
        try:  # a package with unreadable metadata must not hide the others
            name = str(distribution.metadata["Name"])
            points = [point for point in distribution.entry_points if point.group.startswith("dgl_mutual.")]
            package = f"{name} {distribution.version}"
        except Exception:
            continue
        plug_ins = [(point.group, PlugIn(point.name, point.value, package)) for point in points]
        # Of several copies on the path, Python imports the first.
        by_distribution.setdefault(re.sub(r"[-_.]+", "-", name).lower(), plug_ins)
    groups: dict[str, list[PlugIn]] = {}
    for _, points_of_package in sorted(by_distribution.items()):
        for group, plug_in in points_of_package:
            groups.setdefault(group, []).append(plug_in)
    return {group: tuple(of_group) for group, of_group in groups.items()}


def _modified(entry: str) -> int:
    """Modification time in nanoseconds; 0 if it cannot be read."""
    try:
        return os.stat(entry or ".").st_mtime_ns
    except (OSError, ValueError):
        return 0


def _shown(value: Any) -> str:
    if is_class(value) or inspect.isroutine(value):
        return import_path_of(value)
    is_plain = isinstance(value, str | int | float | list | tuple | set | dict | bytes)
    return f"{value!r:.60}" if is_plain else f"{type(value).__name__}(...)"
