"""Write the planted model: `python -m mi.embedded.plant`. Every weight is put in by hand, so its circuit is known.

In: nothing. Out: a model folder (a stock GPT-2: config.json, model.safetensors, tokenizer files) and truth.json, the
edges that matter for each counterfactual of the task `induction`. The same bytes on every machine: no random number, no
trained weight. docs/planted-circuit.md says what each component does.

The residual stream has 64 coordinates x, each kept twice, as (x, -x), so that its mean is 0; with an epsilon far above
its variance and the scale sqrt(epsilon), LayerNorm is then the identity. What a component does not read cannot matter.
A smaller epsilon makes a neighbour of this model in which norms bend, and everything matters a little.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mi.io import atomic

EPSILON = 2.0**40
BOS, UNK, SPACE = "<|endoftext|>", "<unk>", "▁"
WORDS = "bird blue bread chair fire gold house king moon rain stone tree".split()
TOKENS = (BOS, UNK, *(SPACE + word for word in WORDS))
LAYERS, HEADS, POSITIONS = 3, 4, 32
D_HEAD, D_MLP = 32, 28
HALF = 64  # coordinates; the residual stream holds each twice

# The coordinates: the token, the one before it, m0's copy of that, and what comes next; then three of the position,
# and those that nobody reads who matters.
V = len(TOKENS)
TOKEN, BEFORE, COPY, ANSWER = (np.arange(start, start + V) for start in range(0, 4 * V, V))
PLACE, SQUARE, ONE = 4 * V, 4 * V + 1, 4 * V + 2
NOWHERE = np.arange(4 * V + 3, HALF)

LOGITS_PER_ANSWER = 2.0
PREVIOUS = 32.0  # attention score by which the previous position beats its neighbours: what leaks is 1e-14
MATCH, SATURATED, CANCELLING = 4.75, 40.0, 4.0  # attention scores of a match, of the heads that find the answer
LITTLE_KEY = 0.25  # what m0's copy adds to the match of a2.h0
LITTLE_BOOST = 0.05  # what m2 adds to the answer
CANCELLED = 0.5  # what a2.h1 writes, and a2.h2 takes away
TENT = (0.25, 0.625, 1.0)  # where m1's tent begins, has its top, and ends
TENT_SLOPE = 0.5

FINDERS = ("a1.h0", "a2.h0", "a2.h1", "a2.h2")
READING = [*(f"{head}->{reader}" for head in FINDERS for reader in ("m2", "logits")), "m2->logits"]
TRUE_EDGES: dict[str, list[str]] = {
    "context-swap": [
        "input->a0.h0<v>",
        *("a0.h0->m0", "a0.h0->a1.h0<k>", "a0.h0->a2.h0<k>"),
        *("m0->a2.h0<k>", "m0->a2.h1<k>", "m0->a2.h2<k>"),
        *READING,
    ],
    "answer-swap": [*(f"input->{head}<v>" for head in FINDERS), *READING],
    "query-swap": [*(f"input->{head}<q>" for head in FINDERS), *READING],
}


@dataclass(frozen=True)
class Head:
    """What a head does to coordinates. Query and key meet in `d_head` dimensions, and so do value and output."""

    query: np.ndarray = field(default_factory=lambda: np.zeros((HALF, D_HEAD)))
    key: np.ndarray = field(default_factory=lambda: np.zeros((HALF, D_HEAD)))
    value: np.ndarray = field(default_factory=lambda: np.zeros((HALF, D_HEAD)))
    output: np.ndarray = field(default_factory=lambda: np.zeros((D_HEAD, HALF)))


@dataclass(frozen=True)
class Mlp:
    """relu(x @ read) @ write."""

    read: np.ndarray = field(default_factory=lambda: np.zeros((HALF, D_MLP)))
    write: np.ndarray = field(default_factory=lambda: np.zeros((D_MLP, HALF)))


def blocks() -> list[tuple[list[Head], Mlp]]:
    """The heads and the MLP of each layer."""
    match, copied = _matches(TOKEN, {MATCH: BEFORE}), _matches(TOKEN, {CANCELLING: COPY})
    first = [
        _carries(previous_token(), TOKEN, BEFORE),
        _hides(_matches(TOKEN, {3.0: TOKEN}), TOKEN, 2.0),  # the same token
        _hides(Head(query=_ones(ONE), key=_ones(TOKEN[0], 30.0)), TOKEN, 4.0),  # the first token, always
        _hides(Head(), TOKEN, 2.0),  # all tokens alike
    ]
    second = [
        _carries(_matches(TOKEN, {SATURATED: BEFORE}), TOKEN, ANSWER),
        _hides(match, TOKEN, 4.0),  # finds the answer, and tells nobody
        _hides(match, BEFORE, 2.0),  # looks there, and takes what stands before it
        _hides(Head(), NOWHERE, 1.0),  # what other distractors write
    ]
    third = [
        _carries(_matches(TOKEN, {MATCH: BEFORE, LITTLE_KEY: COPY}), TOKEN, ANSWER),
        _carries(copied, TOKEN, ANSWER, CANCELLED),
        _carries(copied, TOKEN, ANSWER, -CANCELLED),
        _hides(_matches(ANSWER, {4.0: ANSWER}), ANSWER, 4.0),  # reads the answer, and tells nobody
    ]
    return [
        (first, _relays(BEFORE, COPY)),
        (second, _tents(ANSWER)),
        (third, _relays(ANSWER, ANSWER, LITTLE_BOOST)),
    ]


def previous_token() -> Head:
    """Query i and key j score PREVIOUS * (2 (i - 1) j - j^2), which is largest at j = i - 1."""
    head, scale = Head(), 1 / POSITIONS  # what the positions hold is j * scale, and its square
    strength = PREVIOUS / scale**2
    head.query[PLACE, 0], head.query[ONE, 0], head.key[PLACE, 0] = 1.0, -scale, 2 * strength
    head.query[ONE, 1], head.key[SQUARE, 1] = 1.0, -strength
    return head


def _matches(query: np.ndarray, keys: dict[float, np.ndarray]) -> Head:
    """Attend where a key coordinate is the query's: each pair of ones scores the strength that it stands under."""
    return Head(
        query=_one_each(query, D_HEAD),
        key=sum(strength * _one_each(coordinates, D_HEAD) for strength, coordinates in keys.items()),  # type: ignore[arg-type]
    )


