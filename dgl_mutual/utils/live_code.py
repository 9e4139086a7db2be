"""Comparison of imported code with its file, which may have changed since the import."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import SourceFileLoader
from itertools import chain
from types import CodeType, FunctionType
from typing import Any, TypeAlias

from dgl_mutual.utils.project_modules import absolute_source

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
#: Immutable types of constants.
_PLAIN = (bool, int, float, complex, str, bytes, tuple, type(None))
_MISSING = object()


def first_difference(name: str, files: Mapping[str, ast.Module], statements: Sequence[ast.stmt], *, constants: bool) -> str | None:
    """Return the first difference of an imported module from its file, for example ``FACTOR`` or ``Net.forward``; None if none is known.

    Functions and methods, defaults of their arguments, and constants of modules and classes are compared if they are defined once. Names
    imported from other modules of `files` are compared with these modules, since they may be outdated after a second import.
    Statements within if, try or a loop, objects replaced by decorators or other modules, and modules compiled by another tool,
    such as tests by pytest, are not compared.

    Args:
        name: name of the module. A module that is not imported yet has no differences.
        files: module -> syntax tree of its current file: this module, and others that it may import, or that may set attributes of it.
        statements: statements of the module's own file to compare.
        constants: whether to compare constants. Modules outside of `files` may set them.
    """
    scope = _scope_of(name, files, constants)
    return None if scope is None else next(chain(scope.differences(statements), _former_imports(scope, statements, files)), None)


def _scope_of(name: str, files: Mapping[str, ast.Module], constants: bool) -> _Scope | None:
    """A module and its file; None if they cannot be compared."""
    module = sys.modules.get(name)
    if module is None or type(getattr(module, "__loader__", None)) is not SourceFileLoader:
        return None
    code = _compiled(files[name], str(module.__file__))
    if code is None:
        return None
    set_later = frozenset[str]().union(*map(_set_later, files.values()))
    return _Scope(vars(module), vars(module), code, files[name].body, constants, set_later)


@functools.lru_cache(maxsize=256)
def _compiled(tree: ast.Module, file: str) -> CodeType | None:
    try:
        return compile(tree, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _former_imports(scope: _Scope, statements: Sequence[ast.stmt], files: Mapping[str, ast.Module]) -> Iterator[str]:
    """Names that a module imported from another module of `files` which has since been imported again with a changed definition."""
    for statement in statements:
        if not isinstance(statement, ast.ImportFrom):
            continue
        source = absolute_source(statement, scope.live.get("__package__") or "")
        now = vars(sys.modules[source]) if source in files and source in sys.modules else {}
        for alias in statement.names:
            name = alias.asname or alias.name
            live = scope.live.get(name, _MISSING)
            if alias.name not in now or live is _MISSING or live is now[alias.name] or name in scope.set_later:
                continue
            source_scope = _scope_of(source, files, constants=True)
            defined = [inner for inner in files[source].body if _defined(inner) == alias.name]
            if (
                source_scope is not None
                and not any(source_scope.differences(defined))
                and any(replace(source_scope, live={alias.name: live}).differences(defined))
            ):
                yield name


@dataclass(frozen=True)
class _Scope:
    """A module or a class, as imported and as defined in its current file.

    Attributes:
        live: its names and their current values.
        namespace: namespace of its module.
        code: its code, compiled from the current file.
        body: its statements in that file.
        constants: whether to compare constants.
        set_later: names that the files assign from elsewhere (see `_set_later`).
        of_class: qualified name of the class; empty for a module.
    """

    live: Mapping[str, Any]
    namespace: Mapping[str, Any]
    code: CodeType
    body: Sequence[ast.stmt]
    constants: bool
    set_later: frozenset[str]
    of_class: str = ""

    def differences(self, statements: Sequence[ast.stmt]) -> Iterator[str]:
        """The names that some of its statements define differently."""
        num_bound = Counter(name for statement in self.body for name in _bound(statement))
        for statement in statements:
            name = _defined(statement)
            if num_bound[name] != 1 or name in self.set_later:
                continue
            live = self.live.get(self._mangled(name), _MISSING)
            title = f"{self.of_class}.{name}" if self.of_class else name
            if isinstance(statement, ast.ClassDef):
                inner = self._code_of(name)
                if inspect.isclass(live) and inner is not None:
                    scope = _Scope(vars(live), self.namespace, inner, statement.body, self.constants, self.set_later, title)
                    yield from scope.differences(statement.body)
                    yield from scope.removed()
            elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                if self._is_other_function(statement, live):
                    yield title
            elif self.constants and self._is_other_value(statement, live):
                yield title

    def removed(self) -> Iterator[str]:
        """Methods of the imported class that are no longer in the file."""
        defined = {self._mangled(name) for statement in self.body for name in _bound(statement)} | self.set_later
        for name, value in self.live.items():
            function = _undecorated(value)
            if name in defined or not isinstance(function, FunctionType) or function.__code__.co_filename != self.code.co_filename:
                continue  # other functions are generated, as by dataclass
            if function.__qualname__ == f"{self.of_class}.{function.__name__}" and self._mangled(function.__name__) == name:
                yield function.__qualname__

    def _is_other_function(self, statement: _Function, live: Any) -> bool:
        code, function = self._code_of(statement.name), _undecorated(live)
        if code is None:
            return False
        if not isinstance(function, FunctionType):
            return not statement.decorator_list
        has_other_name = function.__code__.co_name != statement.name
        if statement.decorator_list and (function.__globals__ is not self.namespace or has_other_name):
            return False  # the wrapper of a decorator
        if function.__code__.co_filename != self.code.co_filename:  # set by another module, which other processes also import
            return function.__module__ == "__main__"  # except for a script
        if has_other_name:  # another function of the file, set likewise
            return False
        return _content(function.__code__) != _content(code) or _are_other_defaults(statement.args, function)

    def _is_other_value(self, statement: ast.stmt, live: Any) -> bool:
        value = _literal(getattr(statement, "value", None))
        if value is None or value is _MISSING or live is _MISSING:  # None is a placeholder for a later value
            return False
        if self.of_class and type(live) not in _PLAIN:  # a field or a member of an enumeration
            return False
        return not _is_same(value, live)

    def _code_of(self, name: str) -> CodeType | None:
        codes = [code for code in self.code.co_consts if isinstance(code, CodeType) and code.co_name == name]
        return codes[0] if len(codes) == 1 else None

    def _mangled(self, name: str) -> str:
        is_private = bool(self.of_class) and name.startswith("__") and not name.endswith("__")
        return f"_{self.of_class.rpartition('.')[2].lstrip('_')}{name}" if is_private else name


def _defined(statement: ast.stmt) -> str:
    """The name of a function, a class or a variable; empty for other statements."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return statement.name
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target] if isinstance(statement, ast.AnnAssign) else []
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement assigns in its scope, once per assignment."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(name := getattr(node, "name", None), str):
            yield name


