"""What must hold whatever the model: the acceptance identities of edge attribution and of circuit runs.

None of these needs the oracle. Where something independent is needed it comes from Hugging Face's own forward pass.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mi.circuit.prune import connected
from mi.circuit.select import greedy, top
from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.model import wrap
from tests.core.cases import ADAPTED, Case, largest, random_case
from tests.examples import IdExample, encoded, random_examples
from tests.models import Shape, random_model, truly_double
from tests.oracle.weights import read_module

LOGIT = 1e-5  # float32, of the largest logit


def every_logit(example: IdExample, vocabulary: int) -> list[IdExample]:
    """One example a token: its logit against that of token 0."""
    return [replace(example, answers=(token,), foils=(0,)) for token in range(1, vocabulary)]


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("name", ADAPTED)
def test_full_and_empty_circuits_are_the_clean_and_the_corrupted_model(name: str, executor: str, seed: int) -> None:
    """Every logit of them, in float32, against the untouched Hugging Face model."""
    module = random_model(ADAPTED[name][0], seed, ADAPTED[name][1])
    (example,) = random_examples(np.random.default_rng(seed), 1, 29, (9,), read_last=False)
    tokens = torch.tensor([example.clean, example.corrupted])
    with torch.no_grad():
        logits = module(tokens, use_cache=False).logits[:, example.read].numpy()
    differences = logits[:, 1:] - logits[:, :1]
    model = wrap(module)
    masks = np.stack([np.ones(model.graph.n_edges, dtype=bool), np.zeros(model.graph.n_edges, dtype=bool)])
    found = run_circuits(model, encoded(every_logit(example, 29)), masks, executor=executor)
    atol = LOGIT * np.abs(logits).max()
    np.testing.assert_allclose(found.value, differences, rtol=0, atol=atol)
    np.testing.assert_allclose([found.clean, found.corrupted], differences, rtol=0, atol=atol)


RULES = {  # fractions of the way to the clean embedding, and weights, of three steps
    "left": ([0, 1 / 3, 2 / 3], [1 / 3, 1 / 3, 1 / 3]),
    "midpoint": ([1 / 6, 3 / 6, 5 / 6], [1 / 3, 1 / 3, 1 / 3]),
    "trapezoid": ([0, 1 / 3, 2 / 3, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_edges_of_the_input_sum_to_integrated_gradients(name: str, rule: str, seed: int) -> None:
    """Integrated gradients of the untouched model over its embedding, by the same quadrature."""
    case = random_case(name, seed, lengths=(6,))
    module = case.model.module
    tokens = {p: torch.tensor([getattr(e, p) for e in case.examples]) for p in ("clean", "corrupted")}
    ends = {prompt: module.get_input_embeddings()(ids) for prompt, ids in tokens.items()}
    change = ends["corrupted"] - ends["clean"]
    expected = 0.0
    for fraction, weight in zip(*RULES[rule], strict=True):
        at = (ends["corrupted"] - fraction * change).requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(case, module(inputs_embeds=at, use_cache=False).logits), at)
        expected += weight * float((change * gradient).sum())
    found = attribute(case.model, case.encoded, steps=3, rule=rule)
    of_input = found.edge[case.model.graph.source == 0]
    assert of_input.sum() == pytest.approx(expected, abs=1e-9 * largest(of_input))
    assert found.attributed == pytest.approx(expected, abs=1e-9 * largest(of_input))
    with torch.no_grad():
        losses = {prompt: float(loss(case, module(ids, use_cache=False).logits)) for prompt, ids in tokens.items()}
    assert found.loss_change == pytest.approx(losses["corrupted"] - losses["clean"], abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_integrated_gradients_account_for_the_whole_change(rule: str) -> None:
    """The more steps the less is missing, until almost nothing is."""
    case = random_case("gpt2", 2, n=3, lengths=(5,))
    few, many = (attribute(case.model, case.encoded, steps=steps, rule=rule) for steps in (3, 60))
    assert many.loss_change == few.loss_change
    missing = [abs(found.attributed - found.loss_change) for found in (few, many)]
    assert missing[1] < 0.2 * missing[0]
    assert missing[1] < 0.05 * abs(few.loss_change)


def loss(case: Case, logits: torch.Tensor) -> torch.Tensor:
    """Minus the logit difference, mean over the examples; logits of all positions."""
    rows = torch.arange(len(case.examples))
    at_read = logits[rows, torch.tensor([example.read for example in case.examples])]
    answers = torch.tensor([example.answers[0] for example in case.examples])
    foils = torch.tensor([example.foils[0] for example in case.examples])
    return (at_read[rows, foils] - at_read[rows, answers]).mean()


@pytest.mark.parametrize("name", ADAPTED)
def test_edges_out_of_a_node_sum_to_its_node_score(name: str, seed: int) -> None:
    """<change of the node's output, gradient at that output>, with the gradient taken in the untouched model."""
    case = random_case(name, seed, lengths=(7,))
    found = attribute(case.model, case.encoded, method="eap").edge
    graph = case.model.graph
    expected = node_scores(case)
    by_node = {name: found[graph.source == index].sum() for index, name in enumerate(graph.nodes[:-1])}
    assert by_node.keys() == expected.keys()
    unit = largest(found)
    for node, score in expected.items():
        assert by_node[node] == pytest.approx(score, abs=1e-9 * unit), node


