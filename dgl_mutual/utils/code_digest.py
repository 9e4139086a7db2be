"""Digests of custom code, to notice that it has changed."""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import inspect
import symtable
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from dgl_mutual.utils.live_code import first_difference
from dgl_mutual.utils.neighbours import Neighbours

#: Digests by class or function and by path: they are those of what was imported, also when its file has changed.
_DIGESTS: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def code_digest(item: Any, path: str = "") -> str | None:
    """A digest of the code of a class, a function or another callable, and of all that it uses of its module and of those beside it.

    None where there is no source, and where the source was changed after the import and before the first call (see `changed_since_import`).

    Comments, layout, docstrings and what stands under ``if __name__ == "__main__"`` do not matter. Modules beside it are those of the same
    top-level package and, unless it is installed, those in the same folder (see `Neighbours`). Other modules that the code imports count by
    their names only.

    Args:
        path: ``package.module:Name``, by which the item was found: the name may be that of a statement that makes it.
    """
    digest = _digest_at_import(item, path)
    if digest is None and _different(item, path) is None:
        digest = _digest_of_files(item, path)
        if digest is not None:
            _DIGESTS.setdefault(_origin(item), {})[path] = digest
    return digest


def changed_since_import(item: Any, path: str = "") -> str | None:
    """The first part of the code that `code_digest` covers whose file no longer matches what was imported, as ``mypkg.ideas:Net.forward``.

    None if no difference is known. Either the file was changed, or the imported code, for example where a constant of a module was given
    another value.

    Args:
        path: see `code_digest`.
    """
    known = _digest_at_import(item, path)
    found = _different(item, path)
    if found is None and known is not None and _digest_of_files(item, path) not in (known, None):
        return path or f"{_origin(item).__module__}:{_origin(item).__qualname__}"
    return found


def _digest_at_import(item: Any, path: str) -> str | None:
    return _DIGESTS.get(_origin(item), {}).get(path)


def _digest_of_files(item: Any, path: str) -> str | None:
    texts = [text for module, name in _roots(item, path) for part in _used(module, name) for _, text, _ in part.statements]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12] if texts else None


def _different(item: Any, path: str) -> str | None:
    """The first part of the code that is known to differ between its file and what was imported."""
    for module, name in _roots(item, path):
        parts = _used(module, name)
        files = {part.module: part.tree for part in parts}
        for part in parts:
            if found := first_difference(part.module, files, [one.node for one in part.statements]):
                return f"{part.module}:{found}"
    return None


def _roots(item: Any, path: str) -> list[tuple[str, str]]:
    """Modules, and the names in them by which the code is found."""
    made_of = _origin(item)
    roots = {(str(getattr(made_of, "__module__", "")), str(getattr(made_of, "__qualname__", "")).partition(".")[0])}
    if ":" in path:
        module, _, name = path.partition(":")
        roots.add((module, name.partition(".")[0]))
    return sorted(roots)


def _origin(item: Any) -> Any:
    """The class or function behind a partial, a decorated or a callable object."""
    while isinstance(item, functools.partial):
        item = item.func
    item = inspect.unwrap(item) if callable(item) else item
    return item if hasattr(item, "__qualname__") else type(item)


class _Statement(NamedTuple):
    """A statement that is used, its text, and the names that it uses in turn, as ``layers`` or ``layers.Mlp``."""

    node: ast.stmt
    text: str
    references: set[str]


class _Used(NamedTuple):
    """What is used of a module, and the syntax of its file as it is now."""

    module: str
    tree: ast.Module
    statements: list[_Statement]


def _used(module: str, name: str) -> list[_Used]:
    """The statements of an imported module that define a name, and those that define the names which these use: first those of the same
    module, then those of its neighbours. Empty where there is no source."""
    try:
        found = {module: _Definitions(ast.parse(inspect.getsource(sys.modules[module])), module)}
    except (OSError, TypeError, KeyError, SyntaxError):
        return []
    neighbours = Neighbours(module)
    waiting, seen = [(module, name)], set()
    while waiting:
        here, reference = waiting.pop()
        if (here, reference) in seen:
            continue
        seen.add((here, reference))
        if here not in found:
            found[here] = _Definitions(_tree_of(neighbours.file(here)), here)
        waiting.append((here, "*"))  # what ``from module import *`` gives may be any name
        for statement, _, references in found[here].take(reference.partition(".")[0]):
            waiting += [(here, used) for used in references]
            waiting += neighbours.imported(statement, here, reference)
    return [_Used(one, found[one].tree, found[one].taken) for one in [module, *sorted(found.keys() - {module})]]


