"""Any module by its sites: caching, patching and attribution through nnsight against plain hooks in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mi.core import methods
from mi.core.metrics import METRICS
from mi.core.sitewise import attribute, batches, patch
from mi.core.sitewise.attribute import attribute_sites
from mi.core.sitewise.baseline import baselines
from mi.core.sitewise.frame import probe
from mi.core.sitewise.load import wrap
from mi.core.sitewise.methods import settle
from mi.core.sitewise.patch import patch_sites
from mi.errors import MiError
from mi.tasks.arguments import Arguments
from mi.tasks.budget import Budget
from tests.oracle import modules as oracle
from tests.site_models import CLASSES, LENGTH, MODELS, Case, Series, random_case, random_inputs

SAME = 1e-9
# Sites of every kind, few enough to take one by one.
PART = {"bert": "bert.encoder.layer.1**", "vit": "vit.layers.1**", "patchtst": "**.1**", "series": "**"}


def config(method: str, steps: int | None = None, rule: str | None = None, direction: str | None = None) -> object:
    return settle(method, steps=steps, rule=rule, direction=direction, ablation="counterfactual")


def names(case: Case) -> list[str]:
    return [site.name for site in probe(case.model, case.examples[0])[0]]


@pytest.mark.parametrize("name", MODELS)
def test_every_site_is_found_in_the_order_of_a_run(name: str) -> None:
    case = random_case(name, 0)
    sites, again = probe(case.model, case.examples[0])
    seen = {site.name: oracle.seen(case.module, case.examples[0].clean, site.name) for site in sites}
    assert {s.name: s.shape for s in sites} == {n: tuple(v.shape) for n, v in seen.items()}
    assert [path for path in again if "dropout" not in path] == (["shared"] if name == "series" else [])
    last = {"bert": "classifier", "vit": "classifier", "patchtst": "head", "series": "head"}[name]
    assert sites[-1].name == f"{last}:output"
    assert len(sites) == len(set(names(case))) > 20 - 10 * (name == "series")


def test_blocks_have_the_names_of_the_residual_stream() -> None:
    for name, stack in (("bert", "bert.encoder.layer"), ("patchtst", "model.encoder.layers"), ("series", "layers")):
        sites, _ = probe(random_case(name, 0).model, random_case(name, 0).examples[0])
        aliases = {alias: site.name for site in sites for alias in site.aliases}
        assert aliases == {
            f"blocks.{layer}.resid_{when}": f"{stack}.{layer}:{side}"
            for layer in (0, 1)
            for when, side in (("pre", "input"), ("post", "output"))
        }


def test_what_is_no_row_of_each_example_is_no_site() -> None:
    """BERT's position embeddings are [1, positions, d], whatever the batch; token ids are no numbers to patch."""
    found = names(random_case("bert", 0))
    assert "bert.embeddings.position_embeddings:output" not in found
    assert "bert.embeddings:input" not in found
    assert "bert.embeddings.word_embeddings:output" in found


def test_an_axis_of_the_batch_that_is_not_the_first_makes_no_site() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(2, 3), nn.Linear(3, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x.transpose(0, 1)).sum(0))

    example = Arguments("e", {"x": np.ones((5, 2))}, {"x": np.zeros((5, 2))}, (0,), (1,))
    sites, _ = probe(wrap(Turned().double()), example)
    assert [site.name for site in sites] == ["two:input", "two:output"]


