"""Exact patching against whole float64 runs, patch by patch, on random models of every adapted family."""

from dataclasses import replace

import numpy as np
import pytest

from mi.core import exact
from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.errors import MiError
from mi.tasks import footprint
from tests.core.cases import ADAPTED, Case, largest, random_case
from tests.examples import encoded
from tests.oracle import exact as oracle

SAME = 1e-9  # float64, of the largest score


def every(case: Case, level: str) -> list[oracle.Patch]:
    """The oracle's patches in the order of the package's units."""
    if level == "edge":
        cells = np.arange(len(oracle.edges(case.weights)))
        dense = np.full((100, 400), -1)
        for cell, patch in zip(cells, oracle.edges(case.weights), strict=True):
            dense[patch.source, patch.receiver] = cell
        patches = oracle.edges(case.weights)
        return [patches[cell] for cell in case.as_edges(dense)]
    if level == "node":
        return oracle.nodes(case.weights)
    return oracle.neurons(case.weights, range(len(oracle.nodes(case.weights))))


CASES = [(name, "edge", "noising") for name in ADAPTED]
CASES += [(name, "edge", "denoising") for name in ("gpt2", "mistral", "qwen2-windowed")]
CASES += [(name, "node", direction) for name in ("gpt2-scaled", "qwen2") for direction in exact.DIRECTIONS]
CASES += [("gpt2-scaled", "neuron", "noising"), ("mistral-windowed", "neuron", "denoising")]


@pytest.mark.parametrize(("name", "level", "direction"), CASES)
def test_every_patch_is_a_whole_run(name: str, level: str, direction: str, seed: int) -> None:
    """Prompts of two lengths, which differ first and are read at places of their own."""
    case = random_case(name, seed, n=4, lengths=(4, 6))
    found = attribute(case.model, case.encoded, method="exact", level=level, direction=direction)
    expected = oracle.exact(case.weights, case.examples, "logit-diff", every(case, level), direction).mean(1)
    np.testing.assert_allclose(found.scores.ravel(), expected, rtol=0, atol=SAME * largest(expected))


@pytest.mark.parametrize(
    ("ablation", "metric"), [("zero", "kl"), ("mean", "prob-diff"), ("mean-positional", "accuracy")]
)
@pytest.mark.parametrize("name", ["gpt2", "mistral"])
def test_other_replacements_and_metrics(name: str, ablation: str, metric: str, seed: int) -> None:
    case = random_case(name, seed, n=5)
    found = attribute(case.model, case.encoded, method="exact", ablation=ablation, metric=metric)
    patches = every(case, "edge")
    expected = oracle.exact(case.weights, case.examples, metric, patches, ablation=ablation).mean(1)
    np.testing.assert_allclose(found.edge, expected, rtol=0, atol=SAME * max(1.0, largest(expected)))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_float32_on_what_a_circuit_run_says(name: str, seed: int) -> None:
    """One edge missing, through another path of the code."""
    case = random_case(name, seed, double=False)
    found = attribute(case.model, case.encoded, method="exact")
    runs = run_circuits(case.model, case.encoded, ~np.eye(case.model.graph.n_edges, dtype=bool))
    np.testing.assert_allclose(found.edge, (runs.clean - runs.value).mean(1), rtol=0, atol=1e-5 * largest(found.edge))


