"""Digests of custom code, to detect changes."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import symtable
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from dgl_mutual.utils.live_code import first_difference
from dgl_mutual.utils.project_modules import ProjectModules

#: Maximum number of other modules that are followed, the nearest first: large packages are not read at the start of each run.
_MOST_MODULES = 50

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
#: Module -> the ``__spec__`` with which it was imported, and its source at the first reading.
_Sources: TypeAlias = dict[str, tuple[Any, str | bytes]]


def code_digest(item: Any, path: str = "") -> str | None:
    """Return a digest of the code of a class, a function or another callable, and of all that it uses from the modules of its project.

    None without source, and if the source was changed after the import and before the first call (see `changed_since_import`).

    Comments, layout, docstrings and the block of ``if __name__ == "__main__"`` do not matter. The modules of its project are those of the
    same top-level package and, unless it is installed, those in the same folder (see `ProjectModules`), up to 50. Of other imported
    modules only the names count.

    Args:
        path: ``package.module:Name``, the import path of the item, which may name a statement that creates it.
    """
    first_read = _IMPORTED.get(_origin(item), {})
    sources = dict(first_read)
    parts = _parts(item, path, sources)
    if not parts or (sources != first_read and _first_difference(parts) is not None):
        return None
    _IMPORTED[_origin(item)] = sources
    return hashlib.sha256("\n".join(statement.text for part in parts for statement in part.statements).encode()).hexdigest()[:12]


def changed_since_import(item: Any, path: str = "") -> str | None:
    """Return the first part of the code of `code_digest` that differs between file and imported module, as ``mypkg.ideas:Net.forward``.

    None if no difference is known. Either the file was changed, or the imported code, for example by an assignment to a constant of a
    module. Constants of the other modules of the project are compared with their files at the time of the first digest.

    Args:
        path: see `code_digest`.
    """
    now = _parts(item, path, {})
    difference = _first_difference(now)
    if difference is not None or not now:
        return difference
    before, after = _texts(_parts(item, path, dict(_IMPORTED.get(_origin(item), {})))), _texts(now)
    changed = (f"{module}:{name}" if name else module for (module, name), text in before.items() if after.get((module, name)) != text)
    return next(changed, None)


#: Class or function -> the sources of the modules that it uses, at the time of the first digest.
_IMPORTED: WeakKeyDictionary[Any, _Sources] = WeakKeyDictionary()


def _first_difference(parts: list[_Used]) -> str | None:
    """The first part that is known to differ from the imported code."""
    for part in parts:
        nodes = [statement.node for statement in part.statements]
        if found := first_difference(part.module, part.trees, nodes, constants=part.is_root):
            return f"{part.module}:{found}"
    return None


def _source(module: str, file: Path | None, sources: _Sources) -> str | bytes:
    """The source in `sources`, read into it if missing, and for other modules than the root (with a `file`) also after another import."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if module not in sources or (file is not None and (spec is None or sources[module][0] is not spec)):
        sources[module] = spec, inspect.getsource(sys.modules[module]) if file is None else file.read_bytes()
    return sources[module][1]


def _texts(parts: list[_Used]) -> dict[tuple[str, str], list[str]]:
    """Module and name in it (empty for the whole module) -> the texts of the statements that define it."""
    return {
        (part.module, name): [statement.text for statement in statements]
        for part in parts
        for name, statements in sorted(part.taken.items())
    }


def _parts(item: Any, path: str, sources: _Sources) -> list[_Used]:
    """The used parts of the item's module, or of its two modules if `path` names another, and of the modules of their project."""
    made_of = _origin(item)
    roots = {(str(getattr(made_of, "__module__", "")), str(getattr(made_of, "__qualname__", "")).partition(".")[0])}
    if ":" in path:
        module, _, name = path.partition(":")
        roots.add((module, name.partition(".")[0]))
    return [part for root in sorted(roots) for part in _used(*root, sources)]


def _origin(item: Any) -> Any:
    """The class or function of a partial, a decorated or a callable object."""
    while isinstance(item, functools.partial):
        item = item.func
    item = inspect.unwrap(item) if callable(item) else item
    return item if hasattr(item, "__qualname__") else type(item)


class _Statement(NamedTuple):
    """A used statement, its text, and the names that it uses itself, as ``layers`` or ``layers.Mlp``."""

    node: ast.stmt
    text: str
    references: set[str]


class _Used(NamedTuple):
    """The used part of a module: the defining statements by name, and the syntax trees of all files that were read, by module."""

    module: str
    is_root: bool
    trees: dict[str, ast.Module]
    taken: dict[str, list[_Statement]]

    @property
    def statements(self) -> list[_Statement]:
        """All statements, sorted by name."""
        return [statement for _, statements in sorted(self.taken.items()) for statement in statements]


