"""Circuits of the literature: their sets of edges against plain loops that follow the papers' text in another order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mi.circuit import literature
from mi.errors import UsageError
from mi.io import stream
from tests.cli.conftest import Session, mi  # noqa: F401  # a fixture
from tests.data_dir import CHECKOUT

HEADS = {
    "mover": "9.9 10.0 9.6 10.10 10.6 10.2 10.1 11.2 9.7 9.0 11.9 10.7 11.10",
    "inhibition": "7.3 7.9 8.6 8.10",
    "induction": "5.5 5.8 5.9 6.9",
    "duplicate": "0.1 0.10 3.0",
    "previous": "2.2 4.11",
}


def ioi_by_loops() -> set[str]:
    """Start from the graph without the heads that have no role, take out what touches heads, and add the links."""
    role = {tuple(map(int, text.split("."))): name for name, texts in HEADS.items() for text in texts.split()}
    true = set()
    for layer in range(12):
        true |= {f"input->m{layer}", f"m{layer}->logits"}
        true |= {f"m{low}->m{layer}" for low in range(layer)}
        for (at, head), name in role.items():
            if at <= layer:
                true.add(f"a{at}.h{head}->m{layer}")
            if layer < at:
                true |= {f"m{layer}->a{at}.h{head}<{b}>" for b in "qkv"}
    true.add("input->logits")
    reads = {"previous": "qkv", "duplicate": "qkv", "inhibition": "q", "mover": "kv"}
    pairs = {("previous", "induction"): "kv", ("induction", "inhibition"): "kv", ("duplicate", "inhibition"): "kv"}
    pairs[("inhibition", "mover")] = "q"
    for (at, head), name in role.items():
        true |= {f"input->a{at}.h{head}<{b}>" for b in reads.get(name, "")}
        if name == "mover":
            true.add(f"a{at}.h{head}->logits")
        for (low, other), before in role.items():
            if low < at:
                true |= {f"a{low}.h{other}->a{at}.h{head}<{b}>" for b in pairs.get((before, name), "")}
    return true


def greater_than_by_loops() -> set[str]:
    middle = [(5, 5), (6, 1), (6, 9), (7, 10), (8, 11), (9, 1)]
    true = {f"input->a0.h{head}<{b}>" for head in (1, 3, 5) for b in "qkv"}
    true |= {f"{source}->m{layer}" for layer in range(4) for source in ("input", "a0.h1")}
    true |= {f"m{low}->m{high}" for low in range(12) for high in range(low + 1, 12) if high < 9 or low >= 8}
    for layer, head in middle:
        name = f"a{layer}.h{head}"
        true.add(f"{name}->logits")
        true |= {f"a0.h{early}->{name}<{b}>" for early in (1, 3, 5) for b in "qkv"}
        true |= {f"m{early}->{name}<{b}>" for early in range(4) for b in "qkv"}
        true |= {f"m{early}->{name}<q>" for early in range(layer)}
        true |= {f"{name}->m{late}" for late in range(8, 12) if late >= layer}
    return true | {f"m{late}->logits" for late in range(8, 12)}


def names(name: str) -> set[str]:
    known = literature.get(name)
    return {known.graph.edge_name(index) for index in np.flatnonzero(known.edges())}


def test_the_circuits_of_ioi_and_greater_than() -> None:
    assert literature.IOI.graph.n_edges == 32_491
    assert names("ioi") == ioi_by_loops()
    assert names("greater-than") == greater_than_by_loops()
    assert sum(len(nodes) for nodes in literature.IOI.roles.values()) == 26


def test_the_circuit_of_docstrings() -> None:
    """37 edges in ACDC's list, of which 13 lead from a receiver to its own query, key or value."""
    found = names("docstring")
    assert literature.DOCSTRING.graph.n_edges == 1281
    assert len(found) == 37 - 13
    assert len({name.split("->")[1] for name in found} - {"logits"}) == 13
    assert {"a0.h5->a1.h4<v>", "a1.h4->a2.h0<v>", "a2.h0->a3.h6<k>", "a3.h0->logits"} <= found


def test_the_page_says_how_large_they_are() -> None:
    page = (CHECKOUT / "docs" / "interchange.md").read_text()
    for name in literature.NAMES:
        size = f"{len(names(name)):,} of {literature.get(name).graph.n_edges:,}"
        assert any(line.startswith(f"| `{name}` |") and line.endswith(f"| {size} |") for line in page.splitlines())


def test_an_unknown_circuit() -> None:
    with pytest.raises(UsageError, match="no circuit of the literature is called 'x'"):
        literature.get("x")
    assert tuple(literature.get(name).name for name in literature.NAMES) == literature.NAMES


def test_the_command_and_what_it_is_for(mi: Session) -> None:  # noqa: F811
    for name in literature.NAMES:
        mi("data", "circuit", name, "-o", f"{name}.jsonl").ok()
        read = stream.read(f"{name}.jsonl", ("circuit",))
        assert {f"{r['src']}->{r['dst']}" for r in read.records} == names(name)
        assert read.head["selection"]["source"].endswith("Conmy et al. 2023")
    known = literature.IOI
    scores = known.edges().astype(np.float32) + np.linspace(0, 0.5, known.graph.n_edges, dtype=np.float32)
    stream.write("scores.jsonl", {"kind": "scores", "graph": known.graph.head()}, [], {"scores": {"edge": scores}})
    out = mi("eval", "ground-truth", "scores.jsonl", "--truth", "ioi.jsonl", "--resamples", "0").ok().out
    assert next(json.loads(line)["value"] for line in out.splitlines() if b'"auroc"' in line) == 1.0
    assert mi("data", "circuit").code == 2
    assert mi("data", "circuit", "induction").code == 2
    assert not Path("x").exists()
