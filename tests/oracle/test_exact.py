"""The oracle of exact patching against the stored numbers, the other oracle, and a model with hooks."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from tests.examples import IdExample, random_examples
from tests.golden.golden import MODELS, golden
from tests.models import BUILDERS, Shape, random_model, truly_double
from tests.oracle import circuits
from tests.oracle.exact import Patch, edges, exact, neurons, nodes
from tests.oracle.transformer import edge_cells, n_sources, source_names
from tests.oracle.weights import read_module
from tests.seeds import FRESH

SHAPE = Shape(n_layers=2, n_heads=2, n_kv_heads=1)
SAME = 1e-9


def swapped(examples: Sequence[IdExample]) -> list[IdExample]:
    return [IdExample(e.corrupted, e.clean, e.answers, e.foils, e.read) for e in examples]


@pytest.mark.parametrize("name", MODELS)
def test_edges_are_those_of_the_stored_numbers(name: str) -> None:
    case = golden(name)
    patches = edges(case.weights)[1::7]
    scores = exact(case.weights, case.examples, "logit-diff", patches)
    stored = [case.independent["exact.per_example"][patch.source, patch.receiver] for patch in patches]
    np.testing.assert_allclose(scores, np.stack(stored), rtol=0, atol=SAME)
    means = [case.independent["scores.exact"][patch.source, patch.receiver] for patch in patches]
    np.testing.assert_allclose(scores.mean(1), means, rtol=0, atol=SAME)
    assert np.abs(scores).max() > 0.1


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("seed", [11, FRESH])
def test_denoising_is_noising_with_the_prompts_exchanged(family: str, seed: int) -> None:
    """l(x') - l(x', e clean) is minus what noising says where x' is the clean prompt and x the corrupted one."""
    weights = read_module(random_model(family, seed, SHAPE))
    examples = random_examples(np.random.default_rng(seed), 4, SHAPE.vocabulary, (5, 6), read_last=False)
    patches = [*edges(weights)[::5], *nodes(weights)]
    found = exact(weights, examples, "logit-diff", patches, "denoising")
    other = exact(weights, swapped(examples), "logit-diff", patches)
    np.testing.assert_allclose(found, -other, rtol=0, atol=1e-12)
    assert np.abs(found).max() > 1e-2
    cells = [(patch.source, patch.receiver) for patch in patches if patch.receiver is not None]
    gated = circuits.exact(weights, swapped(examples), "logit-diff", "counterfactual", cells)
    np.testing.assert_allclose(found[: len(cells)], [-gated[cell] for cell in cells], rtol=0, atol=1e-12)


def test_positive_means_that_it_helps() -> None:
    """All that leaves the input: noising makes the corrupted run of the clean one, denoising the clean one of it."""
    weights = read_module(random_model("llama", 3, SHAPE))
    examples = random_examples(np.random.default_rng(3), 4, SHAPE.vocabulary)
    clean, corrupted = circuits.clean_and_corrupted(weights, examples, "logit-diff")
    for direction in (
        "noising",
        "denoising",
    ):  # the tokens enter nowhere else, and rotary positions are no part of them
        whole = exact(weights, examples, "logit-diff", [Patch(0)], direction)[0]
        np.testing.assert_allclose(whole, clean - corrupted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_nodes_and_neurons_are_those_of_a_hooked_model(direction: str) -> None:
    """Hooks on the library's own GPT-2 in float64; only what the embedding and the MLPs write can be hooked so."""
    module = truly_double(random_model("gpt2", 5, SHAPE))
    weights = read_module(module)
    examples = random_examples(np.random.default_rng(5), 3, SHAPE.vocabulary)
    names = source_names(weights)
    paths = {"input": "transformer.wte", "m0": "transformer.h.0.mlp", "m1": "transformer.h.1.mlp"}
    for name, path in paths.items():
        source = names.index(name)
        by_hook = _Hooked(module, module.get_submodule(path), examples, direction)
        whole = exact(weights, examples, "logit-diff", [Patch(source)], direction)
        np.testing.assert_allclose(whole[0], by_hook(slice(None)), rtol=0, atol=1e-10)
        single = exact(weights, examples, "logit-diff", neurons(weights, [source])[::3], direction)
        width = weights.embedding.shape[1]
        expected = [by_hook(slice(dimension, dimension + 1)) for dimension in range(0, width, 3)]
        np.testing.assert_allclose(single, np.stack(expected), rtol=0, atol=1e-10)
        assert np.abs(single).max() > 1e-3


class _Hooked:
    """The change of the loss when dimensions of one module's output carry the other prompt's value."""

    def __init__(
        self, module: torch.nn.Module, part: torch.nn.Module, examples: Sequence[IdExample], direction: str
    ) -> None:
        self.module, self.part, self.examples, self.direction = module, part, examples, direction

    def __call__(self, dimensions: slice) -> np.ndarray:
        found = []
        for example in self.examples:
            clean, corrupted = (torch.tensor([list(ids)]) for ids in (example.clean, example.corrupted))
            here, there = (clean, corrupted) if self.direction == "noising" else (corrupted, clean)
            kept: list[torch.Tensor] = []
            self._run(there, kept.append)

            def patch(value: torch.Tensor, other: list[torch.Tensor] = kept) -> torch.Tensor:
                value = value.clone()
                value[..., dimensions] = other[0][..., dimensions]
                return value

            before, after = (self._loss(example, self._run(here, change)) for change in (lambda value: None, patch))
            found.append(after - before if self.direction == "noising" else before - after)
        return np.array(found)

    def _run(self, ids: torch.Tensor, change: Callable[[torch.Tensor], object]) -> torch.Tensor:
        handle = self.part.register_forward_hook(lambda part, inputs, output: change(output))
        try:
            with torch.no_grad():
                logits: torch.Tensor = self.module(ids).logits[0]
        finally:
            handle.remove()
        return logits

    @staticmethod
    def _loss(example: IdExample, logits: torch.Tensor) -> float:
        row = logits[example.read]
        return float(row[list(example.foils)].mean() - row[list(example.answers)].mean())


def test_patches_count_the_graph() -> None:
    weights = read_module(random_model("gpt2", 1, SHAPE))
    assert [(patch.source, patch.receiver) for patch in edges(weights)] == edge_cells(weights)
    assert len(nodes(weights)) == n_sources(weights) == 7
    assert len(neurons(weights, [0, 2])) == 2 * weights.embedding.shape[1]
