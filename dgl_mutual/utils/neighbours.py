"""The modules that belong with an imported one: where their files lie, and which of them a statement imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

#: Their releases are recorded with each run.
_LIBRARIES = ("dgl_mutual", "dgl", "numpy", "torch")


class Neighbours:
    """The modules of the same top-level package and, unless it is installed, those in the folder that it lies in.

    Args:
        module: the name of an imported module that has a file.
    """

    def __init__(self, module: str) -> None:
        live = sys.modules[module]
        spec = getattr(live, "__spec__", None)
        self.module = module
        self._name = module if spec is None else spec.name  # that of a module that was started with -m is not __main__
        file = Path(str(live.__file__)).absolute()
        self._is_package = file.stem == "__init__"
        self._folder = file.parents[self._name.count(".") + self._is_package]
        self._is_installed = any(self._folder.glob("*.dist-info"))

    def file(self, name: str) -> Path | None:
        """The file of such a module; None of others, and where another file was imported under this name."""
        top = name.partition(".")[0]
        is_elsewhere = self._is_installed and top != self._name.partition(".")[0]
        if is_elsewhere or top in _LIBRARIES or top in sys.stdlib_module_names:
            return None
        path = self._folder.joinpath(*name.split("."))
        file = next((file for file in (path / "__init__.py", path.parent / f"{path.name}.py") if file.is_file()), None)
        imported = getattr(sys.modules.get(name), "__file__", None)
        is_other = name in sys.modules and file is not None and (imported is None or not file.samefile(imported))
        return None if is_other else file

    def imported(self, statement: ast.stmt, module: str, reference: str) -> Iterator[tuple[str, str]]:
        """What a statement imports of such modules: the module, and the name in it, which is empty for the whole.

        Args:
            module: the one that has the statement: the imported one, or one of its neighbours.
            reference: the name that the statement is to define, as it is used: ``layers`` or ``layers.Mlp``; empty for all names.
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
    """``package.module.Name`` of what a statement imports: of an import, what a reference is to; of others, all that stands within."""
    name, _, rest = reference.partition(".")
    for node in ast.walk(statement):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
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


def absolute_source(node: ast.ImportFrom, package: str) -> str:
    """The module that is imported from."""
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    above = parents[: len(parents) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])
