"""YAML files that somebody broke, by chance or on purpose: read, or refused with an error of the package, soon and in little memory.

With ``--stress N``, N hundred inputs a test instead of two dozen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from dgl_mutual.errors import DglMutualError
from dgl_mutual.experiments.configuration.config import parse_config, read_config
from dgl_mutual.experiments.configuration.layers import parse_assignment
from dgl_mutual.experiments.suites.suite import configurations
from dgl_mutual.experiments.suites.suite_file import load_suite
from tests.stress.damage import bounded, changed, write

YAML_FILES = {
    "run.yaml": yaml.safe_dump(
        {
            "dataset": "digits",
            "students": ["gcn", {"architecture": "gat", "heads": 2}],
            "training": {"epochs": 3},
            "grid": {"training.epochs": [1]},
        }
    ).encode(),
    "suite.yaml": yaml.safe_dump(
        {
            "base": {"seeds": 1},
            "datasets": ["digits", {"dataset": "Cora", "methods": ["gml"]}],
            "methods": {"gml": None, "x": {"strategy": "dml"}},
        }
    ).encode(),
}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_yaml(fuzz: Callable[..., None], tmp_path: Path) -> None:
    plain = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "name",
                        "dataset",
                        "strategy",
                        "epochs",
                        "training",
                        "hidden",
                        "students",
                        "methods",
                        "datasets",
                        "base",
                        "grid",
                        "noise",
                    ]
                ),
                below,
                max_size=4,
            )
        ),
        max_leaves=8,
    )

    def test(files: dict[str, bytes], values: object) -> None:
        folder = write(tmp_path / "yaml", {**files, "made.yaml": yaml.safe_dump(values).encode()})
        for file in ("run.yaml", "made.yaml"):
            with bounded():
                parse_config(read_config(folder / file))
        for file in ("suite.yaml", "made.yaml"):
            with bounded():
                configurations(load_suite(str(folder / file))[1])
        with bounded():
            parse_config(parse_assignment("training.epochs=" + files["run.yaml"].decode(errors="replace")))

    fuzz(test, changed(YAML_FILES), plain)


@pytest.mark.parametrize(
    "text",
    [
        BOMB + "training: {epochs: *i}",
        BOMB + "dataset: *i",
        BOMB + "strategy_options: *i",
        "dataset: &a [*a]",
        "training: &a {epochs: *a}",
        "{" * 5000,
    ],
    ids=["number", "name", "options", "list of itself", "number of itself", "braces"],
)
def test_yaml_that_expands(text: str, tmp_path: Path) -> None:
    with bounded(), pytest.raises(DglMutualError):
        parse_config(read_config(write(tmp_path / "y", {"bomb.yaml": text.encode()}) / "bomb.yaml"))
    with bounded(), pytest.raises(DglMutualError):
        load_suite(str(tmp_path / "y" / "bomb.yaml"))
