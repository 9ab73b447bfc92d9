"""Results that ACDC published, and what is no such result."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mi.circuit.importers import acdc_results
from mi.errors import MiError
from mi.io import stream
from tests.cli.conftest import Session
from tests.data_dir import shared
from tests.seeds import FRESH


def stairs(points: list[tuple[float, float]]) -> float:
    """The area under points (false, true) of which the lower right way is taken: a rise counts from where it ends."""
    area = 0.0
    points = sorted(points)
    for (_, before), (false, true) in pairwise(points):
        area += (1 - false) * (true - before)
    return area


def nested(lists: dict[str, Any], *keys: str) -> bytes:
    value: Any = lists
    for key in reversed(keys or ("trained", "random_ablation", "ioi", "kl_div", "ACDC")):
        value = {key: value}
    return json.dumps(value).encode()


@pytest.mark.parametrize("seed", [0, FRESH])
def test_a_sweep_becomes_points_and_areas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 30))
    rates = {name: rng.permutation(np.append([0.0, 1.0], rng.random(n - 2))).tolist() for name in ("e", "f", "g", "h")}
    sizes = [float("nan"), *rng.integers(0, 1000, n - 2).tolist(), float("inf")]
    lists = {"edge_tpr": rates["e"], "edge_fpr": rates["f"], "node_tpr": rates["g"], "node_fpr": rates["h"]}
    lists |= {"n_edges": sizes, "score": [float("inf"), *rng.random(n - 1).tolist()], "test_kl_div": [float("inf")] * n}
    made = acdc_results.read(nested(lists), "x.json")
    assert made.about == {
        "weights": "trained",
        "ablation": "random_ablation",
        "task": "ioi",
        "metric": "kl_div",
        "method": "ACDC",
    }
    for curve, area, tpr, fpr in (
        ("roc", "auroc-pessimistic", "e", "f"),
        ("roc-nodes", "auroc-pessimistic-nodes", "g", "h"),
    ):
        points = list(zip(rates[fpr], rates[tpr], strict=True))
        found = [record for record in made.records if record["summary"] == curve]
        assert [(record["fpr"], record["tpr"]) for record in found] == sorted(points)
        (whole,) = (record["value"] for record in made.records if record["summary"] == area)
        assert whole == pytest.approx(stairs(points), abs=1e-12)
    of_edges = {(r["fpr"], r["tpr"]): r for r in made.records if r["summary"] == "roc"}
    for place, point in enumerate(zip(rates["f"], rates["e"], strict=True)):
        assert of_edges[point].get("size") == (sizes[place] if 0 < place < n - 1 else None)
        assert of_edges[point].get("threshold") == (lists["score"][place] if place else None)


@pytest.mark.parametrize(
    "name", ["docstring-kl_div-False-0", "greaterthan-greaterthan-True-0", "tracr-reverse-l2-False-1"]
)
def test_results_that_were_published(mi: Session, name: str) -> None:
    path = shared("data", "acdc_results", f"acdc-{name}.json")
    mi("import", "acdc", str(path), "-o", "published.jsonl").ok()
    lists = json.loads(path.read_bytes())
    while "edge_tpr" not in lists:
        (lists,) = lists.values()
    found = stream.read("published.jsonl", ("report",)).records
    for unit, summary in (("edge", "auroc-pessimistic"), ("node", "auroc-pessimistic-nodes")):
        points = list(zip(lists[f"{unit}_fpr"], lists[f"{unit}_tpr"], strict=True))
        (value,) = (record["value"] for record in found if record["summary"] == summary)
        assert value == pytest.approx(stairs(points), abs=1e-12)
    assert mi("view", "published.jsonl").ok().text.startswith(f"report of {name.split('-')[0]}")
    assert "auroc-pessimistic" in mi("plot", "published.jsonl").ok().text


FINE = {"edge_tpr": [0.0, 0.5, 1.0], "edge_fpr": [0.0, 0.1, 1.0]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (nested({**FINE, "edge_fpr": [0.0, 1.0]}), "edge_tpr has 3 rates and edge_fpr 2"),
        (nested({**FINE, "edge_fpr": [0.0, 1.5, 1.0]}), "1.5"),
        (nested({**FINE, "edge_tpr": [0.0, float("nan"), 1.0]}), "nan"),
        (nested({**FINE, "edge_tpr": [0.0, True, 1.0]}), "True"),
        (nested({**FINE, "edge_tpr": "all"}), "edge_tpr is no list"),
        (nested({"edge_tpr": [1.0]}), "edge_fpr is no list"),
        (nested({"edge_tpr": [1.0], "edge_fpr": [1.0]}), "1 rates"),
        (nested({**FINE, "node_tpr": [0.0, 0.5, 1.0]}), "node_fpr is no list"),
        (b'{"a": ' + nested(FINE) + b', "b": ' + nested(FINE) + b"}", "2 sweeps"),
        (nested(FINE)[:-3], "not JSON"),
        (b'{"a": ["edge_tpr"], "b": "edge_tpr"}', "no sweep"),
    ],
)
def test_what_is_no_result_is_refused(data: bytes, says: str) -> None:
    assert acdc_results.are_results(data)
    with pytest.raises(MiError, match=says):
        acdc_results.read(data, "x.json")


def test_flags_of_edges_are_refused(mi: Session) -> None:
    with open("x.json", "wb") as file:
        file.write(nested(FINE))
    done = mi("import", "acdc", "x.json", "--layers", "2", "--heads", "2")
    assert (done.code, done.out) == (2, b"")
    assert "hold no edges" in done.err
