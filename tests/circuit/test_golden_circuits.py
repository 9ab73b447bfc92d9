"""Selections, pruned circuits and curves of the reference code on three tiny models: the same edges, the same areas."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from mi.circuit import curve, select
from mi.circuit.prune import connected, nodes_of
from mi.circuit.transformer import transformer_graph
from tests.data_dir import shared

MODELS = ["gpt2-tiny", "llama-tiny", "neox-tiny"]
SELECTED_BY = "scores.eap_ig_inputs_m5"


class Golden:
    def __init__(self, model):
        self.reference = json.loads(shared("golden", model, "reference.json").read_text())
        self.arrays = load_file(shared("golden", model, "reference.safetensors"))
        cfg = self.reference["cfg"]
        self.graph = transformer_graph(cfg["n_layers"], cfg["n_heads"], cfg["parallel_attn_mlp"], cfg["d_model"])
        self.scores = self.vectors(SELECTED_BY)

    def vectors(self, key):
        """A dense [..., sources, receivers] array as vectors in edge order."""
        return self.arrays[key][..., self.graph.edges[0], self.graph.edges[1]]


@pytest.fixture(scope="module", params=MODELS)
def golden(request):
    return Golden(request.param)


@pytest.mark.parametrize("mode", ["signed", "absolute"])
def test_top_and_pruned_masks(golden, mode):
    before = golden.vectors(f"circuits.{mode}.mask_before_prune")
    after, nodes = golden.vectors(f"circuits.{mode}.mask"), golden.arrays[f"circuits.{mode}.nodes"]
    selections = golden.reference["circuits"][mode]["selections"]
    assert len(selections) == len(golden.reference["sizes"]) == 18
    for place, n in enumerate(golden.reference["sizes"]):
        chosen = select.top(golden.graph, golden.scores, n, absolute=mode == "absolute")
        assert (chosen == before[place]).all()
        pruned = connected(golden.graph, chosen)
        assert (pruned == after[place]).all()
        assert (nodes_of(golden.graph, pruned)[:-1] == nodes[place]).all()
        names = [golden.graph.edge_name(edge) for edge in np.flatnonzero(pruned)]
        assert sorted(names) == sorted(selections[place]["kept_edges"])


@pytest.mark.parametrize("mode", ["signed", "absolute"])
def test_the_old_rule_of_pruning_is_not_ours(golden, mode):
    """The revision that the MIB track pins stops one step early; where its circuits are larger, ours are not."""
    old = golden.vectors(f"circuits.{mode}.mask_pruned_by_pinned_revision")
    for before, pinned in zip(golden.vectors(f"circuits.{mode}.mask_before_prune"), old, strict=True):
        ours = connected(golden.graph, before)
        assert not (ours & ~pinned).any()
        assert (connected(golden.graph, pinned) == ours).all()


@pytest.mark.parametrize("mode", ["signed", "absolute"])
def test_greedy(golden, mode):
    section = golden.reference["circuits"][f"greedy_{mode}"]
    masks = golden.vectors(f"circuits.greedy_{mode}.mask")
    for n, expected, selection in zip(section["sizes"], masks, section["selections"], strict=True):
        chosen = select.greedy(golden.graph, golden.scores, n, absolute=mode == "absolute")
        assert np.count_nonzero(chosen) == selection["n_before_prune"]
        pruned = connected(golden.graph, chosen)
        assert (pruned == expected).all()
        assert np.count_nonzero(pruned) == selection["n_kept"]


def test_sizes(golden):
    assert list(curve.sizes(golden.graph.n_edges)) == golden.reference["mib_sizes"]
    assert list(curve.PERCENTAGES) == golden.reference["mib_percentages"]


@pytest.mark.parametrize("mode", ["signed", "absolute", "greedy_signed", "greedy_absolute"])
def test_areas(golden, mode):
    section = golden.reference["circuits"][mode]
    expected = section["area_under_curve"]
    assert curve.cpr(expected["faithfulnesses"]) == pytest.approx(expected["area_under"], abs=1e-12)
    assert curve.cmd(expected["faithfulnesses"]) == pytest.approx(expected["area_from_1"], abs=1e-12)
    assert curve.average(expected["faithfulnesses"]) == pytest.approx(expected["average"], abs=1e-12)
    if "area_under_curve_log_scale" in section:
        logarithmic = section["area_under_curve_log_scale"]
        assert curve.cpr_log(expected["faithfulnesses"]) == pytest.approx(logarithmic["area_under"], abs=1e-12)
        assert curve.cmd_log(expected["faithfulnesses"]) == pytest.approx(logarithmic["area_from_1"], abs=1e-12)


def test_areas_of_other_scores(golden):
    others = golden.reference["other_area_under_curve"]
    assert others
    for expected in others.values():
        assert curve.cpr(expected["faithfulnesses"]) == pytest.approx(expected["area_under"], abs=1e-12)
        assert curve.cmd(expected["faithfulnesses"]) == pytest.approx(expected["area_from_1"], abs=1e-12)


def test_realised_sizes_of_other_scores(golden):
    for key, expected in golden.reference["other_area_under_curve"].items():
        name, mode = key.split(".")
        scores = golden.vectors(f"scores.{name}")
        realised = [
            np.count_nonzero(connected(golden.graph, select.top(golden.graph, scores, n, mode == "absolute")))
            for n in curve.sizes(golden.graph.n_edges)
        ]
        assert realised == expected["weighted_edge_counts"], key


def test_the_exported_graph(golden):
    exported = golden.reference["exported_graph"]
    scores = golden.vectors(exported["scores"])
    document = json.loads(shared("golden", golden.reference["model"], "graph.json").read_text())
    chosen = select.top(golden.graph, scores, exported["n_requested"], exported["selection"] == "absolute")
    pruned = connected(golden.graph, chosen)
    assert np.count_nonzero(pruned) == exported["n_kept"]
    assert [edge["in_graph"] for edge in document["edges"].values()] == pruned.tolist()
