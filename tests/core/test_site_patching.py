"""Patching at one place at a time, against hooks on the Hugging Face model in float64, and what must hold of it."""

import numpy as np
import pytest
import torch

from mi.core import site_patching
from mi.core.adapters import Adapter
from mi.core.metrics import METRICS
from mi.core.model import wrap
from mi.core.site_patching import SITES, patch_sites
from mi.errors import MiError
from mi.tasks import footprint
from tests.core.cases import ADAPTED, Case, random_case
from tests.examples import IdExample, encoded
from tests.oracle import sites as oracle
from tests.oracle.circuits import clean_and_corrupted

SAME = 1e-9
HEADS = ("z", "q", "k", "v")


def axes_of(site: str) -> list[str]:
    return ["layer,position", "layer", *(["head,position", "layer,head"] if site in HEADS else [])]


def compare(case: Case, site: str, by: str, direction: str, metric: str, atol: float = SAME, **options: object) -> None:
    found = patch_sites(
        case.model, case.encoded, site=site, by=by, direction=direction, metric=metric, **options
    )  # every cell is compared, on every example
    module = case.model.module
    for cell, values in zip(found.cells, found.value, strict=True):
        expected = [
            oracle.patched(module, example, metric, site, cell.layer, cell.head, cell.position, direction == "noising")
            for example in case.examples
        ]
        np.testing.assert_allclose(values, expected, rtol=0, atol=atol, err_msg=str(cell))
    clean, corrupted = clean_and_corrupted(case.weights, case.examples, metric)
    np.testing.assert_allclose([found.clean, found.corrupted], [clean, corrupted], rtol=0, atol=max(atol, 1e-8))


@pytest.mark.parametrize("direction", site_patching.DIRECTIONS)
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("name", ["gpt2", "mistral"])
def test_every_cell_is_what_hooks_give(name: str, site: str, direction: str) -> None:
    case = random_case(name, 0, n=3, lengths=(6,))
    for by in axes_of(site):
        compare(case, site, by, direction, "logit-diff")


@pytest.mark.parametrize("name", ADAPTED)
def test_every_cell_is_what_hooks_give_whatever_is_asked(name: str, seed: int) -> None:
    """Drawn at random, of any family: site, axes, direction, metric, batches, executor."""
    draw = np.random.default_rng([seed, 3])
    for executor in ("fast", "generic"):
        site = str(draw.choice(SITES))
        axes, metric = str(draw.choice(axes_of(site))), str(draw.choice(list(METRICS)))
        case = random_case(name, seed, n=int(draw.integers(1, 5)), lengths=(int(draw.integers(3, 7)),), n_answers=2)
        direction = str(draw.choice(site_patching.DIRECTIONS))
        compare(case, site, axes, direction, metric, executor=executor, batch_size=int(draw.integers(1, 4)))


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_both_executors_agree_in_float32(name: str, site: str) -> None:
    case = random_case(name, 1, double=False)
    fast, generic = (
        patch_sites(case.model, case.encoded, site=site, by="layer,position", executor=executor).value
        for executor in ("fast", "generic")
    )
    np.testing.assert_allclose(fast, generic, rtol=0, atol=5e-5)


@pytest.mark.parametrize("metric", ["kl", "top-5", "js"])
def test_divergences_are_from_the_clean_run_in_both_directions(metric: str, seed: int) -> None:
    case = random_case("llama", seed, n=3)
    for direction in site_patching.DIRECTIONS:
        compare(case, "z", "layer,head", direction, metric)


def test_lengths_may_differ_where_no_axis_is_of_positions(seed: int) -> None:
    case = random_case("llama", seed, n=5, lengths=(5, 8, 6))
    compare(case, "v", "layer,head", "noising", "logit-diff")
    compare(case, "mlp_out", "layer", "denoising", "prob-diff")


@pytest.mark.parametrize("direction", site_patching.DIRECTIONS)
@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_the_last_stream_at_the_read_position_is_the_other_run(name: str, direction: str, seed: int) -> None:
    case = random_case(name, seed)
    found = patch_sites(case.model, case.encoded, site="resid_post", by="layer,position", direction=direction)
    other = found.corrupted if direction == "noising" else found.clean
    base = found.clean if direction == "noising" else found.corrupted
    last = case.model.adapter.n_layers - 1
    for cell, values in zip(found.cells, found.value, strict=True):
        for place, example in enumerate(case.examples):
            if cell.layer == last:
                expected = other if cell.position == example.read else base
                assert values[place] == pytest.approx(expected[place], abs=1e-12)


