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
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from dgl_mutual.utils.live_code import first_difference
from dgl_mutual.utils.neighbours import Neighbours

#: How many modules beside that of a class are followed, the nearest first: the code of large packages is not read at the start of each run.
_MOST_MODULES = 50

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def code_digest(item: Any, path: str = "") -> str | None:
    """A digest of the code of a class, a function or another callable, and of all that it uses of its module and of those beside it.

    None where there is no source, and where the source was changed after the import and before the first call (see `changed_since_import`).

    Comments, layout, docstrings and what stands under ``if __name__ == "__main__"`` do not matter. Modules beside it are those of the same
    top-level package and, unless it is installed, those in the same folder (see `Neighbours`), up to 50 of them. Other modules that the
    code imports count by their names only.

    Args:
        path: ``package.module:Name``, by which the item was found: the name may be that of a statement that makes it.
    """
    kept = _KEPT.get(_origin(item), {}).get(path)
    if kept is not None and not kept.may_have_changed():
        return kept.digest
    code = _Code.of(item, path)
    if _first_change(kept, code) is not None:
        return None
    if not code.texts:
        return None if kept is None else kept.digest
    _KEPT.setdefault(_origin(item), {})[path] = code
    return code.digest


def changed_since_import(item: Any, path: str = "") -> str | None:
    """The first part of the code that `code_digest` covers whose file no longer matches what was imported, as ``mypkg.ideas:Net.forward``.

    None if no difference is known. Either the file was changed, or the imported code, for example where a constant of a module was given
    another value. Constants of the modules beside it are compared from the first digest on, with what their files had then.

    Args:
        path: see `code_digest`.
    """
    return _first_change(_KEPT.get(_origin(item), {}).get(path), _Code.of(item, path))


def _first_change(kept: _Code | None, now: _Code) -> str | None:
    found = now.first_difference()
    return found if found is not None or kept is None else kept.first_change(now)


class _Code(NamedTuple):
    """Code as its files have it at some time.

    Attributes:
        roots: the modules of the class, each with what is used of it and of its neighbours.
        digest: that of all of it.
        texts: module, and a name in it (empty for the whole) -> the text of the statements that define it.
        specs: of each module but that of the class: the ``__spec__`` with which it was imported; None of one that is not imported yet.
    """

    roots: list[list[_Used]]
    digest: str
    texts: dict[tuple[str, str], list[str]]
    specs: dict[str, Any]

    @classmethod
    def of(cls, item: Any, path: str) -> _Code:
        roots = [used for module, name in _roots(item, path) if (used := _used(module, name))]
        parts, own = [part for used in roots for part in used], {used[0].module for used in roots}
        digest = hashlib.sha256("\n".join(one.text for part in parts for one in part.statements).encode()).hexdigest()[:12]
        texts = {(part.module, name): [one.text for one in several] for part in parts for name, several in part.taken.items()}
        return cls(roots, digest, texts, {part.module: _spec_of(part.module) for part in parts if part.module not in own})

    def first_difference(self) -> str | None:
        """The first part that is known to differ from what was imported."""
        for used in self.roots:
            trees = {part.module: part.tree for part in used}
            for part in used:
                nodes = [one.node for one in part.statements]
                if found := first_difference(part.module, trees, nodes, constants=part.module not in self.specs):
                    return f"{part.module}:{found}"
        return None

    def may_have_changed(self) -> set[str]:
        """The modules that have been imported since, for the first time or by a reload, and those that are still to be imported."""
        return {module for module, spec in self.specs.items() if spec is None or spec is not _spec_of(module)}

    def first_change(self, now: _Code) -> str | None:
        """What of this has another text now, though it may not have changed; None also where there is no source any more."""
        if not now.texts or now.digest == self.digest:
            return None
        changing = self.may_have_changed()
        for (module, name), texts in sorted(self.texts.items()):
            # What may have changed may use other parts of the rest.
            if module not in changing and now.texts.get((module, name), texts if changing else None) != texts:
                return f"{module}:{name}" if name else module
        return None


#: Code by class or function and by path: that of the files when its digest was first asked for, as it was imported.
_KEPT: WeakKeyDictionary[Any, dict[str, _Code]] = WeakKeyDictionary()


def _spec_of(module: str) -> Any:
    return getattr(sys.modules.get(module), "__spec__", None)


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
    """What is used of a module: by name, the statements that define it. And the syntax of its file as it is now."""

    module: str
    tree: ast.Module
    taken: dict[str, list[_Statement]]

    @property
    def statements(self) -> list[_Statement]:
        """All, in the order of the names."""
        return [one for _, several in sorted(self.taken.items()) for one in several]


def _used(module: str, name: str) -> list[_Used]:
    """The statements of an imported module that define a name, and those that define the names which these use: first those of the same
    module, then those of its neighbours. Empty where there is no source."""
    try:
        found = {module: _definitions(inspect.getsource(sys.modules[module]))}
    except (OSError, TypeError, KeyError, SyntaxError):
        return []
    neighbours, taken = Neighbours(module), dict[str, dict[str, list[_Statement]]]()
    waiting, seen = deque([(module, name)]), set()
    while waiting:
        here, reference = waiting.popleft()
        if (here, reference) in seen:
            continue
        seen.add((here, reference))
        if here not in found:
            if len(found) > _MOST_MODULES:
                continue
            found[here] = _definitions_of(neighbours.file(here))
        waiting.append((here, "*"))  # what ``from module import *`` gives may be any name
        defined = reference.partition(".")[0]
        statements = found[here].of(defined)
        if statements:
            taken.setdefault(here, {})[defined] = statements
        for statement in statements:
            waiting += [(here, used) for used in sorted(statement.references)]
            if "import" in statement.text:
                waiting += neighbours.imported(statement.node, here, reference)
    return [_Used(one, found[one].tree, taken.get(one, {})) for one in [module, *sorted(found.keys() - {module})]]


def _definitions_of(file: Path | None) -> _Definitions:
    """Those of a file; none where it cannot be read."""
    try:
        return _definitions(b"" if file is None else file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return _definitions(b"")


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
