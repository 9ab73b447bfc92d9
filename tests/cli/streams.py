"""Small streams for tests of commands that need no model: a graph of two layers with two heads, random scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.transformer import transformer_graph
from mi.io import chain, store, stream
from mi.io.chain import Invocation
from mi.io.examples import examples_digest, split_counts

GRAPH = transformer_graph(2, 2, d_model=8)  # 46 edges


def example(index: int) -> dict[str, Any]:
    return {
        "id": f"{index:012x}",
        "clean": f"Mary and John went home, John gave {index} to",
        "corrupted": f"Mary and John went home, Mary gave {index} to",
        "answers": [" Mary"],
        "foils": [" John"],
        "split": "train" if index % 2 else "validation",
    }


def head(kind: str, *words: str, graph: Graph = GRAPH, **parts: Any) -> dict[str, Any]:
    """A head as far as the light commands look at it, with one link in its chain."""
    made = {
        "kind": kind,
        "task": {"name": "ioi", "metric": "logit-diff", "counterfactual": "s2-io-flip"},
        "model": {"id": "toy", "architecture": "gpt2", "dtype": "float32", "weights": "ab" * 32, "bos": "auto"},
        **({"graph": graph.head()} if kind in ("scores", "circuit", "report") else {}),
        **parts,
    }
    return chain.record(made, Invocation(words[0] if words else "attribute", tuple(words[1:])))


def examples(n: int = 6) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    records = [example(index) for index in range(n)]
    named = {"sha256": examples_digest(records), "n": split_counts(records), "source": {"generator": "ioi", "seed": 0}}
    return head("examples", "data", "ioi", examples=named), records


def scores(seed: int = 0, n_shards: int = 4) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Head and tensors: shard sums are random, the edges' scores their mean over three examples a shard."""
    rng = np.random.default_rng(seed)
    shards = rng.standard_normal((n_shards, GRAPH.n_edges)) * 3
    n = np.full(n_shards, 3)
    edge = (shards.sum(axis=0) / n.sum()).astype(np.float32)
    return head("scores", "attribute"), {"scores": {"edge": edge, "edge_shards": shards, "shard_n": n}}


def write_scores(path: str | Path, seed: int = 0) -> np.ndarray:
    """A scores file with its sidecar; the scores."""
    made, tensors = scores(seed)
    stream.write(str(path), made, [], tensors)
    return tensors["scores"]["edge"]


def write_examples(path: str | Path, n: int = 6) -> list[dict[str, Any]]:
    made, records = examples(n)
    stream.write(str(path), made, records)
    store.put_examples(records)
    return records
