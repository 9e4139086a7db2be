"""Digests of custom code, to notice that it has changed."""

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

#: How many modules beside that of a class are followed, the nearest first: the code of large packages is not read at the start of each run.
_MOST_MODULES = 50

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
#: Modules: the ``__spec__`` with which each was imported, and its source when that was first read.
_Sources: TypeAlias = dict[str, tuple[Any, str | bytes]]


def code_digest(item: Any, path: str = "") -> str | None:
    """A digest of the code of a class, a function or another callable, and of all that it uses of its module and of those beside it.

    None where there is no source, and where the source was changed after the import and before the first call (see `changed_since_import`).

    Comments, layout, docstrings and what stands under ``if __name__ == "__main__"`` do not matter. Modules beside it are those of the same
    top-level package and, unless it is installed, those in the same folder (see `ProjectModules`), up to 50 of them. Other modules that the
    code imports count by their names only.

    Args:
        path: ``package.module:Name``, by which the item was found: the name may be that of a statement that makes it.
    """
    kept = _IMPORTED.get(_origin(item), {})
    sources = dict(kept)
    parts = _parts(item, path, sources)
    if not parts or (sources != kept and _first_difference(parts) is not None):
        return None
    _IMPORTED[_origin(item)] = sources
    return hashlib.sha256("\n".join(one.text for part in parts for one in part.statements).encode()).hexdigest()[:12]


def changed_since_import(item: Any, path: str = "") -> str | None:
    """The first part of the code that `code_digest` covers whose file no longer matches what was imported, as ``mypkg.ideas:Net.forward``.

    None if no difference is known. Either the file was changed, or the imported code, for example where a constant of a module was given
    another value. Constants of the modules beside it are compared from the first digest on, with what their files had then.

    Args:
        path: see `code_digest`.
    """
    now = _parts(item, path, {})
    found = _first_difference(now)
    if found is not None or not now:
        return found
    before, after = _texts(_parts(item, path, dict(_IMPORTED.get(_origin(item), {})))), _texts(now)
    changed = (f"{module}:{name}" if name else module for (module, name), text in before.items() if after.get((module, name)) != text)
    return next(changed, None)


#: By class or function: the sources of what it uses, as they were when the first digest was asked for.
_IMPORTED: WeakKeyDictionary[Any, _Sources] = WeakKeyDictionary()


def _first_difference(parts: list[_Used]) -> str | None:
    """The first part that is known to differ from what was imported."""
    for part in parts:
        nodes = [one.node for one in part.statements]
        if found := first_difference(part.module, part.trees, nodes, constants=part.is_root):
            return f"{part.module}:{found}"
    return None


def _source(module: str, file: Path | None, sources: _Sources) -> str | bytes:
    """That of `sources`, if there is one, but of a neighbour (it has a `file`) only until it is imported again; else it is read."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if module not in sources or (file is not None and (spec is None or sources[module][0] is not spec)):
        sources[module] = spec, inspect.getsource(sys.modules[module]) if file is None else file.read_bytes()
    return sources[module][1]


def _texts(parts: list[_Used]) -> dict[tuple[str, str], list[str]]:
    """Module, and a name in it (empty for the whole) -> the text of the statements that define it."""
    return {(part.module, name): [one.text for one in several] for part in parts for name, several in sorted(part.taken.items())}


def _parts(item: Any, path: str, sources: _Sources) -> list[_Used]:
    """What the code uses of its module, or of the two by which it is found, and of the modules of their project."""
    made_of = _origin(item)
    roots = {(str(getattr(made_of, "__module__", "")), str(getattr(made_of, "__qualname__", "")).partition(".")[0])}
    if ":" in path:
        module, _, name = path.partition(":")
        roots.add((module, name.partition(".")[0]))
    return [part for root in sorted(roots) for part in _used(*root, sources)]


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
    """What is used of a module: by name, the statements that define it. And the syntax of the files that were read with it, by module."""

    module: str
    is_root: bool
    trees: dict[str, ast.Module]
    taken: dict[str, list[_Statement]]

    @property
    def statements(self) -> list[_Statement]:
        """All, in the order of the names."""
        return [one for _, several in sorted(self.taken.items()) for one in several]


def _used(module: str, name: str, sources: _Sources) -> list[_Used]:
    """The statements of an imported module that define a name, and those that define the names which these use: first those of the same
    module, then those of its project. Empty where there is no source."""
    root = _definitions_of(module, None, sources)
    if root is None:
        return []
    found, project, taken = {module: root}, ProjectModules(module), dict[str, dict[str, list[_Statement]]]()
    waiting, seen = deque([(module, name)]), set()
    while waiting:
        here, reference = waiting.popleft()
        if (here, reference) in seen:
            continue
        seen.add((here, reference))
        if here not in found:
            if len(found) > _MOST_MODULES:
                continue
            found[here] = _definitions_of(here, project.file(here), sources) or _definitions("")
        waiting.append((here, "*"))  # what ``from module import *`` gives may be any name
        defined = reference.partition(".")[0]
        statements = found[here].of(defined)
        if statements:
            taken.setdefault(here, {})[defined] = statements
        for statement in statements:
            waiting += [(here, used) for used in sorted(statement.references)]
            if "import" in statement.text:
                waiting += project.imported(statement.node, here, reference)
    trees = {one: definitions.tree for one, definitions in found.items()}
    return [_Used(one, one == module, trees, taken.get(one, {})) for one in [module, *sorted(found.keys() - {module})]]


def _definitions_of(module: str, file: Path | None, sources: _Sources) -> _Definitions | None:
    """Those of a module; None where its source cannot be read."""
    try:
        return _definitions(_source(module, file, sources))
    except (OSError, TypeError, KeyError, SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=4 * _MOST_MODULES)
def _definitions(source: str | bytes) -> _Definitions:
    return _Definitions(source)


class _Definitions:
    """What a file defines.

    What stands within if, try, with, match or a loop depends on its first line, so the whole counts as one statement.
    """

    def __init__(self, source: str | bytes) -> None:
        self.tree = ast.parse(source)
        plain = _executed_by_import(_without_docstrings(ast.parse(source)).body)
        self._statements = [*zip(_executed_by_import(self.tree.body), plain, strict=True)]
        self._known: dict[str, list[tuple[ast.stmt, ast.stmt]]] = {"": self._statements}
        self._read: dict[ast.stmt, _Statement] = {}
        written = {one.name: _written_by(one) for one, _ in self._statements if isinstance(one, _DEFINITIONS)}
        for pair in self._statements:
            for defined in _defined_by(pair[0]).union(*(written.get(called, ()) for called in _called_by(pair[0]))):
                self._known.setdefault(defined, []).append(pair)

    def of(self, name: str) -> list[_Statement]:
        """The statements that define a name or change its value; of no name, all."""
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


@functools.lru_cache(maxsize=10_000)
def _written_by(definition: ast.stmt) -> frozenset[str]:
    """The names that a function or class declares global, or writes into: ``TABLE[key] = value``."""
    nodes = list(ast.walk(definition))
    into = {_root(node) for node in nodes if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store)}
    return frozenset(into.union(*(node.names for node in nodes if isinstance(node, ast.Global)))) - {""}


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


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = body[1:] or [ast.Pass()]
    return tree
