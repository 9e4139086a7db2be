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
from typing import Any
from weakref import WeakKeyDictionary

from dgl_mutual.utils.live_code import first_difference

#: Digests by class or function and by path: they are those of what was imported, also when its file has changed.
_DIGESTS: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def code_digest(item: Any, path: str = "") -> str | None:
    """A digest of the code of a class, a function or another callable, and of everything in its module that it uses.

    None where there is no source, and where the source was changed after the import and before the first call (see `changed_since_import`).

    Comments, layout, docstrings and what stands under ``if __name__ == "__main__"`` do not matter. Other modules that the code
    imports count by their names only.

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
    found = ((_tree_of(module), module, name) for module, name in _roots(item, path))
    texts = [text for tree, module, name in found if tree is not None for _, text in _used(tree, module, name)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12] if texts else None


def _different(item: Any, path: str) -> str | None:
    """The first part of the code that is known to differ between its file and what was imported."""
    for module, name in _roots(item, path):
        tree = _tree_of(module)
        if tree is not None and (found := first_difference(sys.modules[module], tree, [one for one, _ in _used(tree, module, name)])):
            return f"{module}:{found}"
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


def _tree_of(module: str) -> ast.Module | None:
    """The file of an imported module, as it is now; None where there is none."""
    try:
        return ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError, SyntaxError):
        return None


def _used(tree: ast.Module, module: str, name: str) -> list[tuple[ast.stmt, str]]:
    """The statements of a module that define a name, and those that define the names which these use, each with its text.

    What stands within if, try, with, match or a loop depends on its first line, so the whole counts as one statement.
    """
    known: dict[str, list[ast.stmt]] = {}
    statements = list(_executed_by_import(tree.body))
    written = {statement.name: _written_by(statement) for statement in statements if isinstance(statement, _DEFINITIONS)}
    for statement in statements:
        for defined in _defined_by(statement).union(*(written.get(called, ()) for called in _called_by(statement))):
            known.setdefault(defined, []).append(statement)
    found: dict[str, list[tuple[ast.stmt, str]]] = {}
    waiting = [name, "*"]  # what ``from module import *`` gives may be any name
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found[name] = [(statement, ast.unparse(_without_docstrings(copy.deepcopy(statement)))) for statement in known[name]]
            waiting += [used for _, text in found[name] for used in _globals_used(symtable.symtable(text, module, "exec"))]
    return [one for _, several in sorted(found.items()) for one in several]


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


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    for node in ast.walk(statement):
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = body[1:] or [ast.Pass()]
    return statement