@functools.lru_cache(maxsize=256)
def _set_later(tree: ast.Module) -> frozenset[str]:
    """Names that functions declare global, and names of assigned attributes, also of classes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            names.update(node.names)
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            names.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            names.update(argument.value for argument in node.args if isinstance(argument, ast.Constant) and isinstance(argument.value, str))
    return frozenset(names)


def _undecorated(value: Any) -> Any:
    """The function of a property or a method, unwrapped from decorators that set ``__wrapped__``."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    try:
        return inspect.unwrap(value)
    except ValueError:  # a circle
        return value


def _content(code: CodeType) -> tuple[Any, ...]:
    """The content of code, regardless of its line numbers."""
    constants = [_content(value) if isinstance(value, CodeType) else _comparable(value) for value in code.co_consts]
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return code.co_code, arguments, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, *constants


def _comparable(constant: Any) -> Any:
    """A constant in a form in which 1, 1.0 and True differ, but equal sets do not."""
    return frozenset(map(_comparable, constant)) if isinstance(constant, frozenset) else repr(constant)


def _are_other_defaults(arguments: ast.arguments, function: FunctionType) -> bool:
    by_position = function.__defaults__ or ()
    if len(by_position) != len(arguments.defaults):
        return True
    by_name = function.__kwdefaults__ or {}
    named = [
        (node, by_name.get(argument.arg, _MISSING)) for argument, node in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    pairs = [(_literal(node), live) for node, live in [*zip(arguments.defaults, by_position, strict=True), *named] if node is not None]
    return any(value is not _MISSING and not _is_same(value, live) for value, live in pairs)


def _literal(node: ast.expr | None) -> Any:
    """The value of an expression that is a plain constant."""
    try:
        value = _MISSING if node is None else ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _MISSING
    return value if isinstance(value, _PLAIN) else _MISSING


def _is_same(value: Any, live: Any) -> bool:
    return type(value) is type(live) and repr(value) == repr(live)