def _used(module: str, name: str, sources: _Sources) -> list[_Used]:
    """The statements that define a name of an imported module, and, recursively, the names that these use: first those of the same
    module, then those of its project. Empty without source."""
    root = _definitions_of(module, None, sources)
    if root is None:
        return []
    definitions, project, taken = {module: root}, ProjectModules(module), dict[str, dict[str, list[_Statement]]]()
    waiting, seen = deque([(module, name)]), set()
    while waiting:
        here, reference = waiting.popleft()
        if (here, reference) in seen:
            continue
        seen.add((here, reference))
        if here not in definitions:
            if len(definitions) > _MOST_MODULES:
                continue
            definitions[here] = _definitions_of(here, project.file(here), sources) or _definitions("")
        waiting.append((here, "*"))  # ``from module import *`` may define any name
        defined = reference.partition(".")[0]
        statements = definitions[here].of(defined)
        if statements:
            taken.setdefault(here, {})[defined] = statements
        for statement in statements:
            waiting += [(here, used) for used in sorted(statement.references)]
            if "import" in statement.text:
                waiting += project.imported(statement.node, here, reference)
    trees = {name: of_module.tree for name, of_module in definitions.items()}
    return [_Used(name, name == module, trees, taken.get(name, {})) for name in [module, *sorted(definitions.keys() - {module})]]


def _definitions_of(module: str, file: Path | None, sources: _Sources) -> _Definitions | None:
    """The definitions of a module; None if its source cannot be read."""
    try:
        return _definitions(_source(module, file, sources))
    except (OSError, TypeError, KeyError, SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=4 * _MOST_MODULES)
def _definitions(source: str | bytes) -> _Definitions:
    return _Definitions(source)


class _Definitions:
    """The definitions of a file.

    An if, try, with, match or loop counts as one statement with its blocks, which depend on its first line.
    """

    def __init__(self, source: str | bytes) -> None:
        self.tree = ast.parse(source)
        plain = _executed_by_import(_without_docstrings(ast.parse(source)).body)
        self._statements = [*zip(_executed_by_import(self.tree.body), plain, strict=True)]
        self._known: dict[str, list[tuple[ast.stmt, ast.stmt]]] = {"": self._statements}
        self._read: dict[ast.stmt, _Statement] = {}
        written = {statement.name: _written_by(statement) for statement, _ in self._statements if isinstance(statement, _DEFINITIONS)}
        for pair in self._statements:
            for defined in _defined_by(pair[0]).union(*(written.get(called, ()) for called in _called_by(pair[0]))):
                self._known.setdefault(defined, []).append(pair)

    def of(self, name: str) -> list[_Statement]:
        """The statements that define a name or change its value; all statements for an empty name."""
        return [self._statement(*pair) for pair in self._known.get(name, [])]

    def _statement(self, statement: ast.stmt, plain: ast.stmt) -> _Statement:
        if statement not in self._read:
            text = ast.unparse(plain)
            references = _references(plain, _globals_used(symtable.symtable(text, "", "exec")))
            self._read[statement] = _Statement(statement, text, references)
        return self._read[statement]


def _executed_by_import(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            yield from statement.orelse
        else:
            yield statement


def _defined_by(statement: ast.stmt) -> set[str]:
    """The names that a statement, or one in its blocks (if, try, with, match, loops), defines or changes."""
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
        # Also the names that the first line assigns: targets of with and loops, names in patterns and of :=.
        symbols = symtable.symtable(ast.unparse(statement), "", "exec").get_symbols()
        names |= {symbol.get_name() for symbol in symbols if symbol.is_assigned()}
    return names.union(*map(_defined_by, inner))


@functools.lru_cache(maxsize=10_000)
def _written_by(definition: ast.stmt) -> frozenset[str]:
    """The names that a function or class declares global, or writes into: ``TABLE[key] = value``."""
    nodes = list(ast.walk(definition))
    into = {_root(node) for node in nodes if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store)}
    return frozenset(into.union(*(node.names for node in nodes if isinstance(node, ast.Global)))) - {""}


def _called_by(statement: ast.stmt) -> set[str]:
    """The functions that a statement calls during the import: decorators of a definition, such as those of a registry, or calls."""
    parts: list[ast.AST] = [*statement.decorator_list] if isinstance(statement, _DEFINITIONS) else [statement]
    functions = [*parts, *(node.func for part in parts for node in ast.walk(part) if isinstance(node, ast.Call))]
    return {function.id for function in functions if isinstance(function, ast.Name)}


def _root(node: ast.AST) -> str:
    """The name at the start of ``TABLE[key].part``; empty if there is none, or for a plain name."""
    if not isinstance(node, ast.Subscript | ast.Attribute):
        return ""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _inner_statements(statement: ast.stmt) -> list[ast.stmt]:
    """The statements in the blocks of a statement, one level deep."""
    parts: list[ast.AST] = []
    for part in ast.iter_child_nodes(statement):
        parts += part.body if isinstance(part, ast.ExceptHandler | ast.match_case) else [part]
    return [part for part in parts if isinstance(part, ast.stmt)]


def _globals_used(table: symtable.SymbolTable) -> set[str]:
    """The global names that code reads, including its inner scopes."""
    is_module = table.get_type() == "module"
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced() and (is_module or symbol.is_global())}
    return names.union(*map(_globals_used, table.get_children()))


def _references(tree: ast.stmt, names: set[str]) -> set[str]:
    """The uses of some names, with the attributes that follow: ``layers.Mlp``."""
    references, inner = set(), set()
    for node in ast.walk(tree):  # an attribute comes before its object
        if id(node) in inner:
            continue
        attributes: list[str] = []
        part: ast.AST = node
        while isinstance(part, ast.Attribute):
            attributes.insert(0, part.attr)
            part = part.value
            inner.add(id(part))
        if isinstance(part, ast.Name) and part.id in names:
            references.add(".".join([part.id, *attributes]))
    return references


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = body[1:] or [ast.Pass()]
    return tree