def test_a_table_that_is_the_same_for_all_examples_is_no_site() -> None:
    """However many rows it has."""

    class Tabled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.two = nn.Linear(2, 6), nn.Linear(6, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(x @ self.table(torch.eye(6, 2, dtype=x.dtype)))

    example = Arguments("e", {"x": np.ones(6)}, {"x": np.zeros(6)}, (0,), (1,))
    sites, _ = probe(wrap(Tabled().double()), example)
    assert [site.name for site in sites] == ["two:input", "two:output"]


@pytest.mark.parametrize("name", MODELS)
def test_a_cache_holds_what_hooks_see(name: str, seed: int) -> None:
    case = random_case(name, seed, 3)
    found = baselines(
        case.model, case.examples, metric="class-prob", sites=[PART[name]], runs=("clean", "corrupted"), batch_size=2
    )
    assert len(found.sites) > 9
    for row, example in enumerate(case.examples):
        for run in ("clean", "corrupted"):
            inputs = getattr(example, run)
            for site in found.sites:
                expected = oracle.seen(case.module, inputs, site).numpy()
                expected = expected if len(expected) > 1 else expected[0]
                np.testing.assert_allclose(found.activations[run][site][row], expected, rtol=0, atol=1e-12)
            expected_metric = oracle.measure(case.module, "class-prob", example, inputs)
            assert getattr(found, run)[row] == pytest.approx(expected_metric, abs=1e-12)
        logits = oracle.logits(case.module, example.clean)
        assert found.right[row] == (float(logits[example.answers[0]]) > float(logits[example.foils[0]]))
        assert found.top[row][0][0] == int(logits.argmax())


@pytest.mark.parametrize("direction", patch.DIRECTIONS)
@pytest.mark.parametrize("name", MODELS)
def test_every_patched_site_is_what_hooks_give(name: str, direction: str, seed: int) -> None:
    """All sites side by side, and few at a time; any metric."""
    case = random_case(name, seed, 2)
    metric = str(np.random.default_rng(seed).choice([m for m in METRICS if not m.startswith("top")]))
    some = {"sites": [PART[name]], "direction": direction, "metric": metric}
    found = patch_sites(case.model, case.examples, batch_size=1 + seed % 2, **some)
    assert len(found.places) > 9
    for place, values in zip(found.places, found.value, strict=True):
        expected = [
            oracle.patched(case.module, metric, example, place.site.name, None, direction == "noising")
            for example in case.examples
        ]
        np.testing.assert_allclose(values, expected, rtol=0, atol=SAME, err_msg=place.site.name)
    again = patch_sites(replace(case.model, budget=Budget(1)), case.examples, **some)
    np.testing.assert_allclose(again.value, found.value, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", MODELS)
def test_every_patched_position_is_what_hooks_give(name: str, seed: int) -> None:
    case = random_case(name, seed, 2)
    pattern = "blocks.1.resid_*" if name != "vit" else "vit.layers.1.**:output"
    found = patch_sites(case.model, case.examples, sites=[pattern], by="site,position", metric="logit-diff")
    assert len({place.position for place in found.places}) > 2
    for place, values in zip(found.places, found.value, strict=True):
        expected = [
            oracle.patched(case.module, "logit-diff", example, place.site.name, place.position, True)
            for example in case.examples
        ]
        np.testing.assert_allclose(values, expected, rtol=0, atol=SAME, err_msg=str(place))


@pytest.mark.parametrize("method", ["nap", "nap-ig", "eap-ig-activations"])
@pytest.mark.parametrize("name", ["patchtst", "series", "vit"])
def test_a_score_is_a_finite_difference(name: str, method: str, seed: int) -> None:
    case = random_case(name, seed, 2)
    rule = str(np.random.default_rng(seed).choice(methods.RULES)) if method != "nap" else None
    chosen = config(method, None if rule is None else 2, rule)
    found = attribute_sites(case.model, case.examples, chosen, sites=["**.1**:output"], metric="class-logprob")
    for site, values in zip(found.sites, found.value, strict=True):
        expected = [
            oracle.score(case.module, "class-logprob", example, site.name, method, methods.alphas(chosen))
            for example in case.examples
        ]
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7, err_msg=site.name)


@pytest.mark.parametrize("method", ["nap", "eap-ig-activations"])
def test_a_score_of_an_encoder_of_tokens_is_a_finite_difference(method: str, seed: int) -> None:
    case = random_case("bert", seed, 2)
    chosen = config(method, None if method == "nap" else 2)
    found = attribute_sites(case.model, case.examples, chosen, sites=["bert.encoder.layer.1**"], metric="class-prob")
    for site, values in zip(found.sites, found.value, strict=True):
        expected = [
            oracle.score(case.module, "class-prob", example, site.name, method, methods.alphas(chosen))
            for example in case.examples
        ]
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7, err_msg=site.name)


