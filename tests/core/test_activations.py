"""EAP-IG over activations against the oracle; what it costs; what it is in cases that are known."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from mi.core import methods
from mi.core.attribute import attribute
from mi.core.fast import FastExecutor
from tests.core.cases import ADAPTED, Case, largest, random_case
from tests.core.test_nodes import close, in_order
from tests.oracle import activations, attribution

LENGTHS = (5, 8, 6)
NOISE = 2e-5
METHOD = "eap-ig-activations"
ASKED = [
    {"metric": "logit-diff", "steps": 3},
    {"metric": "logit-diff", "steps": 1},
    {"metric": "prob-diff", "steps": 2, "rule": "left"},
    {"metric": "logit-diff", "steps": 2, "rule": "midpoint", "ablation": "zero"},
    {"metric": "kl", "steps": 2, "rule": "trapezoid", "ablation": "mean"},
]


def edges(case: Case, options: dict[str, object]) -> np.ndarray:
    return case.as_edges(activations.edges(case.weights, case.examples, **options)).mean(-1)


@pytest.mark.parametrize("options", ASKED, ids=lambda options: "-".join(map(str, options.values())))
def test_every_level_is_the_oracles(options: dict[str, object], seed: int) -> None:
    case = random_case("gpt2" if seed % 2 else "qwen2", seed, n=4, lengths=LENGTHS, n_answers=2)
    close(attribute(case.model, case.encoded, method=METHOD, **options).edge, edges(case, options))
    wanted = in_order(case, activations.neurons(case.weights, case.examples, **options).mean(-1))
    close(attribute(case.model, case.encoded, method=METHOD, level="neuron", **options).scores, wanted)
    close(attribute(case.model, case.encoded, method=METHOD, level="node", **options).scores, wanted.sum(1))


@pytest.mark.parametrize("name", ADAPTED)
def test_edges_of_every_family(name: str, seed: int) -> None:
    case = random_case(name, seed, n=3, lengths=(4, 6))
    found = attribute(case.model, case.encoded, method=METHOD, batch_size=2, **ASKED[0])
    close(found.edge, edges(case, ASKED[0]))


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("name", ["gpt2", "qwen2-windowed"])
def test_edges_in_float32_through_both_executors(name: str, executor: str) -> None:
    case = random_case(name, 1, n=4, lengths=LENGTHS, double=False)
    found = attribute(case.model, case.encoded, method=METHOD, executor=executor, **ASKED[0])
    close(found.edge, edges(case, ASKED[0]), NOISE)


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_what_the_reference_does_instead(name: str, ablation: str, seed: int) -> None:
    case = random_case(name, seed, n=3, lengths=(5,))
    each = activations.as_the_reference(case.weights, case.examples, "logit-diff", 3, ablation)
    wanted = case.as_edges(attribution.reference_batching(each, 2))
    found = attribute(
        case.model, case.encoded, method=METHOD, steps=3, ablation=ablation, compat="mib", batch_size=2
    ).edge
    close(found, wanted)
    right = attribute(case.model, case.encoded, method=METHOD, steps=3, ablation=ablation).edge
    assert abs(np.corrcoef(found, right)[0, 1]) < 0.9999


def test_a_node_is_the_sum_of_its_edges() -> None:
    """Integration is along the node's own output, so a node's score is the sum of its edges' at each step."""
    case = random_case("llama", 4, lengths=LENGTHS)
    graph = case.model.graph
    by_edge = attribute(case.model, case.encoded, method=METHOD, steps=3).edge
    by_node = attribute(case.model, case.encoded, method=METHOD, level="node", steps=3).scores
    close(np.bincount(graph.source, by_edge, minlength=graph.n_sources), by_node)