def _tree_of(file: Path | None) -> ast.Module:
    """The syntax of a file; empty where it cannot be read."""
    try:
        return ast.parse(b"" if file is None else file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.parse("")


class _Definitions:
    """What a file defines, and what of it has been taken.

    What stands within if, try, with, match or a loop depends on its first line, so the whole counts as one statement.
    """

    def __init__(self, tree: ast.Module, module: str) -> None:
        self.tree, self._module = tree, module
        self._statements = list(_executed_by_import(tree.body))
        self._known: dict[str, list[ast.stmt]] = {}
        self._taken: dict[str, list[_Statement]] = {}
        written = {statement.name: _written_by(statement) for statement in self._statements if isinstance(statement, _DEFINITIONS)}
        for statement in self._statements:
            for defined in _defined_by(statement).union(*(written.get(called, ()) for called in _called_by(statement))):
                self._known.setdefault(defined, []).append(statement)

    def take(self, name: str) -> list[_Statement]:
        """The statements that define a name or change its value; of no name, all."""
        if name not in self._taken and (not name or name in self._known):
            self._taken[name] = [self._read(statement) for statement in (self._known[name] if name else self._statements)]
        return self._taken.get(name, [])

    @property
    def taken(self) -> list[_Statement]:
        """All that were taken, in the order of the names for which they were."""
        return [one for _, several in sorted(self._taken.items()) for one in several]

    def _read(self, statement: ast.stmt) -> _Statement:
        plain = _without_docstrings(copy.deepcopy(statement))
        text = ast.unparse(plain)
        return _Statement(statement, text, _references(plain, _globals_used(symtable.symtable(text, self._module, "exec"))))


def _executed_by_import(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            yield from statement.orelse
        else:
            yield statement


def _defined_by(statement: ast.stmt) -> set[str]:
    """The names that a statement defines, or whose values it changes; of if, try, with, match and loops, all that their blocks do."""
    if isinstance(statement, _DEFINITIONS):
        return {statement.name, *_written_by(statement)}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Expr):  # CONFIG.update(...), register(Net)
        return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    named = {node.target.id for node in ast.walk(statement) if isinstance(node, ast.NamedExpr)}
    targets = statement.targets if isinstance(statement, ast.Assign | ast.Delete) else [getattr(statement, "target", None)]
    named |= {node.id for target in targets if target is not None for node in ast.walk(target) if isinstance(node, ast.Name)}
    value = getattr(statement, "value", None)  # table.setdefault(...) changes what it is called on
    called = set() if value is None else {_root(node.func) for node in ast.walk(value) if isinstance(node, ast.Call)}
    names = (named | called) - {""}
    if inner := _inner_statements(statement):
        # What the first line assigns, too: targets of with and loops, names in patterns, and those of :=.
        symbols = symtable.symtable(ast.unparse(statement), "", "exec").get_symbols()
        names |= {symbol.get_name() for symbol in symbols if symbol.is_assigned()}
    return names.union(*map(_defined_by, inner))


def _written_by(definition: ast.stmt) -> set[str]:
    """The names that a function or class declares global, or writes into: ``TABLE[key] = value``."""
    nodes = list(ast.walk(definition))
    into = {_root(node) for node in nodes if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store)}
    return into.union(*(node.names for node in nodes if isinstance(node, ast.Global))) - {""}


def _called_by(statement: ast.stmt) -> set[str]:
    """The names of functions that an import calls with a statement: its decorators, as of a register, or what stands in it as a call."""
    parts: list[ast.AST] = [*statement.decorator_list] if isinstance(statement, _DEFINITIONS) else [statement]
    functions = [*parts, *(node.func for part in parts for node in ast.walk(part) if isinstance(node, ast.Call))]
    return {function.id for function in functions if isinstance(function, ast.Name)}


def _root(node: ast.AST) -> str:
    """The name that ``TABLE[key].part`` begins with; empty where it begins with none, or is a name alone."""
    if not isinstance(node, ast.Subscript | ast.Attribute):
        return ""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _inner_statements(statement: ast.stmt) -> list[ast.stmt]:
    """Those in the blocks of a statement, down to the next level."""
    parts: list[ast.AST] = []
    for part in ast.iter_child_nodes(statement):
        parts += part.body if isinstance(part, ast.ExceptHandler | ast.match_case) else [part]
    return [part for part in parts if isinstance(part, ast.stmt)]


def _globals_used(table: symtable.SymbolTable) -> set[str]:
    """The global names that code reads, in whatever scope within it."""
    is_module = table.get_type() == "module"
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced() and (is_module or symbol.is_global())}
    return own.union(*map(_globals_used, table.get_children()))


def _references(tree: ast.stmt, names: set[str]) -> set[str]:
    """Where names are used, with the attributes that follow: ``layers.Mlp``."""
    found, inner = set(), set()
    for node in ast.walk(tree):  # an attribute comes before what it is one of
        if id(node) in inner:
            continue
        attributes: list[str] = []
        part: ast.AST = node
        while isinstance(part, ast.Attribute):
            attributes.insert(0, part.attr)
            part = part.value
            inner.add(id(part))
        if isinstance(part, ast.Name) and part.id in names:
            found.add(".".join([part.id, *attributes]))
    return found


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    for node in ast.walk(statement):
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = body[1:] or [ast.Pass()]
    return statement
