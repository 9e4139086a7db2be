"""Diagnosis of the environment, with advice on repairs. Works without a working torch or DGL."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from dgl_mutual.experiments.environment import DISTRIBUTION, distribution_of, installed_version, requirements
from dgl_mutual.registry import all_plug_ins
from dgl_mutual.utils.environment_variables import set_for_libraries, shown_values
from dgl_mutual.utils.plotting import import_matplotlib

#: Distribution -> its module, if it has another name.
_MODULES = {"dgl": "dgl_mutual.dgl_compat", "scikit-learn": "sklearn", "pyyaml": "yaml"}
#: The releases of Python for which the package index has wheels of DGL, and how to get one.
_OLDEST, _NEWEST = (3, 10), (3, 12)
_GET_PYTHON = "uv venv --python 3.12 .venv (or: conda create -n dgl-mutual python=3.12), then pip install dgl-mutual in it"
#: Extras for work on this package itself.
_OF_DEVELOPERS = ("docs", "test", "dev")
#: The releases of DGL with which all tests were run.
_TESTED_DGL = ("1.1.3", "2.1.0")


@dataclass(frozen=True)
class Finding:
    """The state of one part of the environment.

    Attributes:
        state: description of the state.
        hint: command or advice that repairs the part, or installs an optional one; empty if there is nothing to do.
    """

    subject: str
    ok: bool
    state: str
    hint: str = ""
    optional: bool = False


def diagnose() -> list[Finding]:
    """Check Python, each dependency, packages that extend this one, and a small message passing."""
    variables = set_for_libraries()
    findings = [_python()]
    if variables:
        findings.append(Finding("variables", True, f"{shown_values(variables)}; libraries read these as they are imported", optional=True))
    try:
        declared = requirements()
    except importlib.metadata.PackageNotFoundError:
        return [*findings, Finding(DISTRIBUTION, False, "used without being installed", "pip install .")]
    try:
        from packaging.requirements import Requirement
    except ImportError:  # needed below, and by DGL, which does not declare it
        return [*findings, Finding("packaging", False, "not installed", "pip install packaging")]
    for line in declared:
        marker = Requirement(line).marker
        if "extra ==" not in line and (marker is None or marker.evaluate()):
            findings.append(_dependency(line.partition(";")[0].strip()))
    findings += [_extra(line) for line in declared if "extra ==" in line and _extra_of(line) not in _OF_DEVELOPERS]
    findings += _extensions()
    if all(finding.ok for finding in findings if not finding.optional):
        findings += [_message_passing(), _gpu()]
    return findings


def _python() -> Finding:
    version = platform.python_version()
    ok = _OLDEST <= sys.version_info[:2] <= _NEWEST
    state = version if ok else f"{version}; DGL's wheels are for Python 3.10, 3.11 and 3.12"
    return Finding("python", ok, state, "" if ok else _GET_PYTHON)


def _dependency(requirement: str) -> Finding:
    """Check that a declared dependency is installed, in an allowed version, and importable."""
    from packaging.requirements import Requirement

    name = distribution_of(requirement)
    hint = f'pip install "{requirement}"'
    version = installed_version(name)
    if version is None:
        return Finding(name, False, "not installed", hint)
    if not Requirement(requirement).specifier.contains(version, prereleases=True):
        return Finding(name, False, f"{version}; needed is {requirement}", hint)
    obstacle = _obstacle(lambda: importlib.import_module(_MODULES.get(name, name)))
    if obstacle is None:
        return Finding(name, True, f"{version}{_remarks(version)}" if name == "dgl" else version)
    missing = obstacle.name if isinstance(obstacle, ModuleNotFoundError) and obstacle.name else None
    state = f"{version}; cannot be imported: {type(obstacle).__name__}: {_first_line(obstacle)}"
    hint = f"pip install {missing.partition('.')[0]}" if missing else f"{hint} --force-reinstall --no-deps"
    variables = set_for_libraries()
    return Finding(name, False, state, f"unset {' '.join(variables)}; where this changes nothing, {hint}" if variables else hint)


def _remarks(dgl_version: str) -> str:
    """Remarks on a DGL that works."""
    from dgl_mutual.dgl_compat import GRAPHBOLT, MissingGraphBolt

    remarks = []
    if dgl_version.partition("+")[0] not in _TESTED_DGL:
        remarks.append(f"works, but the tests have run with {' and '.join(_TESTED_DGL)} only")
    if isinstance(sys.modules.get(GRAPHBOLT), MissingGraphBolt):
        remarks.append("without dgl.graphbolt, which this torch has no library for and which is not needed")
    return "".join(f"; {remark}" for remark in remarks)


def _extra(requirement: str) -> Finding:
    name = distribution_of(requirement)
    version = installed_version(name)
    if version is None:
        return Finding(name, False, "not installed", f'pip install "{DISTRIBUTION}[{_extra_of(requirement)}]"', optional=True)
    obstacle = _obstacle(import_matplotlib) if name == "matplotlib" else None
    return Finding(name, obstacle is None, version if obstacle is None else f"{version}; {_first_line(obstacle)}", optional=True)


def _extra_of(requirement: str) -> str:
    """``'optuna>=4.0; extra == "tune"'`` -> ``"tune"``."""
    return requirement.split('"')[-2]


def _extensions() -> list[Finding]:
    """What each installed package provides by entry points, for example ``strategies: drift; students: pna``. Nothing is imported."""
    names: dict[str, dict[str, list[str]]] = {}
    for group, plug_ins in all_plug_ins().items():
        for plug_in in plug_ins:
            names.setdefault(plug_in.package, {}).setdefault(group.partition(".")[2], []).append(plug_in.name)
    states = {
        package: "; ".join(f"{family}: {', '.join(items)}" for family, items in families.items()) for package, families in names.items()
    }
    return [Finding(package, True, state, optional=True) for package, state in sorted(states.items())]


def _message_passing() -> Finding:
    def pass_messages() -> None:
        import torch

        from dgl_mutual.dgl_compat import dgl

        received = dgl.ops.copy_u_sum(dgl.graph(([0, 1], [1, 2])), torch.ones(3, 1))
        if received.flatten().tolist() != [0.0, 1.0, 1.0]:
            raise ArithmeticError(f"wrong sums {received.flatten().tolist()}")

    obstacle = _obstacle(pass_messages)
    if obstacle is None:
        return Finding("message passing", True, "works")
    state = f"fails: {type(obstacle).__name__}: {_first_line(obstacle)}"
    return Finding("message passing", False, state, "pip install --force-reinstall --no-deps dgl")


def _gpu() -> Finding:
    """Check for a GPU, and compare message passing on it with that on the CPU."""
    import torch

    from dgl_mutual.nn import kernels
    from dgl_mutual.nn.csr import Pattern, SparseMatrix

    if not torch.cuda.is_available():
        return Finding("gpu", True, f"none that torch {torch.__version__} can use; trainings run on the CPU", optional=True)

    def multiply(device: str) -> list[torch.Tensor]:
        pattern = Pattern(torch.tensor([0, 2, 2, 3], device=device), torch.tensor([0, 2, 1], device=device), 3)
        matrix = SparseMatrix(pattern, torch.tensor([1.0, 2.0, 3.0], device=device))
        x = torch.arange(6.0, device=device).view(3, 2)
        return [part.cpu() for part in (kernels.spmm(matrix, x), kernels.sddmm(matrix, x, x), kernels.row_sums(matrix))]

    def compare() -> None:
        for on_gpu, on_cpu in zip(multiply("cuda"), multiply("cpu"), strict=True):
            torch.testing.assert_close(on_gpu, on_cpu)

    obstacle = _obstacle(compare)
    if obstacle is not None:
        state = f"{torch.cuda.get_device_name()}; message passing fails: {type(obstacle).__name__}: {_first_line(obstacle)}"
        return Finding("gpu", False, state, "train with --device cpu, or install a build of torch for this GPU from https://pytorch.org")
    kernel = "DGL" if kernels.choose("cuda") == "dgl" else "torch"
    repeats = "a repeated training may differ in the last digits, other than on a CPU"
    return Finding("gpu", True, f"{torch.cuda.get_device_name()}; message passing by the kernels of {kernel}; {repeats}", optional=True)


def _obstacle(attempt: Callable[[], object]) -> Exception | None:
    """The error that `attempt` raises, of any class, since a broken binary may raise anything; None if it succeeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            attempt()
        except Exception as error:
            return error
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
