"""Generated graphs of any size: stand-ins for large public datasets, to measure speed and memory where these are not available.

A degree-corrected block model (Karrer and Newman, Phys. Rev. E 83, 2011, arXiv 1008.3926): nodes of a class prefer each other, degrees
follow a power law, and features are a class's centre plus noise. Accuracies on them say nothing about the datasets of the same size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_mutual.data.sources.ogb_nodes import MAX_NODES
from dgl_mutual.data.values.arrays import FloatArray, IntArray
from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.utils.arguments import whole_number
from dgl_mutual.utils.files import refuse_taken, replacing

#: Exponent of the degree distribution, and the largest expected degree, in multiples of the mean degree.
_EXPONENT, _HUB = 2.5, 300.0
#: Rows of features drawn at a time.
_ROWS = 1 << 16


@dataclass(frozen=True)
class GeneratorConfig:
    """Properties of a generated graph.

    Attributes:
        edges: number of undirected edges, without self-loops and duplicates.
        homophily: share of the edges that are drawn within a class.
        signal: standard deviation of the class centres; that of the noise is 1.
        label_noise: share of the nodes whose label is redrawn from all classes.
        train, val: number of nodes in these parts of the split; the rest is for test.
    """

    nodes: int
    edges: int
    features: int
    classes: int
    train: int
    val: int
    homophily: float = 0.7
    signal: float = 0.2
    label_noise: float = 0.1

    def check(self) -> None:
        """Raise `UsageError` for an impossible graph."""
        possible = self.nodes * (self.nodes - 1) // 2
        if self.edges > possible // 10:
            raise UsageError(
                f"{self.edges} edges between {self.nodes} nodes are too many: at most {possible // 10}, a tenth of all possible ones, can "
                "be drawn. Ask for fewer edges or more nodes."
            )
        if self.nodes < 10 * self.classes:
            raise UsageError(f"{self.nodes} nodes are too few for {self.classes} classes: at least ten for each. Ask for more nodes.")


#: Sizes: Hu et al., NeurIPS 2020 (OGB), table 2; sizes of the official splits. For `power-law`, users choose nodes and edges.
GENERATORS = {
    "arxiv-twin": GeneratorConfig(169_343, 1_166_243, 128, 40, 90_941, 29_799),
    "products-twin": GeneratorConfig(2_449_029, 61_859_140, 100, 47, 196_615, 39_323, homophily=0.8),
    "power-law": GeneratorConfig(100_000, 1_000_000, 64, 10, 50_000, 10_000),
}


def generate_dataset(name: str, out: Path, *, seed: int, nodes: int | None = None, edges: int | None = None) -> Path:
    """Write a generated dataset to the folder `out`, in OGB's raw form (arrays), and return the folder. It is determined by the seed.

    Args:
        name: a name in `GENERATORS`.
        nodes, edges: size of `power-law`.

    Raises:
        UsageError: an unknown name, a size for a twin, a size that no graph has, or a folder that exists.
        StoreError: the folder cannot be written.
    """
    config = _resolve(name, nodes, edges)
    if seed < 0:
        raise UsageError(f"The seed {seed} is negative. Give an integer from 0 on.")
    refuse_taken(out)
    streams = [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(4)]
    classes = _classes(config, streams[0])
    with replacing(out, durable=False) as made:
        made.mkdir()
        _write(made, config, classes, streams)
        refuse_taken(out)  # something may have been put there since
    return out


def _resolve(name: str, nodes: int | None, edges: int | None) -> GeneratorConfig:
    if name not in GENERATORS:
        raise unknown("generated dataset", name, GENERATORS)
    config = GENERATORS[name]
    if name != "power-law" and (nodes, edges) != (None, None):
        raise UsageError(f"{name} has {config.nodes} nodes and {config.edges} edges; only the size of power-law can be chosen.")
    if nodes is not None:
        nodes = whole_number("nodes", nodes, 1, MAX_NODES)
        mean = config.edges / config.nodes
        config = replace(config, nodes=nodes, edges=round(mean * nodes), train=nodes // 2, val=nodes // 10)
    if edges is not None:
        config = replace(config, edges=whole_number("edges", edges, 1))
    config.check()
    return config


def _write(folder: Path, config: GeneratorConfig, classes: IntArray, streams: list[np.random.Generator]) -> None:
    (folder / "raw").mkdir()
    ends = draw_edges(config, classes, streams[1])
    np.savez(
        folder / "raw" / "data.npz",
        edge_index=ends.astype(np.int32 if config.nodes < 2**31 else np.int64),
        num_nodes_list=np.array([config.nodes]),
        num_edges_list=np.array([config.edges]),
        node_feat=_features(config, classes, streams[2]),
    )
    del ends
    redrawn = streams[3].random(config.nodes) < config.label_noise
    labels = np.where(redrawn, streams[3].integers(config.classes, size=config.nodes), classes)
    np.savez(folder / "raw" / "node-label.npz", node_label=labels[:, None])
    (folder / "split" / "random").mkdir(parents=True)
    order = streams[3].permutation(config.nodes)
    parts = np.split(order, [config.train, config.train + config.val])
    for part, chosen in zip(("train", "valid", "test"), parts, strict=True):
        pd.Series(np.sort(chosen)).to_csv(
            folder / "split" / "random" / f"{part}.csv.gz", header=False, index=False, compression={"method": "gzip", "mtime": 1}
        )


def _classes(config: GeneratorConfig, random: np.random.Generator) -> IntArray:
    """The class of each node, in random order. The share of class c is proportional to (c + 1)^-1/2."""
    shares = 1 / np.sqrt(1 + np.arange(config.classes))
    sizes = 1 + random.multinomial(config.nodes - config.classes, shares / shares.sum())
    return random.permutation(np.repeat(np.arange(config.classes), sizes))


def draw_edges(config: GeneratorConfig, classes: IntArray, random: np.random.Generator) -> IntArray:
    """Draw distinct undirected edges: (2, edges).

    Draws until there are enough distinct edges, since pairs of hubs are drawn repeatedly, and then removes the surplus.
    """
    nodes = np.argsort(classes, kind="stable")  # class by class
    starts = np.searchsorted(classes[nodes], np.arange(config.classes + 1))
    weights = np.minimum((1 - random.random(config.nodes)) ** (-1 / (_EXPONENT - 1)), _HUB * 3)  # 3 is the mean weight
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < config.edges:
        missing = config.edges - len(keys)
        more = _draw(config, nodes, starts, weights, missing + missing // 20 + 16, random)
        keys = np.concatenate([keys, more])
        del more
        keys.sort()
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    surplus = random.choice(len(keys), len(keys) - config.edges, replace=False)
    keys = np.delete(keys, surplus)
    return np.stack(np.divmod(keys, config.nodes))


def _draw(
    config: GeneratorConfig, nodes: IntArray, starts: IntArray, weights: npt.NDArray[np.float64], count: int, random: np.random.Generator
) -> IntArray:
    """Draw `count` edges by node weight, within classes or among all nodes: keys ``lower end * |V| + higher end``, without self-loops."""
    within = random.binomial(count, config.homophily)
    volumes = np.add.reduceat(weights, starts[:-1])
    groups = [(0, config.nodes, count - within)]
    groups += zip(starts[:-1], starts[1:], random.multinomial(within, volumes / volumes.sum()), strict=True)
    keys = []
    for first, end, number in groups:
        shares = weights[first:end] / weights[first:end].sum()
        source, destination = (np.repeat(nodes[first:end], random.multinomial(number, shares)) for _ in range(2))
        random.shuffle(destination)
        ends = np.minimum(source, destination) * config.nodes + np.maximum(source, destination)
        keys.append(ends[source != destination])
    return np.concatenate(keys)


def _features(config: GeneratorConfig, classes: IntArray, random: np.random.Generator) -> FloatArray:
    centres = config.signal * random.standard_normal((config.classes, config.features), dtype=np.float32)
    features = np.empty((config.nodes, config.features), dtype=np.float32)
    for start in range(0, config.nodes, _ROWS):
        rows = features[start : start + _ROWS]
        random.standard_normal(out=rows, dtype=np.float32)
        rows += centres[classes[start : start + _ROWS]]
    return features
