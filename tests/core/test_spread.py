"""A model that accelerate spreads over devices: here the processor and a disk, from where layers are read as used."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mi.core import session
from mi.core.sitewise import load, spread
from mi.core.sitewise.attribute import attribute_sites
from mi.core.sitewise.baseline import baselines
from mi.core.sitewise.methods import settle
from mi.core.sitewise.patch import patch_sites
from mi.errors import MiError
from mi.io import device_map
from mi.io.models import Located
from mi.tasks.subject import Loading
from tests.core.test_remote import decoder, some
from tests.site_models import Case, random_case

pytest.importorskip("accelerate")

MAPS = {
    "gpt2": {"transformer.wte": "cpu", "transformer.wpe": "cpu", "transformer.drop": "cpu", "transformer.h.0": "disk",
             "transformer.h.1": "cpu", "transformer.ln_f": "disk", "lm_head": "cpu"},
    "bert": {"bert.embeddings": "disk", "bert.encoder.layer.0": "cpu", "bert.encoder.layer.1": "disk",
             "bert.pooler": "cpu", "dropout": "cpu", "classifier": "disk"},
}  # fmt: skip


def spread_out(name: str, seed: int, folder: Path) -> tuple[Case, load.Module]:
    case = decoder(seed) if name == "gpt2" else random_case(name, seed)
    case.module.save_pretrained(folder)
    path = folder / "map.json"
    path.write_text(json.dumps(MAPS[name]))
    return case, load.load_located(Located("model", None, folder), device_map=device_map.read(str(path)))


@pytest.mark.parametrize("name", MAPS)
def test_numbers_are_those_of_one_device(name: str, seed: int, tmp_path: Path) -> None:
    case, apart = spread_out(name, seed, tmp_path)
    assert {p.is_meta for p in apart.module.parameters()} == {True, False}, "some of it is on the disk"
    assert apart.module.hf_device_map == MAPS[name]
    options = {"sites": some(case), "metric": "class-logprob", "batch_size": 2}
    here, there = (baselines(model, case.examples, **options) for model in (case.model, apart))
    for site in here.sites:
        np.testing.assert_allclose(
            there.activations["clean"][site], here.activations["clean"][site], rtol=0, atol=1e-12
        )
    here, there = (patch_sites(m, case.examples, by="site,position", **options) for m in (case.model, apart))
    np.testing.assert_allclose(there.value, here.value, rtol=0, atol=1e-12)
    for method in ("nap", "eap-ig", "eap-ig-activations"):
        steps = None if method == "nap" else 2
        config = settle(method, steps=steps, rule=None, direction=None, ablation="counterfactual")
        here, there = (attribute_sites(m, case.examples, config, **options) for m in (case.model, apart))
        np.testing.assert_allclose(there.value, here.value, rtol=0, atol=1e-12)
        assert np.abs(here.value).max() > 0


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("sideways", 2, "sideways is no file, and no way to spread a model"),
        ("{", 3, "no JSON"),
        ("[1]", 3, "no map of devices"),
        ('{"a": [1]}', 3, "no map of devices"),
    ],
)
def test_maps_that_are_none(text: str, code: int, words: str, tmp_path: Path) -> None:
    random_case("bert", 0).module.save_pretrained(tmp_path)
    (tmp_path / "map.json").write_text(text)
    name = text if text == "sideways" else str(tmp_path / "map.json")
    with pytest.raises(MiError, match=words) as caught:
        load.load_located(Located("model", None, tmp_path), device_map=device_map.read(name))
    assert caught.value.code == code


def test_without_accelerate_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MiError, match="needs accelerate") as caught:
        spread.options(device_map.DeviceMap("auto"))
    assert caught.value.code == 4
    assert "mi[devices]" in caught.value.hint


def test_a_function_is_not_spread(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("")
    located = replace(Located("m.py:build", None, tmp_path), code="m.py:build")
    with pytest.raises(MiError, match="not spread"):
        load.load_located(located, trust_remote_code=True, device_map=device_map.DeviceMap("auto"))


def test_a_number_that_is_none_is_found_on_a_disk_too(tmp_path: Path) -> None:
    module = decoder(0).module
    with torch.no_grad():
        module.transformer.h[0].ln_1.weight[3] = float("nan")
    module.save_pretrained(tmp_path)
    (tmp_path / "map.json").write_text(json.dumps(MAPS["gpt2"]))
    with pytest.raises(MiError, match=r"1 of the numbers in transformer.h.0.ln_1.weight of model are not finite"):
        load.load_located(Located("model", None, tmp_path), device_map=device_map.read(str(tmp_path / "map.json")))


def test_every_device_of_a_map_is_taken_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    places = (("a", 2), ("b", "disk"), ("c", "cuda:0"), ("d", 2), ("e", "cpu"))
    assert [str(one) for one in spread.devices(device_map.DeviceMap("m.json", places))] == ["cuda:0", "cuda:2"]
    assert [str(one) for one in spread.devices(device_map.DeviceMap("auto"))] == ["cuda:0", "cuda:1", "cuda:2"]
    held: list[str] = []

    @contextmanager
    def lease(on: torch.device, on_wait: object) -> Iterator[None]:
        held.append(str(on))
        yield

    monkeypatch.setattr(session.runtime, "lease", lease)
    monkeypatch.setattr(session, "_load", lambda *_: load.Module(torch.nn.Identity(), {}))
    chosen = SimpleNamespace(identity="it")
    loading = Loading(device_map=device_map.DeviceMap("m.json", places))
    with session.opened(chosen, None, loading):
        assert held == ["cuda:0", "cuda:2"]
