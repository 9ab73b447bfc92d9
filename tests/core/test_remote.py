"""Runs on another machine, rehearsed: what is sent is data, what comes back is what a run here gives."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mi.core.sitewise import load, remote
from mi.core.sitewise.attribute import attribute_sites
from mi.core.sitewise.baseline import baselines
from mi.core.sitewise.frame import frame, probe
from mi.core.sitewise.load import LOCAL, wrap
from mi.core.sitewise.methods import settle
from mi.core.sitewise.patch import patch_sites
from mi.core.sitewise.trace import Part, Step
from mi.errors import MiError
from mi.io.models import Located
from mi.tasks.arguments import Arguments
from tests.models import Shape, random_model
from tests.site_models import Case, random_case


def decoder(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    module = random_model("gpt2", seed, Shape()).double()
    examples = [
        Arguments(f"e{n}", *({"input_ids": rng.integers(0, 29, 5)} for _ in range(2)), (n,), (9 - n,), read=3)
        for n in range(3)
    ]
    return Case(wrap(module, "gpt2"), examples)


CASES = {"bert": lambda seed: random_case("bert", seed), "gpt2": decoder}


def some(case: Case) -> list[str]:
    """Blocks, and an attention, whose output is a tuple in some families."""
    sites, _ = probe(case.model, case.examples[0])
    names = [site.name for site in sites]
    blocks = [site.name for site in sites if any(alias.endswith("resid_post") for alias in site.aliases)]
    inside = [n for n in names if n.endswith((".1.attn:output", ".1.attention:output", ".1.attention.self:output"))]
    return [*(blocks or [n for n in names if n.endswith((".0:output", ".1:output"))]), *inside, names[3]]


@pytest.mark.parametrize("name", CASES)
def test_a_rehearsal_gives_what_a_run_here_gives(name: str, seed: int) -> None:
    case = CASES[name](seed)
    there = replace(case.model, remote=LOCAL)
    sites = some(case)
    options = {"sites": sites, "metric": "class-logprob", "batch_size": 2}
    here, far = (baselines(m, case.examples, runs=("corrupted",), **options) for m in (case.model, there))
    for site in here.sites:
        np.testing.assert_array_equal(far.activations["corrupted"][site], here.activations["corrupted"][site])
    np.testing.assert_array_equal(far.clean, here.clean)
    for by in ("site", "site,position"):
        here, far = (patch_sites(m, case.examples, by=by, **options) for m in (case.model, there))
        np.testing.assert_allclose(far.value, here.value, rtol=0, atol=1e-12)
        assert np.ptp(here.value) > 0


@pytest.mark.parametrize("method", ["nap", "nap-ig", "eap-ig-activations"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_of_a_rehearsal_are_those_of_a_run_here(name: str, method: str, seed: int) -> None:
    """Two requests, joined by the chain rule at the logits."""
    case = CASES[name](seed)
    steps = None if method == "nap" else 2
    config = settle(method, steps=steps, rule=None, direction=None, ablation="counterfactual")
    here, far = (
        attribute_sites(model, case.examples, config, sites=some(case), metric="class-prob")
        for model in (case.model, replace(case.model, remote=LOCAL))
    )
    np.testing.assert_allclose(far.value, here.value, rtol=0, atol=1e-11)
    assert np.abs(here.value).max() > 0


def test_gradients_come_in_the_order_in_which_they_were_asked_for() -> None:
    """Whatever the order of the run: the last block first."""
    case = decoder(0)
    for model in (case.model, replace(case.model, remote=LOCAL)):
        whole = frame(model, case.examples, "class-prob")
        batch = whole.batch([0, 1])
        first, last = (whole.matching([f"transformer.h.{layer}:output"])[0].port for layer in (0, 1))
        zero = torch.zeros(1, 5, 16, dtype=torch.float64)
        clean = whole.run(batch, "clean", whole.matching(["transformer.h.1:output"]), None)
        put = Step(last, "put", (Part(1, 2, None, clean.seen[last][1:] + zero, wanted=True),))
        asked = [put, Step(first, "add")]
        found = whole.tracer.gradients(batch.clean, asked, batch.read, whole.total(batch, clean.logits))
        assert [list(gradient.shape) for gradient in found] == [[1, 5, 16], [2, 5, 16]]
        assert float(found[1][1].abs().max()) == 0, "what is put in after it hides the first block"
        assert float(found[1][0].abs().max()) > 0


def test_a_model_that_is_only_on_a_server_has_its_sites_and_never_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules without weights tell the sites; where nothing answers the run fails, and is not done here."""
    case = random_case("bert", 0)
    case.module.save_pretrained(tmp_path)
    monkeypatch.setenv("NDIF_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = load.load_located(Located(str(tmp_path), None, tmp_path), remote="ndif")
    assert next(model.module.parameters()).device.type == "meta"
    sites, _ = probe(model, case.examples[0])
    assert [s.name for s in sites] == [s.name for s in probe(case.model, case.examples[0])[0]]
    for run in (patch_sites, baselines):
        with pytest.raises(MiError, match="nothing was run here") as caught:
            run(model, case.examples, sites=["bert.encoder.layer.1:output"], metric="class-prob")
        assert caught.value.code == 4


def test_the_server_is_asked_by_its_address_and_nothing_else_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nnsight is told when a run is not a rehearsal: the address. The answer is made here by a stand-in."""
    from nnsight.intervention.backends.local import LocalSimulationBackend
    from nnsight.modeling.mixins.remotable import Remotable

    asked: list[object] = []

    def stand_in(self: Remotable, where: object, *_: object) -> LocalSimulationBackend:
        asked.append(where)
        return LocalSimulationBackend(self)

    monkeypatch.setattr(Remotable, "_remote_backend", stand_in)
    monkeypatch.setenv("NDIF_HOST", "https://ndif.example/")
    case = random_case("bert", 0)
    there = replace(case.model, remote="ndif")
    found = patch_sites(there, case.examples, sites=["bert.encoder.layer.1:output"], metric="class-prob")
    here = patch_sites(case.model, case.examples, sites=["bert.encoder.layer.1:output"], metric="class-prob")
    np.testing.assert_allclose(found.value, here.value, rtol=0, atol=1e-12)
    assert asked == ["https://ndif.example"] * 3


def test_a_module_that_no_server_can_name_is_refused() -> None:
    """nnsight would run it here without a word."""
    case = random_case("series", 0)
    with pytest.raises(MiError, match="a Series cannot be run remotely"):
        patch_sites(replace(case.model, remote=LOCAL), case.examples, metric="class-prob")
    from nnsight import NNsight

    plain = replace(case.model, remote=LOCAL, elsewhere=NNsight(nn.Linear(2, 2)))
    with pytest.raises(MiError, match="cannot be run remotely"):
        remote.RemoteTracer(plain, [])
