"""The oracle's descriptions of the families against the library's own run, in float64."""

import pytest
import torch

from tests.families.models import FAMILIES, VOCABULARY, random_model
from tests.oracle.families import Brute
from tests.seeds import FRESH

SEEDS = pytest.mark.parametrize("seed", [FRESH])


def prompts(seed: int, length: int = 8) -> torch.Tensor:
    """Two prompts [2, position] that have nothing in common."""
    return torch.randint(VOCABULARY, (2, length), generator=torch.Generator().manual_seed(seed))


@SEEDS
@pytest.mark.parametrize("name", FAMILIES)
def test_all_edges_are_the_model_and_none_is_the_other_run(name: str, seed: int) -> None:
    module = random_model(name, seed, torch.float64)
    clean, corrupted = prompts(seed).split(1)
    brute = Brute(module)
    with torch.no_grad():
        expected = [module(ids, use_cache=False).logits for ids in (clean, corrupted)]
        full, other = brute.record(clean), brute.record(corrupted)
        empty = brute.run(clean, 0 * brute.full(), other.sources)
    torch.testing.assert_close(full.logits, expected[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(empty.logits, expected[1], rtol=0, atol=1e-9)


@SEEDS
@pytest.mark.parametrize("name", FAMILIES)
def test_queries_keys_and_values_are_whose_they_are_said_to_be(name: str, seed: int) -> None:
    """The first token sees itself alone: there a query does nothing, a key nothing yet, a value what it says."""
    brute = Brute(random_model(name, seed, torch.float64))
    (ids, _) = prompts(seed).split(1)
    before = brute.record(ids)
    nudge = torch.zeros_like(before.sources[0])
    nudge[:, 0] = torch.randn(brute.d_model, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for head in range(brute.heads):
        moved = []
        for part in range(3):
            with torch.no_grad():
                after = brute.run(ids, nudges={brute.receiver(0, part, head): nudge}).sources
            change = (after[brute.source(0, head)] - before.sources[brute.source(0, head)]).abs().amax((0, 2))
            moved.append((bool(change[0] > 1e-9), bool(change[1:3].max() > 1e-9)))
        assert moved == [(False, False), (False, True), (True, True)]


@SEEDS
@pytest.mark.parametrize("name", FAMILIES)
def test_no_layer_hands_on_what_a_dropped_edge_carried(name: str, seed: int) -> None:
    """What the MLP reads of the heads beside it: in a parallel block nothing."""
    brute = Brute(random_model(name, seed, torch.float64))
    clean, corrupted = prompts(seed).split(1)
    with torch.no_grad():
        full, other = brute.record(clean), brute.record(corrupted)
        gates = brute.full()
        gates[1 : 1 + brute.heads, brute.receiver(0, 3, 0)] = 0  # the heads of layer 0 -> m0
        dropped = brute.run(clean, gates, other.sources)
    mlp = brute.source(0, brute.heads)
    changed = float((dropped.sources[mlp] - full.sources[mlp]).abs().max())
    assert changed == 0 if brute.family.parallel else changed > 1e-3


@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if name != "falcon-alibi"]
)  # the library adds it twice there
def test_random_models_attend_unevenly(name: str) -> None:
    module = random_model(name, 0, attention="eager")
    patterns = module(prompts(0, 12), output_attentions=True, use_cache=False).attentions
    for pattern in patterns:  # [batch, head, query, key]
        assert pattern[:, :, -1].max(-1).values.mean() > 2 / 12  # twice an even share