def node_scores(case: Case) -> dict[str, float]:
    """Attribution patching at the outputs of embedding, heads and MLPs, by hooks on the module alone."""
    module, adapter = case.model.module, case.model.adapter
    roles = adapter.roles
    ports: dict[str, tuple[nn.Module, bool]] = {"input": (module.get_submodule(roles.embed), False)}
    for index in range(adapter.n_layers):
        block = module.get_submodule(f"{roles.blocks}.{index}")
        ports[f"a{index}"] = (block.get_submodule(roles.heads_out), True)
        ports[f"m{index}"] = (block.get_submodule(roles.mlp), False)
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str, value: torch.Tensor) -> torch.Tensor:
        kept[name] = value if value.requires_grad else value.requires_grad_(True)
        return kept[name]

    handles = []
    for name, (port, reads) in ports.items():
        if reads:
            handles.append(port.register_forward_pre_hook(lambda _, args, name=name: (keep(name, args[0]),)))
        else:
            handles.append(port.register_forward_hook(lambda _, __, out, name=name: keep(name, out)))
    outputs, gradients = {}, {}
    for prompt in ("clean", "corrupted"):
        tokens = torch.tensor([getattr(example, prompt) for example in case.examples])
        logits = module(tokens, use_cache=False).logits
        outputs[prompt] = {name: value.detach() for name, value in kept.items()}
        if prompt == "clean":
            gradients = dict(zip(kept, torch.autograd.grad(loss(case, logits), list(kept.values())), strict=True))
    for handle in handles:
        handle.remove()
    scores: dict[str, float] = {}
    for name in ports:
        products = (outputs["corrupted"][name] - outputs["clean"][name]) * gradients[name]
        if name.startswith("a"):
            by_head = products.unflatten(-1, (adapter.n_heads, adapter.d_head)).sum((0, 1, 3))
            scores |= {f"{name}.h{head}": float(score) for head, score in enumerate(by_head)}
        else:
            scores[name] = float(products.sum())
    return scores


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_a_small_corruption_is_scored_exactly(name: str, seed: int) -> None:
    """Token i + V embeds almost as token i does: scores and exact patching of one edge agree to first order."""
    family, shape = ADAPTED[name]
    shape = replace(shape, vocabulary=2 * shape.vocabulary)
    module = truly_double(random_model(family, seed, shape))
    half = shape.vocabulary // 2
    embedding = module.get_input_embeddings().weight
    with torch.no_grad():
        embedding[half:] = embedding[:half] + 1e-4 * embedding[half:]
    rng = np.random.default_rng(seed)
    examples = random_examples(rng, 4, half, (6,))
    near = [replace(e, corrupted=tuple(i + half for i in e.clean)) for e in examples]
    model = wrap(module)
    scores = attribute(model, encoded(near), method="eap").edge
    chosen = rng.choice(model.graph.n_edges, size=24, replace=False)
    masks = np.ones((len(chosen), model.graph.n_edges), dtype=bool)
    masks[np.arange(len(chosen)), chosen] = False
    runs = run_circuits(model, encoded(near), masks)
    exact = (runs.clean - runs.value).mean(1)
    assert largest(exact) > 1e-7
    np.testing.assert_allclose(scores[chosen], exact, rtol=0, atol=0.02 * largest(exact))


