"""The modules of the same project as an imported module: their files, and the imports of them in a statement."""

from __future__ import annotations

import ast
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

#: Libraries whose versions are recorded with each run.
_LIBRARIES = ("dgl_mutual", "dgl", "numpy", "torch")
#: Files and folders that mark a separate project.
_PROJECT_FILES = (".git", "pyproject.toml", "setup.py", "setup.cfg")


class ProjectModules:
    """The modules of the same top-level package and, unless it is installed, those in its parent folder.

    Separate projects in that folder, such as a clone of a library, do not count.

    Args:
        module: name of an imported module that has a file.
    """

    def __init__(self, module: str) -> None:
        live = sys.modules[module]
        spec = getattr(live, "__spec__", None)
        self.module = module
        self._name = module if spec is None else spec.name  # the spec of a module started with -m has its name, not __main__
        file = Path(str(live.__file__)).absolute()
        self._is_package = file.stem == "__init__"
        above = self._name.count(".") + self._is_package
        self._folder = file.parents[above] if above < len(file.parents) else None  # the name may be deeper than the path
        self._is_alone = self._folder is None or any(self._folder.glob("*.dist-info"))
        self._files: dict[str, Path | None] = {}

    def file(self, name: str) -> Path | None:
        """The file of a module of the project; None for others, and if another file was imported under this name."""
        if name not in self._files:
            self._files[name] = self._find(name)
        return self._files[name]

    def _find(self, name: str) -> Path | None:
        top = name.partition(".")[0]
        if self._folder is None or top in _LIBRARIES or top in sys.stdlib_module_names:
            return None
        is_same_package = top == self._name.partition(".")[0]
        if not is_same_package and (self._is_alone or any((self._folder / top / file).exists() for file in _PROJECT_FILES)):
            return None
        path = self._folder.joinpath(*name.split("."))
        files = (path / "__init__.py", path.parent / f"{path.name}.py")
        if name not in sys.modules:
            return next((file for file in files if file.is_file()), None)
        imported = os.path.realpath(str(getattr(sys.modules[name], "__file__", None)))  # it may no longer exist
        return next((file for file in files if os.path.realpath(file) == imported), None)

    def imported(self, statement: ast.stmt, module: str, reference: str) -> Iterator[tuple[str, str]]:
        """The imports of project modules in a statement: module and name in it, which is empty for the whole module.

        Args:
            module: the module with the statement: the imported one, or another of its project.
            reference: the use of the name that the statement defines: ``layers`` or ``layers.Mlp``; empty for all names.
        """
        for path in _imported_paths(statement, self._package_of(module), reference):
            parts = path.split(".")
            for length in range(len(parts), 0, -1):
                name = ".".join(parts[:length])
                if self.file(name) is not None:
                    yield name, ".".join(parts[length:])
                    break

    def _package_of(self, module: str) -> str:
        if module == self.module:
            name, is_package = self._name, self._is_package
        else:
            file = self.file(module)
            name, is_package = module, file is not None and file.stem == "__init__"
        return name if is_package else name.rpartition(".")[0]


def _imported_paths(statement: ast.stmt, package: str, reference: str) -> Iterator[str]:
    """``package.module.Name`` of imports in a statement: for an import, the target of the reference; for others, all inner imports."""
    name, _, rest = reference.partition(".")
    for node in _imports_in(statement):
        for alias in node.names:
            if isinstance(node, ast.Import):
                path, bound = alias.name, alias.asname or alias.name.partition(".")[0]
                of_bound = alias.name if alias.asname else bound
            else:
                source = absolute_source(node, package)
                path = of_bound = source if alias.name == "*" else f"{source}.{alias.name}"
                bound = alias.asname or alias.name
            if bound == name:
                yield f"{of_bound}.{rest}" if rest else of_bound
            elif node is not statement or not name:
                yield path


@functools.lru_cache(maxsize=10_000)
def _imports_in(statement: ast.stmt) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)]


def absolute_source(node: ast.ImportFrom, package: str) -> str:
    """The absolute name of the module in ``from module import ...``."""
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    above = parents[: len(parents) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])