@pytest.mark.parametrize("tokens", [1, 40, 10**6])
def test_how_many_run_side_by_side_changes_nothing(tokens: int, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    case = random_case("qwen2", seed)
    before = attribute(case.model, case.encoded, method="exact").edge
    monkeypatch.setattr(footprint, "ROW_TOKENS", tokens)
    found = attribute(case.model, case.encoded, method="exact", batch_size=4)
    np.testing.assert_allclose(found.edge, before, rtol=0, atol=SAME * largest(before))


@pytest.mark.parametrize("first", [0, 3, 6])
def test_prompts_that_differ_early_late_or_in_the_token_that_is_read(first: int, seed: int) -> None:
    case = random_case("gpt2-scaled", seed, n=3)
    examples = []
    for example in case.examples:
        token = (example.clean[first] + 1) % 29
        corrupted = (*example.clean[:first], token, *example.clean[first + 1 :])
        examples.append(replace(example, corrupted=corrupted, read=6))
    found = attribute(case.model, encoded(examples), method="exact")
    expected = oracle.exact(case.weights, examples, "logit-diff", every(case, "edge")).mean(1)
    np.testing.assert_allclose(found.edge, expected, rtol=0, atol=SAME * largest(expected))


@pytest.mark.parametrize("direction", exact.DIRECTIONS)
def test_what_is_read_before_it_differs_does_not_change(direction: str, seed: int) -> None:
    """In a batch with prompts that are read later."""
    case = random_case("gpt2", seed, n=3)
    early = case.examples[1]
    changed = (*early.clean[:5], (early.clean[5] + 1) % 29, early.clean[6])
    examples = [case.examples[0], replace(early, corrupted=changed, read=1), case.examples[2]]
    examples[0] = replace(examples[0], corrupted=(*examples[0].clean[:4], *examples[0].corrupted[4:]), read=6)
    examples[2] = replace(examples[2], corrupted=(*examples[2].clean[:4], *changed[4:]), read=6)
    found = attribute(case.model, encoded(examples), method="exact", direction=direction)
    expected = oracle.exact(case.weights, examples, "logit-diff", every(case, "edge"), direction).mean(1)
    np.testing.assert_allclose(found.edge, expected, rtol=0, atol=SAME * largest(expected))


def test_prompts_that_do_not_differ_score_nothing(seed: int) -> None:
    case = random_case("llama", seed, n=2)
    same = encoded([replace(example, corrupted=example.clean) for example in case.examples])
    assert np.abs(attribute(case.model, same, method="exact").edge).max() < 1e-12


def test_only_what_is_asked_for_is_looked_at(seed: int) -> None:
    case = random_case("gpt2", seed)
    whole = attribute(case.model, case.encoded, method="exact").edge
    only = np.sort(case.rng.choice(len(whole), 7, replace=False))
    told: list[float] = []
    found = attribute(case.model, case.encoded, method="exact", only=only, on_done=told.append)
    np.testing.assert_allclose(found.edge[only], whole[only], rtol=0, atol=1e-12)
    assert np.count_nonzero(np.delete(found.edge, only)) == 0
    assert sum(told) == pytest.approx(len(case.examples))


def test_each_half_of_the_examples_has_its_shard(seed: int) -> None:
    case = random_case("gpt2", seed, n=4)
    found = attribute(case.model, case.encoded, method="exact", level="node")
    assert found.shard_n.tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(found.shards.sum(0) / 4, found.scores, rtol=0, atol=1e-12)


def test_the_model_is_left_as_it_was(seed: int) -> None:
    case = random_case("llama", seed)
    attribute(case.model, case.encoded, method="exact", only=np.arange(3))
    for layer in case.model.adapter.layers:
        assert "forward" not in vars(layer.block)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in layer.block.modules())


def test_what_has_no_meaning_is_refused(seed: int) -> None:
    case = random_case("gpt2", seed)
    for fault, options in (
        ("denoising restores", {"direction": "denoising", "ablation": "zero"}),
        ("goes on from inside", {"executor": "generic"}),
        ("no direction 'up'", {"direction": "up"}),
        ("--direction means nothing to eap", {"direction": "noising", "method": "eap"}),
        ("--steps means nothing to exact", {"steps": 3}),
    ):
        with pytest.raises(MiError, match=fault) as caught:
            attribute(case.model, case.encoded, **{"method": "exact", **options})
        assert caught.value.code == 2


def test_a_model_that_scales_its_logits_is_refused(seed: int) -> None:
    case = random_case("llama", seed)
    handle = case.model.module.register_forward_hook(lambda _, __, out: setattr(out, "logits", 2 * out.logits) or out)
    with pytest.raises(MiError, match="does more to its logits"):
        attribute(case.model, case.encoded, method="exact")
    handle.remove()
