"""Each convolution against DGL's own layer with the same weights: values and gradients, in double precision."""

from __future__ import annotations

from collections.abc import Callable

import dgl
import dgl.nn
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.convolutions import CONVOLUTIONS, Convolution, LayerSpec

Weights = dict[str, Tensor]
IN, OUT, HIDDEN, HEADS = 5, 6, 7, 3
pytestmark = pytest.mark.usefixtures("backend")


def graph_conv(weights: Weights, graph: dgl.DGLGraph, x: Tensor) -> Tensor:
    layer = dgl.nn.GraphConv(IN, OUT, norm="both").double()
    return functional_call(layer, {"weight": weights["weight"], "bias": weights["bias"]}, (dgl.add_self_loop(graph), x))


def gat_conv(weights: Weights, graph: dgl.DGLGraph, x: Tensor) -> Tensor:
    layer = dgl.nn.GATConv(IN, OUT // HEADS, HEADS).double()
    theirs = {
        "fc.weight": weights["weight"].t(),
        "attn_l": weights["attention_source"].unsqueeze(0),
        "attn_r": weights["attention_destination"].unsqueeze(0),
        "bias": weights["bias"],
    }
    return functional_call(layer, theirs, (dgl.add_self_loop(graph), x)).flatten(1)


def gin_conv(weights: Weights, graph: dgl.DGLGraph, x: Tensor, *, batch_norm: bool = False) -> Tensor:
    norm = nn.BatchNorm1d(HIDDEN) if batch_norm else nn.Identity()
    mlp = nn.Sequential(nn.Linear(IN, HIDDEN), norm, nn.ReLU(), nn.Linear(HIDDEN, OUT))
    layer = dgl.nn.GINConv(mlp, "sum", learn_eps=True).double()
    theirs = {
        "eps": weights["eps"],
        "apply_func.0.weight": weights["weight"].t(),
        "apply_func.0.bias": weights["bias"],
        "apply_func.3.weight": weights["last.weight"],
        "apply_func.3.bias": weights["last.bias"],
    }
    if batch_norm:
        theirs |= {"apply_func.1.weight": weights["norm.weight"], "apply_func.1.bias": weights["norm.bias"]}
    return functional_call(layer, theirs, (graph, x))


def sage_conv(weights: Weights, graph: dgl.DGLGraph, x: Tensor) -> Tensor:
    layer = dgl.nn.SAGEConv(IN, OUT, "mean").double()
    theirs = {"fc_self.weight": weights["self_weight"].t(), "fc_self.bias": weights["bias"]}
    theirs["fc_neigh.weight"] = weights["neighbour_weight"].t()
    return functional_call(layer, theirs, (graph, x))


REFERENCES = {"gcn": graph_conv, "gat": gat_conv, "gin": gin_conv, "sage": sage_conv}


def random_convolution(architecture: str, **changed: object) -> Convolution:
    """Every parameter away from the zeros and ones that hide mistakes."""
    torch.manual_seed(3)
    layer = {"in_features": IN, "out_features": OUT, "hidden": HIDDEN, "heads": HEADS if architecture == "gat" else 1, **changed}
    convolution = CONVOLUTIONS[architecture](LayerSpec(**layer)).double()  # type: ignore[arg-type]  # the values' types differ
    for parameter in convolution.parameters():
        nn.init.normal_(parameter, std=0.5)
    return convolution


def test_every_architecture_has_a_reference() -> None:
    assert set(REFERENCES) == set(CONVOLUTIONS)


@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("structure", ["undirected", "directed", "no edges"])
@pytest.mark.parametrize("architecture", CONVOLUTIONS)
def test_equals_dgl_forward_and_backward(
    architecture: str,
    structure: str,
    sparse_: bool,
    make_dataset: Callable[..., Dataset],
    as_dgl: Callable[[Dataset], dgl.DGLGraph],
) -> None:
    dataset = make_dataset(directed=structure == "directed", edges_per_node=0 if structure == "no edges" else 2, sparse_=sparse_)
    batch = Collator(dataset, dtype=torch.float64).all()
    graph = as_dgl(dataset)
    assert (graph.in_degrees() == 0).any(), "there is an isolated node"
    convolution = random_convolution(architecture)
    weights = dict(convolution.named_parameters())
    dense = graph.ndata["feat"].requires_grad_(not sparse_)

    ours = convolution(batch, batch.features if sparse_ else dense, None)
    theirs = REFERENCES[architecture](weights, graph, dense)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)

    upstream = torch.randn_like(ours)
    wanted = [*weights.values(), *([] if sparse_ else [dense])]
    for our_gradient, their_gradient in zip(
        torch.autograd.grad(ours, wanted, upstream), torch.autograd.grad(theirs, wanted, upstream), strict=True
    ):
        torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-10)


def test_gin_with_batch_norm_equals_dgl(make_dataset: Callable[..., Dataset], as_dgl: Callable[[Dataset], dgl.DGLGraph]) -> None:
    dataset = make_dataset()
    convolution = random_convolution("gin", batch_norm=True)
    ours = convolution(Collator(dataset, dtype=torch.float64).all(), as_dgl(dataset).ndata["feat"], None)
    theirs = gin_conv(dict(convolution.named_parameters()), as_dgl(dataset), as_dgl(dataset).ndata["feat"], batch_norm=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_self_loops_of_the_input_count_once(as_dgl: Callable[[Dataset], dgl.DGLGraph], make_dataset: Callable[..., Dataset]) -> None:
    graph = as_dgl(make_dataset())
    for architecture in CONVOLUTIONS:
        convolution = random_convolution(architecture)
        plain, looped = (GraphBatch.from_dgl(g, dtype=torch.float64) for g in (graph, dgl.add_self_loop(graph)))
        torch.testing.assert_close(convolution(plain, plain.features, None), convolution(looped, looped.features, None))


def test_attention_dropout_leaves_the_mean(make_dataset: Callable[..., Dataset]) -> None:
    batch = Collator(make_dataset(), dtype=torch.float64).all()
    convolution = random_convolution("gat", dropout=0.5)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([convolution(batch, batch.features, generator).detach() for _ in range(2000)])
    expected = convolution(batch, batch.features, None)
    error = draws.std(0) / len(draws) ** 0.5
    assert draws.std(0).max() > 0.1
    assert ((draws.mean(0) - expected).abs() <= 5 * error + 1e-12).all()


@pytest.mark.parametrize("architecture", CONVOLUTIONS)
def test_reset_parameters_draws_anew_as_the_constructor_does(architecture: str) -> None:
    layer = LayerSpec(IN, OUT, HIDDEN, heads=3 if architecture == "gat" else 1, batch_norm=True)
    torch.manual_seed(0)
    convolution = CONVOLUTIONS[architecture](layer)
    first = {name: value.clone() for name, value in convolution.state_dict().items()}
    for parameter in convolution.parameters():
        nn.init.constant_(parameter, 9.0)
    torch.manual_seed(0)
    fresh = CONVOLUTIONS[architecture](layer)
    convolution.reset_parameters()
    torch.testing.assert_close(dict(fresh.state_dict()), first)
    assert all(not (parameter == 9.0).any() for parameter in convolution.parameters())
