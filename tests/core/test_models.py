"""The oracle's forward pass against Hugging Face's own, in float64, for every family and many shapes."""

import pytest
import torch

from tests.models import BUILDERS, Shape, random_model, truly_double
from tests.oracle import transformer
from tests.oracle.weights import read_module

SHAPES = {
    "plain": Shape(),
    "grouped": Shape(n_layers=3, n_heads=6, n_kv_heads=3, d_head=2, vocabulary=41),
    "one-layer": Shape(n_layers=1, n_heads=2, n_kv_heads=1, d_head=6),
    "windowed": Shape(n_layers=3, window=3),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", BUILDERS)
def test_the_oracle_runs_what_the_library_runs(family: str, shape: str, seed: int) -> None:
    model = truly_double(random_model(family, seed, SHAPES[shape]))
    tokens = torch.randint(SHAPES[shape].vocabulary, (2, 9), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = model(tokens, use_cache=False).logits
        found = transformer.run(read_module(model), tokens).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_random_models_attend_unevenly() -> None:
    """Otherwise the tests that use them would not notice a wrong gradient of q or k."""
    for family in BUILDERS:
        model = random_model(family, 0)
        model.set_attn_implementation("eager")
        tokens = torch.randint(29, (4, 12), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            patterns = model(tokens, output_attentions=True, use_cache=False).attentions
        for pattern in patterns:  # [batch, head, query, key]
            assert pattern[:, :, -1].max(-1).values.mean() > 0.25, family
