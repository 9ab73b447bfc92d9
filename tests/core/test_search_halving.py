"""Searches on a machine on which only few examples fit: smaller parts of a batch, the same result."""

from __future__ import annotations

import numpy as np
import pytest

from mi.core.fast import FastExecutor
from mi.core.gated import Gates
from mi.core.resume import Resume
from mi.core.search.methods import settle
from mi.core.search.run import Searched, search
from mi.errors import MiError
from tests.core.cases import Case, random_case

METHODS = {
    "acdc": {"tau": [0.05]},
    "subnetwork-probing": {"steps": 5},
    "edge-pruning": {"steps": 5, "learn-constants": True},
    "ugs": {"steps": 4, "masks": 3},
    "optimal": {"steps": 11},
}


def limit(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """No more than so many examples fit: of plain runs, of those under gates, of those that go on from a block."""

    def check(n: int) -> None:
        if n > most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory")

    run, logits, resume = FastExecutor.run, Gates.logits, Resume.__init__

    def limited(self: FastExecutor, ids: object, *rest: object) -> object:
        if not torch_copies(ids, most):
            check(len(ids))
        return run(self, ids, *rest)

    def gated(self: Gates, prepared: object, *rest: object) -> object:
        check(len(prepared.batch))
        return logits(self, prepared, *rest)

    def resumed(self: Resume, model: object, ids: object, *rest: object) -> None:
        check(len(ids))
        resume(self, model, ids, *rest)

    monkeypatch.setattr(FastExecutor, "run", limited)
    monkeypatch.setattr(Gates, "logits", gated)
    monkeypatch.setattr(Resume, "__init__", resumed)


def torch_copies(ids: object, most: int) -> bool:
    """Whether these are copies of few examples: a search runs several variants of a batch side by side."""
    return len(ids.unique(dim=0)) <= most


def found(case: Case, method: str, **options: object) -> Searched:
    settings = settle(method, METHODS[method])
    return search(
        case.model,
        case.encoded,
        settings,
        ablation="mean" if "learn" in str(METHODS[method]) else "counterfactual",
        **options,
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_search_goes_on_with_smaller_parts(method: str, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    case = random_case("gpt2-scaled", seed, n=5, lengths=(5,))
    whole = found(case, method, batch_size=5)
    assert whole.halved == 0
    limit(monkeypatch, 2)
    said: list[int] = []
    parts = found(case, method, batch_size=5, on_halved=said.append)
    assert said[-1] == 2
    assert parts.halved >= 1
    assert parts.plan == whole.plan  # the steps are those of the plan
    unit = np.abs(whole.scores).max()
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=0, atol=1e-5 * unit)
    if whole.kept is not None:
        np.testing.assert_array_equal(parts.kept, whole.kept)


def test_one_example_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case("gpt2-scaled", 0, n=2, lengths=(5,))
    limit(monkeypatch, 0)
    with pytest.raises(MiError, match="out of memory") as caught:
        found(case, "acdc")
    assert caught.value.code == 4
