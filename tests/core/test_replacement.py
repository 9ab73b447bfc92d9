"""Ablations: constants from elsewhere and other examples in the place of the corrupted prompt, against the oracle."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from mi.core import batches, replacement
from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.outputs import Outputs
from mi.core.replacement import Given, drawn
from mi.errors import MiError
from tests.core.cases import Case, random_case
from tests.examples import IdExample
from tests.oracle import attribution, circuits, transformer
from tests.oracle.batches import edited, groups
from tests.oracle.transformer import Edit

LENGTHS = (5, 8, 6)
SAME = 1e-8


def constants(case: Case, positions: int, rng: np.random.Generator) -> tuple[Outputs, list[torch.Tensor]]:
    """Random constants as the package takes them, and what each source of the oracle writes with them."""
    adapter = case.model.adapter

    def draw(width: int) -> torch.Tensor:
        return torch.tensor(rng.standard_normal((1, positions, width)))

    made = Outputs(
        draw(adapter.d_model),
        [draw(adapter.n_heads * adapter.d_head) for _ in adapter.layers],
        [draw(adapter.d_model) for _ in adapter.layers],
    )
    written = [made.embed]
    for layer, z, mlp in zip(case.weights.layers, made.z, made.mlp, strict=True):
        by_head = z.unflatten(-1, (adapter.n_heads, adapter.d_head))
        written += [by_head[:, :, head] @ own.w_o for head, own in enumerate(layer.heads)]
        written.append(mlp)
    return made, written


@pytest.mark.parametrize(("ablation", "positions"), [("mean", 1), ("optimal", 1), ("mean-positional", 10)])
@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_circuits_with_constants_of_a_file_are_the_oracles(name: str, ablation: str, positions: int, seed: int) -> None:
    """Every dropped edge carries its own source's constant, each node its own (spec B0 rows 5 and 11)."""
    case = random_case(name, seed, lengths=LENGTHS)
    made, written = constants(case, positions, case.rng)
    masks = case.rng.random((3, case.model.graph.n_edges)) < np.array([[0.0], [0.3], [0.8]])
    found = run_circuits(case.model, case.encoded, masks, ablation=ablation, given=Given(made))
    for mask, values in zip(masks, found.value, strict=True):
        gates = torch.as_tensor(case.as_matrix(mask).astype(np.float64))
        expected = np.zeros(len(case.examples))
        for group in groups(case.weights, case.examples):
            length = group.clean.shape[1]
            instead = [w[:, :length].expand(len(group.places), length, -1) for w in written]
            logits = edited(case.weights, group, Edit(gates=gates, replacement=instead)).logits
            expected[group.places] = group.metric("logit-diff", logits).numpy()
        np.testing.assert_allclose(values, expected, rtol=0, atol=SAME)


@pytest.mark.parametrize("by_position", [False, True])
def test_means_of_other_text_are_used_and_not_those_of_the_examples(by_position: bool, seed: int) -> None:
    """Means over one set of prompts, given to another set: the same as the oracle's, source by source."""
    case, other = (random_case("llama", seed, n=n, lengths=LENGTHS[:1]) for n in (4, 7))
    runner = case.model.executor()
    rows = batches.plan_for(case.model, [5] * 7, 3)
    made = replacement.means(case.model, runner, other.encoded, rows, by_position)
    (group,) = groups(case.weights, other.examples)
    for found, source in [(made.embed, 0), (made.mlp[0], 1 + case.model.adapter.n_heads)]:
        mean = group.clean_run.sources[source].mean(0 if by_position else (0, 1))
        np.testing.assert_allclose(found.squeeze(0), mean.expand_as(found.squeeze(0)), rtol=0, atol=1e-10)
    ablation = "mean-positional" if by_position else "mean"
    own = attribute(case.model, case.encoded, method="eap", ablation=ablation).scores
    theirs = attribute(case.model, case.encoded, method="eap", ablation=ablation, given=Given(made)).scores
    assert np.abs(own - theirs).max() > 1e-3 * np.abs(own).max()


def resampled(case: Case, seed: int) -> list[IdExample]:
    chosen = drawn("resample", case.encoded, Given(seed=seed))
    return [replace(example, corrupted=new.corrupted) for example, new in zip(case.examples, chosen, strict=True)]


def test_resample_draws_another_example_of_the_same_length(seed: int) -> None:
    case = random_case("gpt2", seed, n=12, lengths=(5, 8, 6, 5))
    chosen = drawn("resample", case.encoded, Given(seed=seed))
    assert [example.clean for example in chosen] == [example.clean for example in case.encoded]
    assert all(len(example.corrupted) == len(example.clean) for example in chosen)
    assert Counter(example.corrupted for example in chosen) == Counter(example.clean for example in case.encoded)
    assert all(example.corrupted != example.clean for example in chosen), "never itself"


def test_resample_depends_on_the_seed_and_not_on_the_order() -> None:
    case = random_case("gpt2", 3, n=12)
    pairs = [
        {example.id: example.corrupted for example in drawn("resample", encoded, Given(seed=seed))}
        for encoded, seed in ((case.encoded, 0), (case.encoded[::-1], 0), (case.encoded, 1))
    ]
    assert pairs[0] == pairs[1]
    assert pairs[0] != pairs[2]


def test_one_alone_is_replaced_by_itself() -> None:
    case = random_case("gpt2", 3, n=1)
    (alone,) = drawn("resample", case.encoded)
    assert alone.corrupted == alone.clean


@pytest.mark.parametrize("name", ["gpt2", "mistral"])
def test_resample_in_circuits_and_scores_is_the_other_examples_run(name: str, seed: int) -> None:
    case = random_case(name, seed, n=7, lengths=LENGTHS)
    others = resampled(case, seed)
    given = Given(seed=seed)
    masks = case.rng.random((2, case.model.graph.n_edges)) < 0.5
    found = run_circuits(case.model, case.encoded, masks, ablation="resample", given=given)
    keeps = [case.as_matrix(mask) for mask in masks]
    expected = circuits.circuits(case.weights, others, keeps, "logit-diff", "counterfactual")
    np.testing.assert_allclose(found.value, expected, rtol=0, atol=SAME)
    scores = attribute(case.model, case.encoded, method="eap", ablation="resample", given=given).scores
    dense = attribution.eap(case.weights, others, "logit-diff", "counterfactual").mean(-1)
    np.testing.assert_allclose(scores, case.as_edges(dense), rtol=0, atol=1e-8 * np.abs(dense).max())


@pytest.mark.parametrize(
    ("ablation", "positions", "code", "words"),
    [
        ("optimal", None, 2, "learned"),
        ("mean-positional", 4, 3, "4 positions.*8 tokens"),
        ("mean-positional", None, 3, "one length"),
        ("shuffle", None, 2, "no ablation"),
    ],
)
def test_what_cannot_be_done_is_refused(ablation: str, positions: int | None, code: int, words: str) -> None:
    case = random_case("gpt2", 0, lengths=LENGTHS)
    given = Given() if positions is None else Given(constants(case, positions, case.rng)[0])
    masks = np.ones((1, case.model.graph.n_edges), dtype=bool)
    with pytest.raises(MiError, match=words) as caught:
        run_circuits(case.model, case.encoded, masks, ablation=ablation, given=given)
    assert caught.value.code == code


def test_the_oracles_sources_are_the_packages() -> None:
    """The order in which `constants` lists what sources write."""
    case = random_case("gpt2", 0)
    assert transformer.source_names(case.weights)[:2] == ["input", "a0.h0"]
    assert transformer.source_names(case.weights) == list(case.model.graph.nodes)[: case.model.graph.n_sources]
