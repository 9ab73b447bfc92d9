"""Probing: on the families that are known it finds what their records say, by what the parts do and not by names."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from mi.core import records
from mi.core.adapters import record_for
from mi.core.families import ROLES
from mi.core.probe import Probed, checked, probe
from mi.core.roles import Roles
from mi.io import adapter_file
from tests.families.models import FAMILIES, random_model
from tests.families.unknown import unknown_model

CONDITIONS = ("families", "when", "absent")


def said(roles: Roles, module: nn.Module) -> dict[str, object]:
    """A record less what says where it holds, and what says nothing of this model."""
    found = {f.name: getattr(roles, f.name) for f in dataclasses.fields(roles) if f.name not in CONDITIONS}
    if roles.logit_cap and getattr(module.config, roles.logit_cap) is None:
        found["logit_cap"] = None
    if roles.key_norm and not any(name.endswith(roles.key_norm) for name, _ in module.named_modules()):
        found |= {"key_norm": None, "key_norm_axis": -1}
    if module.config.model_type == "falcon" and not (
        module.config.multi_query or module.config.new_decoder_architecture
    ):
        found["ungroup"] = ()  # no head shares a key
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_a_known_family_is_found_as_its_record_has_it(name: str, seed: int) -> None:
    module = random_model(name, seed)
    wanted = record_for(module)
    found = probe(module)
    assert found.lacking == {}
    roles = found.roles()
    assert roles is not None
    assert said(roles, module) == said(wanted, module)
    compared, fault = checked(module, found)
    assert fault == "" and compared and all(finding.holds for finding in compared)
    assert {finding.identity for finding in compared} - {6} == {1, 2, 3, 4, 5}  # the sixth is of shared keys alone


@pytest.mark.parametrize("options", [{}, {"ceiling": 3.0}, {"beside": True}, {"n_kv": 4}], ids=str)
def test_names_do_not_matter(options: dict[str, object], seed: int) -> None:
    module = unknown_model(seed, **options)
    found = probe(module)
    assert found.lacking == {}
    assert found.record["queries_keys_values"] == ("gaze.ask", "gaze.offer", "gaze.give")
    assert found.record["heads"] == "n_heads"
    assert found.record["parallel"] == bool(options.get("beside"))
    assert found.record.get("logit_cap") == ("ceiling" if "ceiling" in options else None)
    compared, fault = checked(module, found)
    assert fault == "" and all(finding.holds for finding in compared)


def test_a_stream_scaled_on_its_way_has_no_record(seed: int) -> None:
    found = probe(unknown_model(seed, faint=True))
    assert list(found.lacking) == ["mlp"] and found.roles() is None


def test_identities_are_judged_one_by_one(seed: int) -> None:
    """With keys and queries exchanged what nodes write is still what the stream holds."""
    module = unknown_model(seed)
    found = probe(module)
    q, k, v = found.record["queries_keys_values"]
    module.config.n_kv = 4
    odd = Probed({**found.record, "queries_keys_values": (v, k, q)})
    compared, fault = checked(module, odd)
    assert fault or not all(finding.holds for finding in compared)
    module = unknown_model(seed, n_kv=4)
    compared, fault = checked(module, Probed({**found.record, "queries_keys_values": (k, q, v)}))
    wrong = {finding.identity for finding in compared if not finding.holds}
    assert fault == "" and wrong == {5}


@pytest.mark.parametrize("record", ROLES, ids=lambda record: record.families[0])
def test_a_record_goes_through_a_file_and_back(record: Roles, tmp_path: object) -> None:
    text = adapter_file.to_toml(records.to_record(record))
    path = f"{tmp_path}/record.toml"
    with open(path, "w") as f:
        f.write(text)
    read = adapter_file.read(path)
    assert records.from_record(read.record, path) == record
    with open(path, "wb") as f:
        from mi.io import canonical

        f.write(canonical.dumps(dict(read.record)))
    assert adapter_file.read(path).digest == read.digest


def test_probing_leaves_the_model_as_it_was(seed: int) -> None:
    module = random_model("falcon-new", seed)
    ids = torch.arange(7)[None]
    with torch.no_grad():
        before = module(ids, use_cache=False).logits
        probe(module)
        after = module(ids, use_cache=False).logits
    assert torch.equal(before, after)