@pytest.mark.parametrize("site", ["resid_pre", "resid_post"])
def test_the_whole_stream_is_the_other_run(site: str, seed: int) -> None:
    case = random_case("llama", seed)
    found = patch_sites(case.model, case.encoded, site=site, by="layer")
    np.testing.assert_allclose(found.value, np.tile(found.corrupted, (2, 1)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("site", ["resid_mid", "v"])
def test_a_place_before_the_first_difference_or_after_the_read_changes_nothing(
    site: str, executor: str, seed: int
) -> None:
    """Exactly nothing: such places are not computed."""
    case = random_case("qwen2", seed, n=5, lengths=(8,), double=False)
    found = patch_sites(case.model, case.encoded, site=site, by="layer,position", executor=executor)
    still = 0
    for cell, values in zip(found.cells, found.value, strict=True):
        for place, example in enumerate(case.examples):
            first = next(
                t for t, pair in enumerate(zip(example.clean, example.corrupted, strict=True)) if len({*pair}) > 1
            )
            assert cell.position is not None
            if cell.position < first or cell.position > example.read:
                assert values[place] == found.clean[place]
                still += 1
    assert still


def test_prompts_that_do_not_differ_stay_as_they_are() -> None:
    case = random_case("gpt2", 0, n=3)
    same = [IdExample(e.clean, e.clean, e.answers, e.foils, e.read) for e in case.examples]
    found = patch_sites(case.model, encoded(same), site="z", by="layer,head")
    np.testing.assert_array_equal(found.value, np.tile(found.clean, (len(found.cells), 1)))


def test_few_rows_at_once_are_the_same(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    case = random_case("gpt2", seed)
    options = {"site": "z", "by": "head,position"}
    whole = patch_sites(case.model, case.encoded, **options).value
    monkeypatch.setattr(footprint, "ROW_TOKENS", 1)
    np.testing.assert_allclose(patch_sites(case.model, case.encoded, **options).value, whole, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"site": "resid"}, 2, "nothing is patched at 'resid'"),
        ({"by": "layer,token"}, 2, "no axes 'layer,token'"),
        ({"site": "mlp_out", "by": "layer,head"}, 2, "mlp_out has no heads"),
        ({"direction": "sideways"}, 2, "no direction"),
        ({"metric": "perplexity"}, 2, "no metric"),
        ({"site": "z", "by": "head,position"}, 3, "4 to 6 tokens.*line up"),
    ],
)
def test_what_has_no_meaning(options: dict[str, object], code: int, words: str) -> None:
    case = random_case("gpt2", 0, lengths=(4, 6))
    with pytest.raises(MiError, match=words) as caught:
        patch_sites(case.model, case.encoded, **options)
    assert caught.value.code == code
    assert caught.value.hint


def test_no_examples() -> None:
    with pytest.raises(MiError, match="no examples"):
        patch_sites(random_case("gpt2", 0).model, [])


@pytest.mark.parametrize("executor", ["fast", "generic"])
def test_a_number_that_is_none_names_the_example(executor: str) -> None:
    case = random_case("gpt2", 0, double=False)
    module = case.model.module
    with torch.no_grad():
        module.transformer.wte.weight[case.examples[2].corrupted[0]] = float("nan")
        clean_has_it = case.examples[2].corrupted[0] in case.examples[0].clean
    with pytest.raises(MiError, match="nan for example") as caught:
        patch_sites(wrap(module) if clean_has_it else case.model, case.encoded, executor=executor)
    assert caught.value.code == 4


def test_logits_that_the_record_does_not_explain_are_refused_or_the_models_own(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on from inside ends at the unembedding, and what the model does after that would be left out."""
    case = random_case("llama", seed)
    plain = patch_sites(case.model, case.encoded)
    monkeypatch.setattr(Adapter, "capped", lambda _, logits: logits / 2)
    with pytest.raises(MiError, match="does more to its logits"):
        patch_sites(case.model, case.encoded)
    whole = patch_sites(case.model, case.encoded, executor="generic")
    np.testing.assert_allclose(whole.value, plain.value, rtol=0, atol=SAME)