def test_over_inputs_tokens_are_interpolated_at_their_embedding(seed: int) -> None:
    """Against hooks: the embedding's output between the two runs, and a finite difference at the site there."""
    case = random_case("bert", seed, 2)
    chosen = config("eap-ig", 3, "left")
    site, embedding = "bert.encoder.layer.1:output", case.module.bert.embeddings.word_embeddings
    found = attribute_sites(case.model, case.examples, chosen, sites=[site], metric="logit-diff")
    for example, value in zip(case.examples, found.value[0], strict=True):
        ends = [embedding(torch.as_tensor(run["input_ids"]))[None] for run in (example.clean, example.corrupted)]
        apart = oracle.seen(case.module, example.clean, site) - oracle.seen(case.module, example.corrupted, site)
        total = 0.0
        for alpha, weight in methods.alphas(chosen):
            between = ends[1] + alpha * (ends[0] - ends[1])
            handle = embedding.register_forward_hook(lambda _, __, ___, between=between: between)
            total += weight * oracle.slope(case.module, "logit-diff", example, example.clean, site, apart, None)
            handle.remove()
        assert value == pytest.approx(total, abs=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_with_many_steps_the_path_of_a_site_is_what_patching_gives(name: str, seed: int) -> None:
    """The fundamental theorem of calculus, and the sign. At a kink, the error falls as 1 / steps only."""
    case = random_case(name, seed, 2)
    sites = ["blocks.*.resid_*"] if name != "vit" else ["vit.layers.*:output"]
    exact, path = (
        attribute_sites(case.model, case.examples, chosen, sites=sites, metric="class-logprob")
        for chosen in (config("exact"), config("eap-ig-activations", 480, "midpoint"))
    )
    assert [site.name for site in exact.sites] == [site.name for site in path.sites]
    np.testing.assert_allclose(path.value, exact.value, rtol=0, atol=0.05 * np.abs(exact.value).max())
    patched = patch_sites(case.model, case.examples, sites=sites, metric="class-logprob")
    np.testing.assert_allclose(exact.value, patched.clean - patched.value, rtol=0, atol=1e-12)
    assert np.abs(exact.value).max() > 1e-6


def test_scores_over_inputs_add_up_at_the_input(seed: int) -> None:
    """Completeness: what the input's own site is given is the whole change."""
    case = random_case("series", seed, 2)
    chosen = config("eap-ig", 100, "midpoint")
    found = attribute_sites(case.model, case.examples, chosen, sites=["read:input"], metric="class-prob")
    np.testing.assert_allclose(found.value[0], found.clean - found.corrupted, rtol=0, atol=2e-3)


def test_examples_of_several_shapes_do_not_disturb_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = random_case("bert", seed, 2)
    short = [
        Arguments(f"s{n}", *({"input_ids": rng.integers(0, 29, LENGTH - 3)} for _ in range(2)), (0,), (1,))
        for n in range(2)
    ]
    mixed = [case.examples[0], *short, case.examples[1]]
    site = "bert.encoder.layer.0:output"
    found = patch_sites(case.model, mixed, sites=[site], metric="class-prob")
    for example, value in zip(mixed, found.value[0], strict=True):
        assert value == pytest.approx(oracle.patched(case.module, "class-prob", example, site, None, True), abs=SAME)
    kept = baselines(case.model, mixed, metric="class-prob", sites=[site]).activations["clean"][site]
    assert kept.shape == (4, LENGTH, 8)
    assert not kept[1, LENGTH - 3 :].any()
    with pytest.raises(MiError, match="do not line up"):
        patch_sites(case.model, mixed, sites=[site], by="site,position", metric="class-prob")


def test_batches_are_of_one_form_and_within_the_budget() -> None:
    rng = np.random.default_rng(0)
    examples = [Arguments(str(n), {"x": rng.random(2 + n % 2)}, {"x": rng.random(2 + n % 2)}, (), ()) for n in range(7)]
    assert batches.plan(examples, 1) == [[0, 2, 4, 6], [1, 3, 5]]
    assert batches.plan(examples, 1, 2) == [[0, 2], [4, 6], [1, 3], [5]]
    assert batches.plan(examples, Budget().chunk) == [[0], [2], [4], [6], [1], [3], [5]]


def test_a_metric_without_a_gradient_is_for_patching_only() -> None:
    case = random_case("series", 0)
    with pytest.raises(MiError, match="has no gradient"):
        attribute_sites(case.model, case.examples, config("nap"), metric="accuracy")
    with pytest.raises(MiError, match="zero at the clean run"):
        attribute_sites(case.model, case.examples, config("nap"), metric="kl")
    attribute_sites(case.model, case.examples, config("exact"), sites=["head:input"], metric="accuracy")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sites": ["encoder.layer.9:output"]}, "no site is called"),
        ({"sites": ["shared:output"]}, "no site is called"),
        ({"by": "layer"}, "no axes"),
        ({"direction": "sideways"}, "no direction"),
        ({"sites": ["head:output"], "by": "site,position"}, "has no positions"),
    ],
)
def test_what_has_no_meaning(options: dict[str, object], words: str) -> None:
    case = random_case("series", 0)
    with pytest.raises(MiError, match=words) as caught:
        patch_sites(case.model, case.examples, metric="class-prob", **options)
    assert caught.value.code == 2
    assert caught.value.hint
    if options.get("sites") == ["shared:output"]:
        assert "several times" in caught.value.hint


