"""Nothing but the examples decides the numbers: not the batches, not their order, not the run."""

from collections import Counter

import numpy as np
import pytest

from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.differences import room
from mi.core.fast import FastExecutor
from mi.errors import MiError
from mi.tasks import plan as planning
from tests.core.cases import Case, largest, random_case

LENGTHS = (5, 8, 6)
SAME = 1e-5  # of the largest score, in float32
METHODS = [{"method": "eap"}, {"method": "eap", "ablation": "mean"}, {"method": "eap-ig", "steps": 2}]


@pytest.fixture(params=["gpt2", "mistral"])
def case(request: pytest.FixtureRequest, seed: int) -> Case:
    return random_case(request.param, seed, n=8, lengths=LENGTHS, double=False)


def some_masks(case: Case) -> np.ndarray:
    return np.random.default_rng(0).random((3, case.model.graph.n_edges)) < np.array([[0.05], [0.3], [0.9]])


@pytest.mark.parametrize("options", METHODS, ids=lambda options: "-".join(map(str, options.values())))
def test_scores_do_not_depend_on_the_batches(case: Case, options: dict[str, object]) -> None:
    examples = case.encoded
    whole = attribute(case.model, examples, **options)
    for batch_size in (1, 3):
        other = attribute(case.model, examples, batch_size=batch_size, **options)
        assert max(map(len, other.plan)) <= batch_size
        np.testing.assert_allclose(other.edge, whole.edge, rtol=0, atol=SAME * largest(whole.edge))
        np.testing.assert_allclose(other.shards, whole.shards, rtol=0, atol=SAME * largest(whole.shards))


@pytest.mark.parametrize("options", METHODS, ids=lambda options: "-".join(map(str, options.values())))
def test_scores_do_not_depend_on_the_order_of_examples(case: Case, options: dict[str, object]) -> None:
    examples = case.encoded
    order = case.rng.permutation(len(examples))
    one = attribute(case.model, examples, batch_size=3, **options)
    other = attribute(case.model, [examples[place] for place in order], batch_size=3, **options)
    np.testing.assert_allclose(other.edge, one.edge, rtol=0, atol=SAME * largest(one.edge))
    np.testing.assert_allclose(other.clean, one.clean[order], rtol=0, atol=SAME * 10)


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
def test_circuits_do_not_depend_on_batches_or_order(case: Case, ablation: str) -> None:
    examples, masks = case.encoded, some_masks(case)
    order = case.rng.permutation(len(examples))
    one = run_circuits(case.model, examples, masks, ablation=ablation)
    other = run_circuits(case.model, [examples[place] for place in order], masks, ablation=ablation, batch_size=2)
    unit = largest(one.value)
    np.testing.assert_allclose(other.value, one.value[:, order], rtol=0, atol=SAME * unit)
    np.testing.assert_allclose(other.clean, one.clean[order], rtol=0, atol=SAME * unit)
    np.testing.assert_allclose(other.corrupted, one.corrupted[order], rtol=0, atol=SAME * unit)


@pytest.mark.parametrize("executor", ["fast", "generic"])
def test_the_same_call_gives_the_same_bytes(case: Case, executor: str) -> None:
    examples, masks = case.encoded, some_masks(case)
    one, two = (attribute(case.model, examples, steps=2, executor=executor) for _ in range(2))
    assert one.edge.tobytes() == two.edge.tobytes()
    assert one.shards.tobytes() == two.shards.tobytes()
    runs = [run_circuits(case.model, examples, masks, executor=executor) for _ in range(2)]
    assert runs[0].value.tobytes() == runs[1].value.tobytes()


def test_a_plan_holds_every_example_once_and_no_padding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = planning.Shape(n_layers=2, d_model=16, vocab_size=29)
    for batch_size in (None, 1, 3, 100):
        lengths = rng.integers(2, 9, size=int(rng.integers(1, 40))).tolist()
        rows = planning.plan(lengths, shape, 4, batch_size)
        assert Counter(row for part in rows for row in part) == Counter(range(len(lengths)))
        assert all(len({lengths[row] for row in part}) == 1 for part in rows)
        if batch_size:
            assert max(map(len, rows)) <= batch_size
        assert rows == planning.plan(lengths, shape, 4, batch_size)


@pytest.mark.parametrize("tokens", [1, 4, 9])
@pytest.mark.parametrize("name", ["gpt2", "mistral"])
def test_scores_do_not_depend_on_the_chunks_of_a_contraction(name: str, tokens: int) -> None:
    """Room for so few tokens that examples, and even the positions of one, are taken in parts."""
    case = random_case(name, 4, lengths=LENGTHS)
    whole = {ablation: attribute(case.model, case.encoded, **options) for ablation, options in EACH.items()}
    adapter, layout = case.model.adapter, case.model.layout
    model = case.within(4 * tokens * layout.n_sources * adapter.d_model * 8)
    for ablation, options in EACH.items():
        parts = attribute(model, case.encoded, batch_size=6, **options)
        assert max(map(len, parts.plan)) > 1
        unit = largest(whole[ablation].edge)
        np.testing.assert_allclose(parts.edge, whole[ablation].edge, rtol=0, atol=1e-12 * unit)