@pytest.mark.parametrize("name", ["gpt2", "mistral"])
def test_a_group_accounts_for_its_own_replacement(name: str, seed: int) -> None:
    """Completeness: with many steps an MLP's score is the rise of the loss when that MLP alone is replaced."""
    case = random_case(name, seed, n=3, lengths=(5,))
    found = attribute(case.model, case.encoded, method=METHOD, level="node", steps=40, rule="midpoint")
    assert found.attributed == pytest.approx(found.loss_change, abs=3e-3 * largest(found.scores))
    module, roles = case.model.module, case.model.adapter.roles
    mlp = module.get_submodule(f"{roles.blocks}.0.{roles.mlp}")
    ids = {p: torch.tensor([getattr(e, p) for e in case.examples]) for p in ("clean", "corrupted")}
    kept: list[torch.Tensor] = []
    with torch.no_grad():
        handle = mlp.register_forward_hook(lambda _, __, out: kept.append(out))
        module(ids["corrupted"], use_cache=False)
        plain = module(ids["clean"], use_cache=False).logits
        handle.remove()
        handle = mlp.register_forward_hook(lambda *_: kept[0])
        replaced = module(ids["clean"], use_cache=False).logits
        handle.remove()
    rise = loss(case, replaced) - loss(case, plain)
    assert found.scores[case.model.layout.layers[0].mlp] == pytest.approx(rise, abs=3e-3 * largest(found.scores))


def loss(case: Case, logits: torch.Tensor) -> float:
    rows = range(len(case.examples))
    at_read = [logits[row, case.examples[row].read] for row in rows]
    return float(
        sum(at_read[row][case.examples[row].foils[0]] - at_read[row][case.examples[row].answers[0]] for row in rows)
    ) / len(case.examples)


def test_scores_do_not_depend_on_batches_or_order(seed: int) -> None:
    case = random_case("qwen2", seed, n=7, lengths=LENGTHS)
    whole = attribute(case.model, case.encoded, method=METHOD, steps=2)
    order = case.rng.permutation(7)
    parts = attribute(case.model, [case.encoded[place] for place in order], method=METHOD, steps=2, batch_size=2)
    close(parts.edge, whole.edge)
    close(parts.shards, whole.shards)


class Counted:
    """How often each projection, attention output and MLP ran on anything, and how often gradients can pass it."""

    def __init__(self, case: Case) -> None:
        self.forwards: Counter[str] = Counter()
        self.backwards: Counter[str] = Counter()
        roles = case.model.adapter.roles
        for layer in case.model.adapter.layers:
            for part in (roles.queries_keys_values[0], roles.heads_out, roles.mlp):
                name = f"{layer.index}.{part}"
                layer.part(part).register_forward_hook(self._count(name))

    def _count(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
            if len(inputs[0]):
                self.forwards[name] += 1
                if out.requires_grad:
                    self.backwards[name] += 1

        return hook


@pytest.mark.parametrize("options", [{}, {"steps": 2, "rule": "midpoint"}, {"ablation": "zero", "steps": 3}])
def test_runs_begin_at_what_is_moved(options: dict[str, object]) -> None:
    """The cost in whole forwards and backwards is what `--dry-run` says."""
    case = random_case("gpt2-scaled", 0, n=2, lengths=(5,))
    n_layers = case.model.adapter.n_layers
    counted = Counted(case)
    attribute(case.model, case.encoded, method=METHOD, **options)
    forwards, backwards = methods.cost(methods.settle(METHOD, **options), n_layers)
    roles = case.model.adapter.roles
    for runs, said in ((counted.forwards, forwards), (counted.backwards, backwards)):
        read, written, mlps = (
            sum(runs[f"{layer}.{part}"] for layer in range(n_layers))
            for part in (roles.queries_keys_values[0], roles.heads_out, roles.mlp)
        )
        assert read == written
        assert (written + mlps) / (2 * n_layers) == pytest.approx(said)
    formula = methods.settle(METHOD, **options).steps * (2 * n_layers + 1)
    assert forwards < 2 + formula
    assert backwards < formula


def test_the_run_at_the_clean_end_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step to the right is the clean run for every group: then it is EAP, and costs as much."""
    case = random_case("llama", 0, n=2, lengths=(5,))
    runs: list[int] = []
    run = FastExecutor.run
    monkeypatch.setattr(FastExecutor, "run", lambda *args: (runs.append(1), run(*args))[1])
    one = attribute(case.model, case.encoded, method=METHOD, steps=1).edge
    assert len(runs) == 2
    np.testing.assert_allclose(one, attribute(case.model, case.encoded, method="eap").edge, rtol=0, atol=1e-12)
