"""Custom students: any module with ``forward(graph, feat) -> logits``, beside the built-in ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import TrainingError, UsageError, listed
from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.architectures import custom_arguments, make_custom, num_blocks
from dgl_mutual.nn.batch import Batch, GraphBatch
from dgl_mutual.nn.blocks import BlockBatch, LayerwiseBatch
from dgl_mutual.nn.csr import NodeFeatures
from dgl_mutual.nn.custom_modules import cause_of_equal_weights, fault_of_state
from dgl_mutual.nn.dgl_graphs import dense, graph_of
from dgl_mutual.nn.module import CohortMember, StudentOutput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.streams import custom_streams
from dgl_mutual.utils.custom_code import custom_place, described, errors_attributed_to, raised_in
from dgl_mutual.utils.torch_settings import settings_kept
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import kind_of

#: Rows that tell probabilities from logits that happen to sum to one.
_ENOUGH_ROWS = 8


class CustomStudent(CohortMember):
    """Runs a custom module on the package's batches.

    The module gets the graph as a DGLGraph without self-loops or duplicate edges, and the features as a dense matrix:

    - node task: one graph, or several as a batched graph; logits (|V|, C);
    - graph task: a batched graph; logits (graphs, C);
    - a class with an attribute ``num_blocks = n`` gets a list of n graphs in place of the graph: DGL's blocks where neighbours are
      sampled, n times the whole graph otherwise. Logits are those of the last block's destinations.

    The features are scaled like those of other members (``training.scale_inputs``); a trained student takes them as they are, and scales
    them itself. A column that may hold codes of categories, that is, integers from 0 on the training part, is not scaled, so that
    embeddings can look them up.

    A parameter ``task`` of the class or function receives "node" or "graph", unless its own options set it, or its default is something
    other than None, "node" or "graph".

    The module may change features in place and write into the graph's data: it gets copies.

    With the option ``edge_features: true``, each of these graphs has the edge features as ``graph.edata["feat"]``, a dense matrix (|E|, D).
    Unlike built-in students, it also gets the node feature columns that are sums of edge features.

    Random numbers that `forward` draws from torch, NumPy or Python, for example in dropout, come from the student's own stream: results do
    not depend on its peers. In evaluation they are the same each time. The module itself must seed its own generators, and DGL's samplers.

    State that the module keeps from step to step, or draws when it is made, must be a parameter, a persistent buffer (`register_buffer`) or
    a tensor that `get_extra_state` returns: saved files contain nothing else. A resumed training also has its dense buffers with
    ``persistent=False``.

    An optional method ``embed(graph, feat)`` returns its last hidden states, (|V|, width) or (graphs, width). Without it `embed` returns
    the logits. Strategies that learn from hidden states take no custom students in either case.

    Args:
        options: the class or function, and its own options.
        in_features, num_outputs: F and C, the first two arguments of the class or function.
        name: the name of the student in messages.
        edge_features: D, the number of edge features; 0 for none.

    Raises:
        UsageError: the class or function cannot be found or called, or returns no module with parameters.
    """

    takes_codes: ClassVar[bool] = True
    #: Factors of the feature columns; all ones unless the training scaled features.
    input_scale: Tensor
    #: The same for edge features.
    edge_scale: Tensor | None

    def __init__(
        self, options: StudentOptions, task: TaskName, in_features: int, num_outputs: int, name: str = "", *, edge_features: int = 0
    ) -> None:
        super().__init__()
        self.options = options
        self.task = task
        self.in_features = in_features
        self.num_outputs = num_outputs
        self.name = name or options.label
        self._is_checked_for_probabilities = False
        self._class_or_function = make_custom(options)
        self._num_blocks = None if getattr(self._class_or_function, "num_blocks", None) is None else num_blocks(options)
        self.module = self._make_module()
        self.edge_features = edge_features
        self.register_buffer("input_scale", torch.ones(in_features))
        self.register_buffer("edge_scale", torch.ones(edge_features) if edge_features else None)

    def check_weights(self) -> None:
        """Refuse a class or function whose weights are the same on each call, and warn if it computes them.

        Raises:
            UsageError: it keeps them, or sets a seed (see `cause_of_equal_weights`).
        """
        cause = cause_of_equal_weights(self.module, self._make_module)
        if cause == "computed":
            warn(
                f"The student {self.options.label} starts with the same weights each time it is made: all seeds start alike, and several "
                "such students of a cohort stay alike without dropout. If this is not intended, draw its weights in __init__ from torch's "
                "global random stream."
            )
        elif cause is not None:
            raise UsageError(
                f"The student {self.name!r} has the same weights each time it is made, so that other students and seeds would train them, "
                f"too. In the __init__ of {self.options.label}, make new layers, start from copies of tensors that are kept elsewhere "
                "(clone()), and set no seed (torch.manual_seed)."
            )

    def _make_module(self) -> nn.Module:
        with errors_attributed_to(f"The student {self.name!r}", failure="cannot be made"), settings_kept():
            arguments = custom_arguments(self._class_or_function, self.options, self.task)
            module = self._class_or_function(self.in_features, self.num_outputs, **arguments)
        if not isinstance(module, nn.Module):
            raise UsageError(f"The student {self.name!r} is not a torch.nn.Module but {kind_of(module)}.")
        with errors_attributed_to(f"The student {self.name!r}", failure="has no usable parameters (a dataclass needs eq=False)"):
            parameters = list(module.parameters())
        if fault := fault_of_state(module):
            raise UsageError(f"The student {self.name!r} {fault}")
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            raise UsageError(
                f"All parameters of the student {self.name!r} are frozen (requires_grad=False), so nothing can be trained. Leave "
                "some of them trainable."
            )
        if not parameters:
            raise UsageError(
                f"The student {self.name!r} has no parameters to train. Assign its layers to attributes of the module "
                "(a list of layers must be a torch.nn.ModuleList)."
            )
        self._initial_dtypes = {parameter.dtype for parameter in parameters if parameter.is_floating_point()}
        for method in (module.forward, getattr(module, "embed", None)):
            if callable(method):
                self._check_signature(method)
        return module

    def train(self, mode: bool = True) -> CustomStudent:
        """Set the mode, as in every module; errors of the custom module name the student."""
        with errors_attributed_to(f"train of the student {self.name!r}"):
            super().train(mode)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # torch has overloads
        """The state, as of every module; errors of the custom module name the student."""
        with errors_attributed_to(f"state_dict of the student {self.name!r}"):
            state: dict[str, Any] = super().state_dict(*args, **kwargs)
        return state

    @property
    def custom_module(self) -> nn.Module:
        return self.module

    @property
    def title(self) -> str:
        return f"{self.name} student of {self.options.architecture_name}"

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n{self.module!r}"

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        parameter = next(self.parameters())
        self.module = self._make_module().to(parameter.device, parameter.dtype).train(self.training)

    @torch.no_grad()
    def fold_input_scaling(self, scales: Tensor) -> None:
        self.input_scale.mul_(scales)

    @torch.no_grad()
    def fold_edge_scaling(self, scales: Tensor) -> None:
        if self.edge_scale is not None:
            self.edge_scale.mul_(scales)

    def forward_batch(self, batch: Batch, generator: torch.Generator | None = None) -> StudentOutput:
        graphs, feat, num_samples, rows = self._inputs(batch)
        logits = self._call(self.module, graphs, feat, generator)
        self._check_logits(logits, num_samples, feat)
        logits = logits.to(feat.dtype)
        if rows is not None:
            logits = logits[rows]
        return StudentOutput(logits, (), logits)

    def embed_batch(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        embed = getattr(self.module, "embed", None)
        if not callable(embed):
            return super().embed_batch(batch, generator)
        graphs, feat, num_samples, rows = self._inputs(batch)
        states = self._call(embed, graphs, feat, generator)
        if not isinstance(states, Tensor) or states.layout != torch.strided or states.dim() != 2 or len(states) != num_samples:
            if not isinstance(states, Tensor):
                actual = f"the type {type(states).__name__}"
            else:
                actual = f"the shape {tuple(states.shape)}" if states.layout == torch.strided else "a sparse tensor"
            raise UsageError(f"The method embed of the student {self.name!r} returns {actual}. Expected a tensor ({num_samples}, width).")
        return states if rows is None else states[rows]

    def _inputs(self, batch: Batch) -> tuple[Any, Tensor, int, Tensor | None]:
        """The module's arguments, the number of samples that it predicts, and the rows to return (None for all)."""
        if isinstance(batch, LayerwiseBatch):
            return *self._inputs(batch.whole)[:3], batch.samples
        if isinstance(batch, BlockBatch):
            assert self._num_blocks is not None, "refused before training"
            adjacencies = batch.adjacencies(self._num_blocks)
            blocks = [self._graph_of(adjacency) for adjacency in adjacencies]
            return blocks, _writable_dense(batch.inputs(self._num_blocks)), adjacencies[-1].num_destinations, None
        assert isinstance(batch, GraphBatch)
        graph: Any = self._graph_of(batch)
        if self._num_blocks is not None:
            graph = [graph] * self._num_blocks
        return graph, _writable_dense(batch.features), batch.num_nodes if self.task == "node" else batch.num_graphs, None

    def _graph_of(self, adjacency: Adjacency) -> dgl.DGLGraph:
        graph = graph_of(adjacency)
        if self.edge_scale is not None:
            assert adjacency.edge_features is not None, "refused before training, and where it predicts"
            feat = _writable_dense(adjacency.edge_features)
            graph.edata["feat"] = feat * self.edge_scale if bool((self.edge_scale != 1).any()) else feat
        return graph

    def _call(
        self, function: Callable[..., Any], graph: dgl.DGLGraph | list[dgl.DGLGraph], feat: Tensor, generator: torch.Generator | None
    ) -> Any:
        """Call the module, or a method of it."""
        if bool((self.input_scale != 1).any()):
            feat = feat * self.input_scale
        with errors_attributed_to(f"The student {self.name!r}"), custom_streams(generator, feat.device), settings_kept():
            try:
                result = function(graph, feat)
            except KeyError as error:
                self._explain_missing_column(error)
                raise
            except dgl.DGLError as error:
                self._explain_isolated_nodes(error)
                raise
            except RuntimeError as error:
                self._explain_precision(error, feat.dtype)
                raise
        return result

    def _explain_missing_column(self, error: KeyError) -> None:
        """Raise `UsageError` if the module asked a graph for data that it does not hold."""
        if not raised_in(error, "dgl"):
            return
        edges = ""
        if self.edge_scale is None:
            edges = (
                " Edge features, if the dataset has some, are graph.edata['feat'] for a student with the option edge_features: "
                f"{{'architecture': {self.options.label}, 'edge_features': True}}."
            )
        raise UsageError(
            f"The student {self.name!r} asks the graph for {error}, which it does not hold ({custom_place(error)}). Node features are the "
            f"argument feat.{edges}"
        ) from error

    def _explain_precision(self, error: RuntimeError, precision: torch.dtype) -> None:
        """Raise `UsageError` if the module still computes in the precision that it was made in."""
        others = self._initial_dtypes - {precision}
        if not others or "dtype" not in str(error):
            return
        raise UsageError(
            f"The student {self.name!r} raised an error: {described(error)} The likely cause: it was made in "
            f"{listed(sorted(map(str, others)))}, and all members compute in {precision}, to which its weights were converted. Leave out "
            "double() and half(), and take the features as they are."
        ) from error

    def _explain_isolated_nodes(self, error: dgl.DGLError) -> None:
        """Raise `UsageError` if a layer of DGL refuses nodes without in-edges: datasets undo the mend that DGL proposes."""
        if "0-in-degree" not in str(error):
            return
        if self._num_blocks is None:
            fix = "Add them in forward, graph = dgl.add_self_loop(graph), or make the layer with allow_zero_in_degree=True."
        else:  # blocks take no self-loops
            fix = "Make the layer with allow_zero_in_degree=True."
        raise UsageError(
            f"The student {self.name!r} has a layer that refuses nodes without in-edges, and the graph has such nodes "
            f"({custom_place(error)}). Graphs of datasets hold no self-loops, even if they were added before. {fix}"
        ) from error

    def _check_signature(self, function: Callable[..., Any]) -> None:
        """Refuse a method that does not take (graph, feat)."""
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # some methods written in C have none
            return
        try:
            signature.bind(None, None)
        except TypeError as error:
            raise UsageError(
                f"The method {function.__name__} of the student {self.name!r} cannot be called with (graph, feat): {error}. It takes "
                f"{signature}."
            ) from None

    def _check_logits(self, logits: Any, num_samples: int, feat: Tensor) -> None:
        if not isinstance(logits, Tensor):
            raise UsageError(f"The student {self.name!r} returns {kind_of(logits)}. Its forward must return the logits, a tensor.")
        if logits.layout != torch.strided:
            raise UsageError(f"The student {self.name!r} returns sparse logits. Its forward must return a dense tensor: logits.to_dense().")
        expected = (num_samples, self.num_outputs)
        if tuple(logits.shape) != expected:
            rows = "graphs" if self.task == "graph" else "nodes"
            pooling = " Pool node states, for example with dgl.mean_nodes." if self.task == "graph" else ""
            raise UsageError(
                f"The student {self.name!r} returns logits of the shape {tuple(logits.shape)}. Expected {expected}: ({rows}, "
                f"outputs).{pooling}"
            )
        if not logits.is_floating_point() or logits.device != feat.device:
            raise UsageError(
                f"The student {self.name!r} returns {logits.dtype} logits on {logits.device}. Expected floating-point numbers "
                f"on {feat.device}."
            )
        if self.training and torch.is_grad_enabled() and not logits.requires_grad:
            raise UsageError(
                f"The logits of the student {self.name!r} do not depend on its parameters, so it cannot learn. Do not detach them."
            )
        if not bool(logits.isfinite().all()):
            raise TrainingError(
                f"The student {self.name!r} returns logits that are not finite (NaN or infinite). Check its forward for divisions by zero "
                "and logarithms of zero, for example at nodes without neighbours, or lower training.learning_rate."
            )
        if self.training and not self._is_checked_for_probabilities and len(logits) >= _ENOUGH_ROWS:
            self._is_checked_for_probabilities = True
            self._warn_of_probabilities(logits)

    @torch.no_grad()
    def _warn_of_probabilities(self, logits: Tensor) -> None:
        """Warn if all rows are distributions over the classes. Outputs of a sigmoid are not detected: logits can look like them."""
        if self.num_outputs > 1 and bool((logits >= 0).all()) and bool(((logits.double().sum(-1) - 1).abs() < 1e-2).all()):
            warn(
                f"The student {self.name!r} seems to return probabilities: its outputs are not negative and sum to 1 in each row. A "
                "softmax is applied to them in training and prediction, so they would be nearly uniform. Return logits: leave out the "
                "softmax at the end of forward."
            )


def _writable_dense(features: NodeFeatures) -> Tensor:
    """Features as a dense tensor that a module may change: those of a batch share memory with the dataset and belong to its peers, too."""
    return features.clone() if isinstance(features, Tensor) else dense(features)