def _carries(head: Head, read: np.ndarray, written: np.ndarray, gain: float = 1.0) -> Head:
    """The head with values: from these coordinates to those, one to one."""
    return Head(head.query, head.key, _one_each(read, D_HEAD), gain * _one_each(written, D_HEAD).T)


def _hides(head: Head, read: np.ndarray, gain: float) -> Head:
    """A distractor: what it reads goes where nobody looks, in a code."""
    return Head(head.query, head.key, _one_each(read, D_HEAD), _codes(D_HEAD, gain))


def _relays(read: np.ndarray, written: np.ndarray, gain: float = 1.0) -> Mlp:
    return Mlp(_one_each(read, D_MLP), gain * _one_each(written, D_MLP).T)


def _tents(coordinates: np.ndarray) -> Mlp:
    """Of each coordinate x a tent: 0 up to its begin and again at its end, where it falls: a slope, and no change."""
    begin, top, end = TENT
    read = np.concatenate([_one_each(coordinates, V)] * 2, axis=1)
    read[ONE] = np.repeat([-begin, -top], V)
    down = (end - begin) / (end - top)
    write = _one_each(coordinates, V).T
    return Mlp(read, TENT_SLOPE * np.concatenate([write, -down * write]))


def _one_each(coordinates: np.ndarray, width: int) -> np.ndarray:
    """[HALF, width]: the n-th coordinate into the n-th dimension."""
    made = np.zeros((HALF, width))
    made[coordinates, np.arange(len(coordinates))] = 1.0
    return made


def _ones(coordinate: int, strength: float = 1.0) -> np.ndarray:
    return strength * _one_each(np.array([coordinate]), D_HEAD)


def _codes(rows: int, gain: float) -> np.ndarray:
    """[rows, HALF]: row n writes the signs of n's binary digits to NOWHERE."""
    made = np.zeros((rows, HALF))
    for digit, coordinate in enumerate(NOWHERE):
        made[:, coordinate] = gain * np.where(np.arange(rows) >> digit & 1, 1.0, -1.0)
    return made


