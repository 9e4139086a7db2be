"""What the shell completes, asked of click as a shell asks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.shell_completion import BashComplete

from dgl_mutual.cli import completion
from dgl_mutual.cli.main import cli
from dgl_mutual.data.protocols import _PROTOCOLS
from dgl_mutual.data.sources.catalog import known_datasets
from dgl_mutual.experiments.suites.suite_file import suite_names
from dgl_mutual.nn.options import ARCHITECTURE_NAMES
from dgl_mutual.strategies import STRATEGY_REGISTRY


def completed(*arguments: str, incomplete: str = "") -> list[str]:
    shell = BashComplete(cli, {}, "dgl-mutual", "_DGL_MUTUAL_COMPLETE")
    return [item.value for item in shell.get_completions(list(arguments), incomplete)]


def test_names_are_those_of_the_package() -> None:
    assert completion.strategies() == STRATEGY_REGISTRY.names()
    assert set(ARCHITECTURE_NAMES) <= set(completion.students())
    assert completion.suites() == sorted(suite_names())
    assert set(completion.PROTOCOLS) == set(_PROTOCOLS)


@pytest.mark.parametrize(
    ("arguments", "incomplete", "found"),
    [
        (("run", "--strategy"), "g", ["gml"]),
        (("distill", "--strategy"), "kd", ["kd", "kdcl"]),
        (("compare", "--strategy"), "in", ["independent"]),
        (("strategies",), "okd", ["okddip"]),
        (("run", "--students"), "gcn,gat", ["gcn,gat", "gcn,gatv2"]),
        (("run", "--students"), "gcn,ap", ["gcn,appnp"]),
        (("run", "--dataset"), "Cora", ["Cora"]),
        (("data", "describe"), "PROT", ["PROTEINS"]),
        (("partition",), "ogbn-ar", ["ogbn-arxiv"]),
        (("suite",), "noi", ["noise"]),
        (("run", "--protocol"), "ne", ["nested"]),
        (("tune", "--metric"), "m", ["macro-f1", "micro-f1"]),
        (("ru",), "", ["run"]),
        (("run", "--strategy"), "nothing", []),
    ],
)
def test_what_is_completed(arguments: tuple[str, ...], incomplete: str, found: list[str]) -> None:
    if arguments == ("ru",):
        arguments, incomplete = (), "ru"
    assert completed(*arguments, incomplete=incomplete) == found


def test_all_datasets_are_offered() -> None:
    assert set(known_datasets()) <= set(completed("run", "--dataset"))


def test_a_path_is_left_to_the_shell() -> None:
    shell = BashComplete(cli, {}, "dgl-mutual", "_DGL_MUTUAL_COMPLETE")
    (item,) = shell.get_completions(["run", "--dataset"], "./my")
    assert (item.type, item.value) == ("dir", "./my")


def test_completing_imports_neither_torch_nor_dgl() -> None:
    code = (
        "import sys; from dgl_mutual.cli.main import cli; from click.shell_completion import BashComplete;"
        "shell = BashComplete(cli, {}, 'dgl-mutual', 'X');"
        "[shell.get_completions(['run', option], '') for option in ('--strategy', '--students', '--dataset', '--metric', '--recipe')];"
        "print([name for name in ('torch', 'dgl') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
