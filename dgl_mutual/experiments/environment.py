"""Environment of a result: versions, machine and source. Imports nothing heavy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from dgl_mutual import version as package

DISTRIBUTION = "dgl-mutual"
#: The folders of an absolute path, all but its last name. URLs do not match.
_FOLDERS = re.compile(r"""(?<![\w.:/\\~-])(?:~|[A-Za-z]:)?[/\\](?:[^\s'"/\\]+[/\\]+)*(?=[^\s'"/\\])""")

#: Environment variables that name another repository than that of the folder; git sets some for its hooks.
_REPOSITORY = frozenset(
    f"GIT_{name}"
    for name in ("DIR", "COMMON_DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "NAMESPACE", "PREFIX")
)


def requirements() -> list[str]:
    """The declared requirements of the package, for example ``dgl>=1.1.3,!=2.0.0``; those of extras have a marker.

    Raises:
        importlib.metadata.PackageNotFoundError: the package is used without being installed.
    """
    return importlib.metadata.requires(DISTRIBUTION) or []


def distribution_of(requirement: str) -> str:
    """``"torch>=2.1"`` -> ``"torch"``."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return name.group()


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of this package, Python, the platform, and all installed dependencies."""
    return {"dgl_mutual": package.__version__, "python": platform.python_version(), "platform": platform.platform(), **_dependencies()}


@cache  # reads forty files, and the imported versions of a process do not change
def _dependencies() -> dict[str, str]:
    """Versions of the declared dependencies that are installed."""
    try:
        names = sorted({distribution_of(requirement) for requirement in requirements()}, key=str.lower)
    except importlib.metadata.PackageNotFoundError:
        names = ["dgl", "torch"]
    return {name: version for name in names if (version := installed_version(name)) is not None}


def environment(
    *,
    jobs: int,
    threads: int,
    device: str,
    processes: int = 1,
    code: Mapping[str, str] | None = None,
    schema: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """The content of environment.json.

    Args:
        processes: number of processes that train one trial together.
        code: digests of custom code, by name.
        schema: meaning of the columns and labels of the data (see `schema_of`).
    """
    return {
        "command": command_line(),
        "versions": versions(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "jobs": jobs,
        "threads": threads,
        "processes": processes,
        "device": device,
        "commit": source_commit(),
        **({"code": dict(code)} if code else {}),
        **({"schema": dict(schema)} if schema else {}),
    }


def command_line() -> str:
    """The ``dgl-mutual`` command of this process, with shortened paths, or a note that another program runs."""
    program, *arguments = sys.argv or [""]
    return shlex.join([DISTRIBUTION, *map(_portable, arguments)]) if _is_ours(Path(program)) else "none: called from Python"


def _is_ours(program: Path) -> bool:
    """Whether a program is ``dgl-mutual`` or ``python -m dgl_mutual``."""
    return program.stem == DISTRIBUTION or program.resolve() == Path(package.__file__).resolve().with_name("__main__.py")


def without_folders(text: str) -> str:
    """Shorten absolute paths in a text to their last name, since results are published: ``/home/me/data`` -> ``.../data``."""
    return _FOLDERS.sub(".../", text)


def _portable(argument: str) -> str:
    """An argument of a command with its path shortened in the same way."""
    option, equals, value = argument.rpartition("=")
    return f"{option}{equals}.../{Path(value).name}" if os.path.isabs(os.path.expanduser(value)) else argument


def source_commit() -> str | None:
    """Commit of the package's checkout, with ``+changes`` if it is not clean; None outside a checkout."""
    root = Path(package.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--", "dgl_mutual")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changes else "")


def _git(root: Path, *arguments: str) -> str:
    """Output of git for the repository in `root`, which is only read; environment variables that name another one are ignored."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    environ = {name: value for name, value in os.environ.items() if name not in _REPOSITORY}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip()
