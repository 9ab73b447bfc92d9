"""Patching places of the residual stream, heads and MLPs on every family, against hooks on the library's module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mi.core.site_patching import cells_of, patch_sites
from mi.errors import MiError
from tests.families.cases import FamilyCase, family_case, largest
from tests.families.models import FAMILIES, PARALLEL
from tests.seeds import FRESH


def patched(case: FamilyCase, layer: int, site: str, position: int, head: int | None) -> np.ndarray:
    """Minus the loss of each example, with one place of the clean run as it is in the corrupted one."""
    brute, kept = case.brute, []
    columns = slice(None) if head is None else slice(head * brute.d_head, (head + 1) * brute.d_head)
    out = brute.blocks[layer].get_submodule(brute.family.out)

    def read(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (put(args[0]), *args[1:])

    def put(value: torch.Tensor) -> torch.Tensor:
        if len(kept) == 0:
            kept.append(value.clone())
            return value
        value = value.clone()
        value[:, position, columns] = kept[0][:, position, columns]
        return value

    handle = (out if site == "z" else brute.blocks[layer]).register_forward_pre_hook(read)
    try:
        with torch.no_grad():
            brute.module(case.ids("corrupted"), use_cache=False)
            return -case.loss(brute.module(case.ids("clean"), use_cache=False).logits).numpy()
    finally:
        handle.remove()


@pytest.mark.parametrize("name", FAMILIES)
def test_streams_and_heads_are_patched_where_they_are(name: str) -> None:
    case = family_case(name, FRESH)
    length = len(case.examples[0].clean)
    for site, by in (("resid_pre", "layer,position"), ("z", "head,position")):
        found = patch_sites(case.model, case.encoded, site=site, by=by)
        cells = cells_of(case.model, site, by, length)
        for row in case.rng.choice(len(cells), 5, replace=False).tolist():
            cell = cells[row]
            assert cell.position is not None
            expected = patched(case, cell.layer, site, cell.position, cell.head)
            np.testing.assert_allclose(found.value[row], expected, rtol=0, atol=1e-9 * max(1, largest(expected)))
    for site in ("attn_out", "mlp_out", "q", "v"):
        by_hooks, by_traces = (
            patch_sites(case.model, case.encoded[:1], site=site, by="layer", executor=executor).value
            for executor in ("fast", "generic")
        )
        np.testing.assert_allclose(by_hooks, by_traces, rtol=0, atol=1e-9 * max(1, largest(by_traces)))
    if name in PARALLEL:
        with pytest.raises(MiError, match="none between"):
            patch_sites(case.model, case.encoded, site="resid_mid")
