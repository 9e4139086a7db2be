"""Whether imported code still matches its file, which may have been changed since the import."""

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
#: Values that nothing changes but an assignment.
_PLAIN = (bool, int, float, complex, str, bytes, tuple, type(None))
_MISSING = object()


def first_difference(name: str, files: Mapping[str, ast.Module], statements: Sequence[ast.stmt], *, constants: bool) -> str | None:
    """The first difference between an imported module and its file, for example ``FACTOR`` or ``Net.forward``; None if none is known.

    Compared are functions and methods, defaults of their arguments, and constants of modules and classes, where they are defined once. What
    is imported from others of `files` is compared with these: where one was imported again, it may still be that of the former file.
    Not compared are statements within if, try or a loop, what decorators or other modules have replaced, and modules that another tool
    has compiled, as pytest does with its tests.

    Args:
        name: that of the module. One that is not imported yet will be as its file is then.
        files: name of a module -> its file as it is now: of this one, and of others that it may import, or that may set attributes of it.
        statements: those of its own file that are compared.
        constants: whether constants are compared. Modules that are not among `files` may set them.
    """
    scope = _scope_of(name, files, constants)
    return None if scope is None else next(chain(scope.differences(statements), _former_imports(scope, statements, files)), None)


def _scope_of(name: str, files: Mapping[str, ast.Module], constants: bool) -> _Scope | None:
    """A module and its file; None where they cannot be compared."""
    module = sys.modules.get(name)
    code = None
    if module is not None and type(getattr(module, "__loader__", None)) is SourceFileLoader:
        code = _compiled(files[name], str(module.__file__))
    if module is None or code is None:
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
    """What a module has imported from another one of `files`, and differs from the file where that which the other one has now does not."""
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
            there = _scope_of(source, files, constants=True)
            defined = [one for one in files[source].body if _defined(one) == alias.name]
            if (
                there is not None
                and not any(there.differences(defined))
                and any(replace(there, live={alias.name: live}).differences(defined))
            ):
                yield name


@dataclass(frozen=True)
class _Scope:
    """A module or a class, as it was imported and as its file has it now.

    Attributes:
        live: its names, and what they stand for.
        namespace: that of its module.
        code: the code that defines it.
        body: its statements.
        constants: whether they are compared.
        set_later: names to which the files give a value from elsewhere (see `_set_later`).
        of_class: the name of the class, with those that it is in.
    """

    live: Mapping[str, Any]
    namespace: Mapping[str, Any]
    code: CodeType
    body: Sequence[ast.stmt]
    constants: bool
    set_later: frozenset[str]
    of_class: str = ""

    def differences(self, statements: Sequence[ast.stmt]) -> Iterator[str]:
        """What is different of some of its statements."""
        bound = self._num_bound()
        for statement in statements:
            name = _defined(statement)
            if bound[name] != 1 or name in self.set_later:
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
        """Methods that a class was defined with, and that are gone from the file."""
        kept = {self._mangled(name) for statement in self.body for name in _bound(statement)} | self.set_later
        for name, value in self.live.items():
            function = _undecorated(value)
            if name in kept or not isinstance(function, FunctionType) or function.__code__.co_filename != self.code.co_filename:
                continue  # others are made, as by dataclass
            if function.__qualname__ == f"{self.of_class}.{function.__name__}" and self._mangled(function.__name__) == name:
                yield function.__qualname__

    def _num_bound(self) -> Counter[str]:
        """How often each name is given a value."""
        return Counter(name for statement in self.body for name in _bound(statement))

    def _is_other_function(self, statement: _Function, live: Any) -> bool:
        code, function = self._code_of(statement.name), _undecorated(live)
        if code is None:
            return False
        if not isinstance(function, FunctionType):
            return not statement.decorator_list
        has_other_name = function.__code__.co_name != statement.name
        if statement.decorator_list and (function.__globals__ is not self.namespace or has_other_name):
            return False  # that of a decorator
        if function.__code__.co_filename != self.code.co_filename:  # put there by another module, which other processes import too
            return function.__module__ == "__main__"  # except for a script
        if has_other_name:  # another one of the file, put there as well
            return False
        return _content(function.__code__) != _content(code) or _are_other_defaults(statement.args, function)

    def _is_other_value(self, statement: ast.stmt, live: Any) -> bool:
        value = _literal(getattr(statement, "value", None))
        if value is None or value is _MISSING or live is _MISSING:  # None stands for what is found later
            return False
        if self.of_class and type(live) not in _PLAIN:  # a field or a member of an enumeration
            return False
        return not _is_same(value, live)

    def _code_of(self, name: str) -> CodeType | None:
        found = [code for code in self.code.co_consts if isinstance(code, CodeType) and code.co_name == name]
        return found[0] if len(found) == 1 else None

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
    """Names that a statement gives a value in its scope, once for each time."""
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
    """Names that functions declare global, and those of attributes that are set: of classes, too."""
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
    """The function in a property or a method of a class, or behind decorators that name it."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    try:
        return inspect.unwrap(value)
    except ValueError:  # a circle
        return value


def _content(code: CodeType) -> tuple[Any, ...]:
    """What code does, whatever the lines on which it stands."""
    constants = [_content(one) if isinstance(one, CodeType) else _told(one) for one in code.co_consts]
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return code.co_code, arguments, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, *constants


def _told(constant: Any) -> Any:
    """A constant in a form in which 1, 1.0 and True differ, and sets of the same do not."""
    return frozenset(map(_told, constant)) if isinstance(constant, frozenset) else repr(constant)


def _are_other_defaults(arguments: ast.arguments, function: FunctionType) -> bool:
    by_position = function.__defaults__ or ()
    if len(by_position) != len(arguments.defaults):
        return True
    by_name = function.__kwdefaults__ or {}
    named = [(node, by_name.get(one.arg, _MISSING)) for one, node in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
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
