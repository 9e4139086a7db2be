"""Options of students."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from dgl_mutual.errors import unknown
from dgl_mutual.options import Options
from dgl_mutual.registry import IMPORT_PATH, installed_plug_ins
from dgl_mutual.search_space import Categorical, Integer, Real, SearchSpace
from dgl_mutual.utils.imports import import_path_of, not_importable

#: The built-in architectures: four of this package, six with layers of DGL (gatv2 ... chebnet), and two that use no edges.
ARCHITECTURE_NAMES = ("gcn", "gat", "gin", "sage", "gatv2", "appnp", "gcn2", "sgc", "tag", "chebnet", "mlp", "bag")

#: Momentum of a batch norm's running statistics. At torch's 0.1 they lag behind small students that learn fast: on MUTAG, with 5 steps
#: per epoch, the students' mean validation accuracy over the last third of the epochs is 81.7 % at 0.1 and 83.7 % at 0.3.
BATCH_NORM_MOMENTUM = 0.3

#: Options of students for graph tasks only.
GRAPH_TASK_OPTIONS = ("pooling", "virtual_node", "input_readout")


class StudentOptions(Options):
    """One student. `None` means the default of the task or architecture; each option says which.

    A custom student has a class or function as its architecture, and takes only the options in `options`, and `edge_features`.
    """

    search_space: ClassVar[SearchSpace] = {
        "hidden": Categorical((32, 64, 128)),
        "depth": Integer(2, 4),
        "dropout": Real(0.0, 0.8),
        "input_dropout": Real(0.0, 0.8),
        "norm": Categorical(("none", "batch", "layer")),
        "residual": Categorical((False, True)),
    }
    searched_by_name: ClassVar[SearchSpace] = {
        "readout": Categorical(("last", "jumping")),
        "pooling": Categorical(("sum", "mean", "max")),
        "virtual_node": Categorical((False, True)),
        "input_readout": Categorical((False, True)),
    }
    architecture: str | Callable[..., Any] = "gcn"
    """A built-in architecture (gcn, gat, gin, sage, gatv2, appnp, gcn2, sgc, tag, chebnet; without edges: mlp, and on graphs bag, an MLP on
    summed node features), the name of one that an installed package provides, an import path ``package.module:Class``, or a class or
    function (in_features, num_outputs, **options) that returns a module; a parameter `task` receives "node" or "graph"."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options that the class or function of a custom student takes."""
    depth: int | None = Field(None, ge=1, le=32)
    """Number of convolutions (node task: 2, graph task: 3; sgc 1 on both, bag 1 on graphs)."""
    hidden: int = Field(64, ge=1)
    """Width of the hidden layers (for gat and gatv2: of all heads together)."""
    heads: int = Field(8, ge=1)
    """Attention heads of the hidden layers (gat, gatv2)."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout rate on each convolution's input (node task: 0.5, gat and gatv2 0.6; graph task: 0 on the convolutions, 0.5 before the
    classifier)."""
    input_dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout rate on the features (default: as on the input of the other convolutions)."""
    feature_noise: float | None = Field(None, gt=0, le=1)
    """Noise on the student's input features, in training and evaluation: each feature x becomes x ((1 - a) + a N(0, 1)), with this a
    (default: no noise). It makes the student weak, to study how a weak student affects its peers."""
    starts_after: float | None = Field(None, gt=0, lt=1)
    """Share of the epochs in which the student keeps its initial weights, before it begins to learn; at least one, and not the last
    (default: it learns from the start)."""
    norm: Literal["none", "batch", "layer"] | None = None
    """Normalisation after each hidden convolution (node task: none; graph task: batch); batch also within gin's MLP."""
    activation: Literal["relu", "elu", "gelu", "leaky_relu", "silu", "tanh"] | None = None
    """Activation after each hidden convolution (gat and gatv2: elu; all others: relu)."""
    residual: bool = False
    """Add a linear map of its input to the output of each hidden convolution (Luo et al., NeurIPS 2024, arXiv 2406.08993)."""
    virtual_node: bool = False
    """A node in each graph that exchanges states with all others between convolutions (graph task; Gilmer et al., ICML 2017)."""
    readout: Literal["last", "jumping"] | None = None
    """Which layers the classifier sees: the last, or all of them side by side (jumping knowledge, Xu et al., ICML 2018). Node task: last;
    graph task: jumping."""
    input_readout: bool = False
    """Add the logits of an MLP on the pooled input features of each graph: the read-out then sees the input as well as the layers, as that
    of GIN does (graph task; Xu et al., ICLR 2019, arXiv 1810.00826, equation 4.2). It has one hidden layer with the student's own width,
    normalisation, activation and dropout before the classifier; input_dropout is not for it."""
    edge_features: bool | None = None
    """Whether messages also use edge features (gcn, gat, gin, sage; default: on where the dataset has edge features). A custom student
    gets them as ``graph.edata["feat"]`` if this is on (default: off)."""
    pooling: Literal["sum", "mean", "max"] = "sum"
    """How node states become a graph state (graph task)."""

    @field_validator("architecture", mode="before")
    @classmethod
    def _name(cls, architecture: Any) -> Any:
        """Replace a class by its import path, for other processes; a class without one stays as it is, for this process alone.

        Names are only checked for spelling: nothing is imported here.
        """
        if not isinstance(architecture, str) and not callable(architecture):
            raise ValueError("give a name, an import path, or a class or function (in_features, num_outputs) that makes a module")
        if isinstance(architecture, str) and ":" not in architecture:
            known = (*ARCHITECTURE_NAMES, *(plug_in.name for plug_in in installed_plug_ins("dgl_mutual.students")))
            if architecture not in known:
                raise ValueError(str(unknown("student", architecture, [*known, IMPORT_PATH])).removesuffix("."))
        if isinstance(architecture, str) or not_importable(architecture):
            return architecture
        return import_path_of(architecture)

    @property
    def is_custom(self) -> bool:
        """Whether the student is not a built-in one."""
        return self.architecture not in ARCHITECTURE_NAMES

    @property
    def architecture_name(self) -> str:
        """The architecture as text, also if it is a class."""
        return self.architecture if isinstance(self.architecture, str) else import_path_of(self.architecture)

    @property
    def label(self) -> str:
        """The architecture in the name of a member or a file, which begins with a letter, digit or ``_``: ``gcn``; ``MyNet`` for
        ``mypkg.nets:MyNet``."""
        name = self.architecture_name
        label = re.sub(r"[^\w.-]+", "-", name.rpartition(":")[2].rpartition(".")[2] if ":" in name else name)
        return label.lstrip(".-") or "student"

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out options that have no meaning for the student."""
        values = self.model_copy(update={"architecture": self.architecture_name}) if callable(self.architecture) else self
        plain: dict[str, Any] = handler(values)
        custom_keys = ("architecture", "options", *(["edge_features"] if self.edge_features else []))
        return {key: value for key, value in plain.items() if (key in custom_keys if self.is_custom else key != "options")}

    def first_epoch(self, epochs: int) -> int:
        """First epoch in which the student learns, of a phase of `epochs`: 0, or with `starts_after` at least 1 and at most the last."""
        if self.is_custom or self.starts_after is None:
            return 0
        return min(max(1, round(self.starts_after * epochs)), epochs - 1)