def weights(epsilon: float = EPSILON) -> dict[str, np.ndarray]:
    """The tensors of the model, float32, under their names in GPT2LMHeadModel."""
    made = {
        "transformer.wte.weight": _written(_one_each(TOKEN, V).T),
        "transformer.wpe.weight": _written(_positions()),
        "lm_head.weight": _read(LOGITS_PER_ANSWER * _one_each(ANSWER, V)).T,
        **_norm("transformer.ln_f", epsilon),
    }
    for layer, (heads, mlp) in enumerate(blocks()):
        name = f"transformer.h.{layer}"
        parts = [head.query for head in heads], [_unscaled(head.key) for head in heads], [head.value for head in heads]
        tensors = {
            "attn.c_attn": _read(np.concatenate([matrix for part in parts for matrix in part], axis=1)),
            "attn.c_proj": _written(np.concatenate([head.output for head in heads])),
            "mlp.c_fc": _read(mlp.read),
            "mlp.c_proj": _written(mlp.write),
        }
        for part, matrix in tensors.items():
            made[f"{name}.{part}.weight"], made[f"{name}.{part}.bias"] = matrix, np.zeros(matrix.shape[1])
        made |= _norm(f"{name}.ln_1", epsilon) | _norm(f"{name}.ln_2", epsilon)
    return {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in made.items()}


def _written(matrix: np.ndarray) -> np.ndarray:
    return np.concatenate([matrix, -matrix], axis=1)


def _read(matrix: np.ndarray) -> np.ndarray:
    return np.concatenate([matrix, -matrix]) / 2


def _unscaled(key: np.ndarray) -> np.ndarray:
    """Scores are divided by the root of d_head."""
    return key * math.sqrt(D_HEAD)


def _positions() -> np.ndarray:
    place = np.arange(POSITIONS) / POSITIONS
    made = np.zeros((POSITIONS, HALF))
    made[:, PLACE], made[:, SQUARE], made[:, ONE] = place, place**2, 1.0
    return made


def _norm(name: str, epsilon: float) -> dict[str, np.ndarray]:
    return {f"{name}.weight": np.full(2 * HALF, math.sqrt(epsilon)), f"{name}.bias": np.zeros(2 * HALF)}


def config(epsilon: float = EPSILON) -> dict[str, Any]:
    return {
        "activation_function": "relu",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.0,
        "bos_token_id": 0,
        "dtype": "float32",
        "embd_pdrop": 0.0,
        "eos_token_id": 0,
        "layer_norm_epsilon": epsilon,
        "model_type": "gpt2",
        "n_embd": 2 * HALF,
        "n_head": HEADS,
        "n_inner": D_MLP,
        "n_layer": LAYERS,
        "n_positions": POSITIONS,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": False,
        "vocab_size": V,
    }


def tokenizer_files() -> dict[str, dict[str, Any]]:
    """One token is one word with the space in front of it, as in the embedded default model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(TOKENS)}, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always", split=True)
    tokenizer.add_special_tokens([BOS, UNK])
    return {
        "tokenizer.json": json.loads(tokenizer.to_str()),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": BOS,
            "unk_token": UNK,
            "clean_up_tokenization_spaces": False,
            "model_max_length": POSITIONS,
        },
    }


def truth() -> dict[str, Any]:
    """The true edges of each counterfactual, as `mi eval ground-truth` reads them."""
    from mi.circuit.transformer import transformer_graph

    graph = transformer_graph(LAYERS, HEADS)
    order = {name: index for index, name in enumerate(graph.edge_names())}
    rows = {name: {"true_edges": sorted(edges, key=order.__getitem__)} for name, edges in TRUE_EDGES.items()}
    shared = {"task": "induction", "metric": "logit-diff", "ablation": "counterfactual", "n_edges": graph.n_edges}
    return {name: {**row, **shared} for name, row in rows.items()}


def write(folder: Path, epsilon: float = EPSILON) -> None:
    """The model folder; with another epsilon its norms bend, and no truth is written."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {"config.json": config(epsilon), **tokenizer_files()}
    if epsilon == EPSILON:
        files["truth.json"] = truth()
    data = {name: (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode() for name, value in files.items()}
    # Whoever loads such a file with transformers expects this one key, which our own writer does not set.
    data["model.safetensors"] = save(weights(epsilon), metadata={"format": "pt"})
    for name, content in data.items():
        with atomic.file(str(folder / name)) as f:
            f.write(content)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mi.embedded.plant", description="Write the planted model.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "planted", help="model folder to write")
    parser.add_argument("--epsilon", type=float, default=EPSILON, help="of the norms; less than %(default)g bends them")
    arguments = parser.parse_args()
    write(arguments.out, arguments.epsilon)


if __name__ == "__main__":
    main()