def test_inputs_and_classes_that_do_not_fit() -> None:
    case = random_case("series", 0)
    wrong = Arguments("e", {"serie": np.zeros((3, 2))}, {"serie": np.zeros((3, 2))}, (0,), (1,))
    with pytest.raises(MiError, match=r"cannot be run on serie \[3, 2\]"):
        patch_sites(case.model, [wrong], metric="class-prob")
    many = Arguments("e", *(random_inputs("series", np.random.default_rng(0)) for _ in range(2)), (CLASSES,), (1,))
    with pytest.raises(MiError, match=f"example e names class {CLASSES}"):
        patch_sites(case.model, [many], metric="class-prob")
    with pytest.raises(MiError, match="no examples"):
        patch_sites(case.model, [], metric="class-prob")


def test_whole_numbers_that_are_no_tokens_are_not_interpolated() -> None:
    case = random_case("bert", 0, 1)
    clean, corrupted = case.examples[0].clean, {**case.examples[0].corrupted, "attention_mask": np.ones(LENGTH, int)}
    example = Arguments("e", clean, corrupted, (0,), (1,))
    with pytest.raises(MiError, match="attention_mask are whole numbers") as caught:
        attribute_sites(case.model, [example], config("eap-ig"), metric="class-prob")
    assert "eap-ig-activations" in caught.value.hint


def test_one_output_is_no_class() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(x)

    model = wrap(One().double())
    example = Arguments("e", {"x": np.ones(2)}, {"x": np.zeros(2)}, (0,), ())
    with pytest.raises(MiError, match="one number"):
        patch_sites(model, [example], metric="class-prob")
    (site,) = attribute_sites(model, [example], config("nap"), metric="logit").value
    assert site[0] == pytest.approx(float(model.module.one.weight.sum()))


def test_a_number_that_is_none_names_the_example() -> None:
    case = random_case("series", 0)
    case.examples[1].corrupted["series"][0, 0] = np.nan
    for run in (patch_sites, lambda *a, **k: attribute_sites(*a, config("nap"), **k)):
        with pytest.raises(MiError, match="corrupted run is nan for example e1") as caught:
            run(case.model, case.examples, metric="class-prob")
        assert caught.value.code == 4


def test_the_series_writes_in_place_and_is_still_seen_as_it_was() -> None:
    """What passes `read:output` is then overwritten by the ReLU."""
    case = random_case("series", 0)
    assert isinstance(case.module, Series)
    found = baselines(case.model, case.examples, metric="class-prob", sites=["read:output"])
    assert found.activations["clean"]["read:output"].min() < 0


def test_a_mask_is_an_argument_like_any_other(seed: int) -> None:
    case = random_case("series", seed, 2)
    masked = [
        Arguments(e.id, {**e.clean, "mask": np.ones(24)}, {**e.corrupted, "mask": np.ones(24)}, e.answers, e.foils)
        for e in case.examples
    ]
    plain, found = (attribute.attribute_sites(case.model, some, config("eap-ig"), metric="class-prob").value
                    for some in (case.examples, masked))  # fmt: skip
    np.testing.assert_allclose(plain, found, rtol=0, atol=1e-12)