def test_in_a_linear_model_scores_are_exact(seed: int) -> None:
    """No bend anywhere: norms that only rescale, uniform attention, identity activation."""
    module = truly_double(random_model("gpt2", seed, Shape(n_layers=2)))
    d = module.config.n_embd
    with torch.no_grad():
        for block in module.transformer.h:
            block.mlp.act = nn.Identity()
            block.attn.c_attn.weight[:, : 2 * d] = 0  # q and k no longer read anything: the pattern is frozen
            block.attn.c_attn.bias[: 2 * d] = 0
        for norm in module.modules():
            if isinstance(norm, nn.LayerNorm):
                norm.eps = 1e16  # x / sqrt(var + eps) is x / 1e8 to sixteen digits
                norm.weight *= 1e8
    case = Case(wrap(module), read_module(module), random_examples(np.random.default_rng(seed), 5, 29, (6,)), None)
    scores = attribute(case.model, case.encoded, method="eap").edge
    integrated = attribute(case.model, case.encoded, method="eap-ig", steps=3).edge
    runs = run_circuits(case.model, case.encoded, ~np.eye(case.model.graph.n_edges, dtype=bool))
    exact = (runs.clean - runs.value).mean(1)
    np.testing.assert_allclose(scores, exact, rtol=0, atol=1e-6 * largest(exact))
    np.testing.assert_allclose(integrated, exact, rtol=0, atol=1e-6 * largest(exact))


def test_selected_circuits_stay_within_their_size_and_on_paths(seed: int) -> None:
    """Top-n and greedy, on scores that a model really has, after pruning."""
    case = random_case("llama", seed)
    graph = case.model.graph
    scores = attribute(case.model, case.encoded).edge
    for n in (5, 20, 60):
        for select in (top, greedy):
            kept = connected(graph, select(graph, scores, n))
            assert kept.sum() <= n
            assert kept.any() or n < 60, "the largest of the sizes must leave something to look at"
            reached = {"input"}
            for edge in np.flatnonzero(kept):  # edges lie in the order of their receivers' layers
                source, receiver = graph.edge_name(int(edge)).split("->")
                assert source in reached, (select, n)
                reached.add(receiver.split("<")[0])
            leading = {"logits"}
            for edge in np.flatnonzero(kept)[::-1]:
                source, receiver = graph.edge_name(int(edge)).split("->")
                assert receiver.split("<")[0] in leading, (select, n)
                leading.add(source)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2"])
def test_receivers_of_a_shared_key_sum_to_the_shared_receiver(name: str, seed: int) -> None:
    """Over the query heads that share a key (value) head, scores sum to that of reading it once."""
    case = random_case(name, seed, lengths=(7,))
    found = attribute(case.model, case.encoded, method="eap").edge
    adapter, graph = case.model.adapter, case.model.graph
    groups = adapter.n_heads // adapter.n_kv_heads
    assert groups > 1
    layer = adapter.n_layers - 1
    for part in "kv":
        gradient, change = shared_receiver(case, layer, part)  # [kv head, batch, pos, d], [batch, pos, d] of the input
        for shared in range(adapter.n_kv_heads):
            names = [f"input->a{layer}.h{shared * groups + member}<{part}>" for member in range(groups)]
            total = sum(found[graph.edge_index(edge)] for edge in names)
            expected = float((gradient[shared] * change).sum())
            assert total == pytest.approx(expected, abs=1e-9 * largest(found)), (part, shared)


def shared_receiver(case: Case, layer: int, part: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The loss gradient where each shared key (value) head reads the residual stream, and the change of the input."""
    module, adapter = case.model.module, case.model.adapter
    block = module.model.layers[layer]
    projection = block.self_attn.k_proj if part == "k" else block.self_attn.v_proj
    kept = {}
    hooks = [
        block.register_forward_pre_hook(lambda _, args: kept.__setitem__("stream", args[0].detach())),
        projection.register_forward_hook(lambda _, __, out: kept.setdefault("out", out.detach().requires_grad_(True))),
    ]
    tokens = {p: torch.tensor([getattr(e, p) for e in case.examples]) for p in ("clean", "corrupted")}
    logits = module(tokens["clean"], use_cache=False).logits
    for hook in hooks:
        hook.remove()
    (at_output,) = torch.autograd.grad(loss(case, logits), kept["out"])
    gradients = []
    for shared in range(adapter.n_kv_heads):
        stream = kept["stream"].clone().requires_grad_(True)
        own = slice(shared * adapter.d_head, (shared + 1) * adapter.d_head)
        value = projection(block.input_layernorm(stream))[..., own]
        gradients.append(torch.autograd.grad(value, stream, at_output[..., own])[0])
    embed = module.get_input_embeddings()
    return gradients, embed(tokens["corrupted"]) - embed(tokens["clean"])