EACH = {
    "counterfactual": {"method": "eap-ig", "steps": 2},
    "zero": {"method": "eap", "ablation": "zero"},
    "mean": {"method": "eap", "ablation": "mean"},
}


@pytest.mark.parametrize("name", ["gpt2", "mistral"])
@pytest.mark.parametrize("neurons", [False, True], ids=["edges", "neurons"])
def test_circuits_do_not_depend_on_the_room_for_differences(name: str, neurons: bool, seed: int) -> None:
    """Room for a few positions of a few receivers at a time, and the same batches."""
    case = random_case(name, seed, n=3, lengths=LENGTHS)
    masks, sources = some_masks(case), case.model.layout.n_sources
    rng = np.random.default_rng(seed)
    carried = rng.random((3, sources, case.model.adapter.d_model)) < 0.6 if neurons else None
    alone = sources * case.model.adapter.d_model * 8  # bytes a position of one example
    for ablation in ("counterfactual", "zero"):
        whole = run_circuits(case.model, case.encoded, masks, neurons=carried, ablation=ablation, batch_size=1)
        for n_bytes in (1, 9 * alone):  # one position and one receiver at a time; three positions
            assert room(case.within(n_bytes), 1, 5).positions < 5
            parts = run_circuits(
                case.within(n_bytes), case.encoded, masks, neurons=carried, ablation=ablation, batch_size=1
            )
            assert parts.plan == whole.plan
            np.testing.assert_allclose(parts.value, whole.value, rtol=0, atol=1e-11)


def test_batches_are_cut_to_fixed_budgets() -> None:
    """Small budgets make small batches of attribution and of circuit runs, and the same numbers."""
    case = random_case("gpt2", 5, n=8, lengths=(6,))
    masks = some_masks(case)
    scores, runs = attribute(case.model, case.encoded), run_circuits(case.model, case.encoded, masks)
    assert [len(part) for part in scores.plan] == [len(part) for part in runs.plan] == [8]
    wide = case.model.layout.n_sources * 6 * case.model.adapter.d_model * 8
    again = run_circuits(case.within(2 * 3 * wide), case.encoded, masks, batch_size=8)
    assert max(len(part) for part in again.plan) <= 3
    np.testing.assert_allclose(again.value, runs.value, rtol=0, atol=1e-10)
    alone = attribute(case.within(1), case.encoded)
    assert [len(part) for part in alone.plan] == [1] * 8
    np.testing.assert_allclose(alone.edge, scores.edge, rtol=0, atol=1e-10 * largest(scores.edge))


def fail_above(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A machine on which no more than `most` examples fit."""
    run = FastExecutor.run

    def limited(self: FastExecutor, ids: object, *rest: object) -> object:
        if len(ids) > most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory")
        return run(self, ids, *rest)

    monkeypatch.setattr(FastExecutor, "run", limited)


def test_batches_that_do_not_fit_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers; said each time, and recorded in the plan."""
    case = random_case("gpt2", 3, n=8, lengths=(6,), double=False)
    examples, masks = case.encoded, some_masks(case)
    scores, runs = attribute(case.model, examples), run_circuits(case.model, examples, masks)
    fail_above(monkeypatch, 2)
    said: list[int] = []
    halved = attribute(case.model, examples, on_halved=said.append)
    assert [len(part) for part in halved.plan] == [2, 2, 2, 2]
    assert said == [4, 2]  # what did not fit once is not tried again
    assert halved.halved == 2
    np.testing.assert_allclose(halved.edge, scores.edge, rtol=0, atol=SAME * largest(scores.edge))
    again = run_circuits(case.model, examples, masks)
    assert again.halved == 2
    np.testing.assert_allclose(again.value, runs.value, rtol=0, atol=SAME * largest(runs.value))


def test_halving_while_means_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass that averages over the data set meets the same wall as the passes after it."""
    case = random_case("gpt2", 3, n=8, lengths=(6,), double=False)
    scores = attribute(case.model, case.encoded, method="eap", ablation="mean")
    fail_above(monkeypatch, 2)
    halved = attribute(case.model, case.encoded, method="eap", ablation="mean")
    np.testing.assert_allclose(halved.edge, scores.edge, rtol=0, atol=SAME * largest(scores.edge))


def test_one_example_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case("gpt2", 3, n=2, lengths=(6,), double=False)
    fail_above(monkeypatch, 0)
    with pytest.raises(MiError, match="out of memory") as caught:
        attribute(case.model, case.encoded)
    assert caught.value.code == 4
