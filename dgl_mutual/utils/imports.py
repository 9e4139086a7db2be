"""Import of objects by import path, ``package.module:Name``. The working folder is searched last, also by the installed command."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import traceback
from typing import Any

from dgl_mutual.errors import UsageError, listed
from dgl_mutual.utils.custom_code import NAMED
from dgl_mutual.utils.error_causes import is_interrupt

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_import_path(text: str) -> bool:
    """Whether a string has the form ``package.module:Name``."""
    return _PATH.fullmatch(text) is not None


def import_object(path: str, kind: str = "object") -> Any:
    """Import the object ``package.module:Name`` (or ``:Outer.Inner``).

    During its first import here, a module draws the same random numbers in each process, and its changes of torch's settings are undone.

    Raises:
        UsageError: another form, a module that does not exist or raises during its import, or a name that it does not have.
    """
    if not is_import_path(path):
        raise UsageError(f"Cannot import the {kind} {path!r}: the form is package.module:Name, for example mypkg.ideas:MyIdea.")
    module_name, _, names = path.partition(":")
    NAMED.add(module_name.partition(".")[0])
    value: Any = _import_module(module_name, path, kind)
    for name in names.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            public = [known for known in dir(value) if not known.startswith("_")]
            nearest = difflib.get_close_matches(name, public, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else f" It has: {listed(public) or 'nothing'}."
            raise UsageError(f"Cannot import the {kind} {path!r}: {module_name!r} has no {name!r}.{hint}") from None
    return value


def not_importable(value: Any) -> str | None:
    """Why another process cannot import a class or function by its name, or None."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module is None or name is None:
        return "it has no name"
    if module == "__main__":
        return "it is defined in a notebook, an interactive session or the script that was started (__main__)"
    if "<" in name:
        return "it is defined inside a function"
    current: Any = sys.modules.get(module)
    for part in name.split("."):
        current = getattr(current, part, None)
    return None if current is value else f"{module}:{name} is now another object"


def import_path_of(value: Any) -> str:
    """``package.module:Name`` of a class or function, whether or not it can be imported (see `not_importable`)."""
    return f"{getattr(value, '__module__', '?')}:{getattr(value, '__qualname__', type(value).__qualname__)}"


def _import_module(name: str, path: str, kind: str) -> Any:
    if name in sys.modules:
        return _find_module(name, path, kind)
    from dgl_mutual.utils.random_streams import seeded  # it imports torch
    from dgl_mutual.utils.torch_settings import settings_kept

    with seeded(0), settings_kept():  # a saved student is loaded in other processes than it was trained in
        return _find_module(name, path, kind)


def _find_module(name: str, path: str, kind: str) -> Any:
    """Import a module, from the working folder if it is found nowhere else."""
    try:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            here, top = os.getcwd(), name.partition(".")[0]
            is_here = os.path.isdir(os.path.join(here, top)) or os.path.isfile(os.path.join(here, f"{top}.py"))
            if error.name != top or not is_here or here in sys.path or "" in sys.path:
                raise
            sys.path.append(here)  # permanently: a module may import others of its folder later, when it is used
            importlib.invalidate_caches()
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if _is_missing(name, error):
            hint = f" Write {path.replace('.py:', ':')!r}." if name.endswith(".py") else ""
            raise UsageError(
                f"Cannot import the {kind} {path!r}: there is no module {error.name!r}, neither installed nor in the working folder "
                f"{os.getcwd()}.{hint or ' Correct the name, install its package, or start from the folder that holds it.'}"
            ) from None
        raise UsageError(_raised(path, kind, name, error)) from None
    except (Exception, SystemExit) as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise UsageError(_raised(path, kind, name, error)) from None


def _is_missing(name: str, error: ModuleNotFoundError) -> bool:
    """Whether the module itself or its package was not found, rather than a module that it imports."""
    return error.name is not None and (name == error.name or name.startswith(f"{error.name}."))


def _raised(path: str, kind: str, module: str, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    where = f" ({outside[-1].filename}, line {outside[-1].lineno})" if outside else ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" ({error.filename}, line {error.lineno})"
    return f"Cannot import the {kind} {path!r}: importing {module!r} raised {type(error).__name__}: {error}{where}. Correct that module."
