"""Gemma 3 with its vision part: the text's part scores and runs as the text model of the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, PreTrainedModel

from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.model import wrap
from tests.examples import encoded, random_examples
from tests.families.models import VOCABULARY, double, random_model

VISION = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": 28,
    "patch_size": 14,
}


def with_images(text: PreTrainedModel) -> PreTrainedModel:
    config = Gemma3Config(
        text_config=text.config.to_dict(),
        vision_config=VISION,
        mm_tokens_per_image=4,
        image_token_index=VOCABULARY - 1,
        boi_token_index=VOCABULARY - 2,
        eoi_token_index=VOCABULARY - 3,
    )
    module = Gemma3ForConditionalGeneration(config).eval()
    module.model.language_model.load_state_dict(text.model.state_dict())
    module.lm_head.load_state_dict(text.lm_head.state_dict())
    return module


@pytest.mark.parametrize("executor", ["fast", "generic"])
def test_the_text_s_part_is_the_text_model(executor: str, seed: int) -> None:
    text = random_model("gemma3", seed)
    both = wrap(double(with_images(text)))
    alone = wrap(double(text))
    rng = np.random.default_rng(seed)
    examples = encoded(random_examples(rng, 3, VOCABULARY - 3, (7,), read_last=False))
    assert both.graph.edge_names() == alone.graph.edge_names()
    found, wanted = (attribute(model, examples, steps=2, executor=executor).edge for model in (both, alone))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())
    masks = rng.random((2, both.graph.n_edges)) < 0.5
    found, wanted = (run_circuits(model, examples, masks, executor=executor).value for model in (both, alone))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())
    assert both.dtype == torch.float64
